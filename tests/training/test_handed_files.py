"""The corpus of harmful run files: one clear error each, within bounds, and nothing is done."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.handed import Handed, entries

ENTRIES = list(entries())


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return what reading each entry came to, in a process with bounded memory."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.handed.run", str(tmp_path_factory.mktemp("handed"))],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    found = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
    found[""] = {"end": f"the process ended with {done.returncode}: {done.stderr[-2000:]}"}
    return found


def test_the_corpus_is_large_and_its_names_differ() -> None:
    assert len(ENTRIES) >= 40
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_it_is_refused_in_one_message_and_nothing_is_done(
    entry: Handed, told: dict[str, dict[str, Any]]
) -> None:
    assert entry.name in told, told[""]["end"]
    came = told[entry.name]["came"]
    assert came.startswith("refused: "), came
    assert len(came) < 5000
    assert all(char.isprintable() for line in came.splitlines() for char in line)
    assert told[entry.name]["did"] == []
