"""The corpus of malformed data: one clear message that names the file, or it works."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.corpus import Malformed, corpus

ENTRIES = list(corpus())


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Return what reading and checking each entry gave, in a process with bounded memory."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.data.corpus.run", str(tmp_path_factory.mktemp("corpus"))],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    found = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
    found[""] = {"end": f"the process ended with {done.returncode}: {done.stderr[-2000:]}"}
    return found


def test_the_corpus_is_large_and_its_names_differ() -> None:
    assert len(ENTRIES) >= 60
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_it_is_refused_in_words_or_works(entry: Malformed, told: dict[str, dict[str, str]]) -> None:
    assert entry.name in told, told[""]["end"]
    for said in (told[entry.name]["read"], told[entry.name]["check"]):
        assert said.partition(":")[0] == entry.outcome, said
        if entry.outcome == "refused":
            assert re.search(entry.blamed, said), said
            assert all(char.isprintable() for line in said.splitlines() for char in line)
            assert len(said) < 5000
