"""What labels are counted by; nothing heavy is imported here, for settings say it."""

from typing import Literal, TypeAlias

CountedUnit: TypeAlias = Literal["patients", "cases"]
"""Of what labels are counted, and shares of them are taken."""

LabelCounting: TypeAlias = Literal["patients", "one-each", "cases"]
"""What a labelled patient brings, all its cases or one of them; or that cases are counted."""


def spell_labelled(count: int, unit: CountedUnit | str, word: str = "") -> str:
    """Return a number of labelled patients or cases in words: `1 case`, `3 labelled patients`."""
    counted = unit.removesuffix("s") if count == 1 else unit
    return " ".join(part for part in (str(count), word, counted) if part)
