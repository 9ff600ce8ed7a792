"""Channels by their names: in another order than a network learned them they mean other things."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ssl_registry.errors import DataError, spell

CHANNELS: Final = "channel_names"
"""Where `data` of `encoder.json` and `model.json` keeps them, if the data name any."""


def learned_channels(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the channels that a file says were learned from; none if it says none."""
    said = data.get(CHANNELS)
    return tuple(map(str, said)) if isinstance(said, list) else ()


def check_channels(what: str, learned: Sequence[str], name: str, there: Sequence[str]) -> list[str]:
    """See that channels lie in the order in which they were learned, as far as they have names.

    Args:
        what: the network, in words.
        learned: names of the channels that it learned from.
        name: of the data.
        there: names of their channels.

    Returns:
        A note where names differ: other names may mean the same, or another modality.

    Raises:
        DataError: they are the same names in another order.
    """
    if not learned or len(learned) != len(there):
        return []
    mine, theirs = ([one.strip().casefold() for one in names] for names in (learned, there))
    if mine == theirs:
        return []
    said = (
        f"the channels of {spell(name)} are {spell(', '.join(there))}; {what} learned from "
        f"{spell(', '.join(learned))}"
    )
    if sorted(mine) == sorted(theirs):
        raise DataError(
            f"{said}: bring them into that order (by their numbers in nnU-Net's layout, or by "
            "channels=...)"
        )
    return [said]
