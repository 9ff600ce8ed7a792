"""The corpus of harmful run files: one clear error each, within bounds, and nothing is done."""

from typing import Any

import pytest

from tests.bounded import outcomes_in
from tests.handed import Handed, entries

ENTRIES = list(entries())


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return what reading each entry came to, in a process with bounded memory."""
    return outcomes_in("tests.handed.run", tmp_path_factory.mktemp("handed"))


def test_the_corpus_is_large_and_its_names_differ() -> None:
    assert len(ENTRIES) >= 40
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_it_is_refused_in_one_message_and_nothing_is_done(
    entry: Handed, outcomes: dict[str, dict[str, Any]]
) -> None:
    assert entry.name in outcomes, outcomes[""]["end"]
    came = outcomes[entry.name]["came"]
    assert came.startswith("refused: "), came
    assert len(came) < 5000
    assert all(char.isprintable() for line in came.splitlines() for char in line)
    assert outcomes[entry.name]["did"] == []
