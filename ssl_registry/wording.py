"""Words for messages: what the user may have meant."""

import difflib
from collections.abc import Iterable
from typing import Final

_ELSEWHERE: Final = {
    "bs": "batch_size",
    "early_stopping": "select",
    "gpus": "devices",
    "grad_clip": "clip",
    "gradient_clip": "clip",
    "gradient_clip_val": "clip",
    "l2": "weight_decay",
    "lr": "learning_rate",
    "max_iterations": "steps",
    "wd": "weight_decay",
}
"""What other programs call some settings, by the word that is far from ours."""


def nearest(word: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Return the known words nearest to `word`, the nearest first; none if all are far.

    A word that only goes on, or stops short, at a `_` is nearer than any other: `warmup_epochs`
    is a kind of `warmup`, not of `epochs`.
    """
    there = sorted(known)
    elsewhere = _ELSEWHERE.get(word)
    stems = [elsewhere] if elsewhere in there else []
    stems += [one for one in there if f"{word}_".startswith(f"{one}_")]
    stems += [one for one in there if one.startswith(f"{word}_")]
    close = difflib.get_close_matches(word, there, n=most, cutoff=0.6)
    return list(dict.fromkeys([*stems, *close]))[:most]


def did_you_mean(words: list[str]) -> str:
    """Return ` Did you mean a or b?`, or nothing without words."""
    return f" Did you mean {' or '.join(words)}?" if words else ""
