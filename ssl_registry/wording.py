"""Words for messages: what the user may have meant."""

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Return the known words nearest to `word`, the nearest first; none if all are far."""
    return difflib.get_close_matches(word, sorted(known), n=most, cutoff=0.6)


def did_you_mean(words: list[str]) -> str:
    """Return ` Did you mean a or b?`, or nothing without words."""
    return f" Did you mean {' or '.join(words)}?" if words else ""
