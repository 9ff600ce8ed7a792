"""What a cell of a table says."""

from typing import Final
from unicodedata import category

NOTHING: Final = frozenset(
    {"", "na", "n/a", "#na", "#n/a", "#n/a n/a", "<na>", "nan", "-nan", "null"}
    | {f"{sign}1.#{kind}" for sign in ("", "-") for kind in ("ind", "qnan")}
)
"""What stands in a table, in lower case, where there is nothing: what pandas takes for NaN."""


def tidy(text: str) -> str:
    """Return what a cell of a table says; nothing where it says `NA`.

    Without are stray spaces, and characters that nobody sees, such as a space of no width.
    """
    said = " ".join("".join(c for c in text if category(c) != "Cf").split())
    return "" if said.lower() in NOTHING else said
