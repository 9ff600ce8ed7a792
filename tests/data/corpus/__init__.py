"""A corpus of malformed data, each made anew by a function: no binary file is kept.

Every entry is either refused with one message that names the file, or works. What reads it
runs in a process of its own, with little memory (`run.py`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Make: TypeAlias = Callable[[Path], object]
"""Fills an empty folder; returns what to open if it is not the folder itself."""

Outcome: TypeAlias = Literal["refused", "works"]


@dataclass(frozen=True)
class Malformed:
    """One entry of the corpus.

    Attributes:
        name: unique.
        make: writes it.
        outcome: what must come of it.
        blamed: what the message must name, where it is refused.
    """

    name: str
    make: Make
    outcome: Outcome
    blamed: str = ""


def corpus() -> Iterator[Malformed]:
    """Yield all entries, kind by kind."""
    from tests.data.corpus import (
        archives,
        compressed,
        lists,
        nifti,
        other_volumes,
        pictures,
        places,
    )

    for kind in (nifti, compressed, other_volumes, lists, places, pictures, archives):
        for entry in kind.entries():
            yield Malformed(
                f"{kind.__name__.rpartition('.')[2]}: {entry.name}",
                entry.make, entry.outcome, entry.blamed,
            )  # fmt: skip
