"""The corpus of malformed data: one clear message that names the file, or it works."""

import re
from typing import Any

import pytest

from tests.bounded import outcomes_in
from tests.data.corpus import Malformed, corpus

ENTRIES = list(corpus())


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return what reading and checking each entry gave, in a process with bounded memory."""
    return outcomes_in("tests.data.corpus.run", tmp_path_factory.mktemp("corpus"))


def test_the_corpus_is_large_and_its_names_differ() -> None:
    assert len(ENTRIES) >= 60
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_it_is_refused_in_words_or_works(
    entry: Malformed, outcomes: dict[str, dict[str, Any]]
) -> None:
    assert entry.name in outcomes, outcomes[""]["end"]
    for said in (outcomes[entry.name]["read"], outcomes[entry.name]["check"]):
        assert said.partition(":")[0] == entry.outcome, said
        if entry.outcome == "refused":
            assert re.search(entry.blamed, said), said
            assert all(char.isprintable() for line in said.splitlines() for char in line)
            assert len(said) < 5000
