"""nnU-Net's channel numbers: `<case>_0000`, `<case>_0001` are two channels of one image."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NUMBERED: Final = re.compile(r"(.+)_(\d{4})")
"""The name of a channel's file, without suffix: the case and the number."""

MOST: Final = 8
"""Channels up to which a folder is taken for nnU-Net's by the names of its files alone."""


@dataclass(frozen=True)
class Stacks:
    """Files of one channel each, by the case that they belong to.

    Attributes:
        whole: files of the cases that have all channels, in the order of the channels.
        broken: a file of each other case, and which channels that lacks.
    """

    whole: Mapping[str, tuple[Path, ...]]
    broken: Mapping[str, tuple[Path, str]]


def stacks_of(files: Mapping[str, Path], channels: int | None = None) -> Stacks | None:
    """Return images by channel numbers; None where the names do not end in such.

    Args:
        files: by their names without suffix.
        channels: how many there have to be; None finds it out, and takes the names for
            numbered images rather than for channels in doubt.
    """
    cases: dict[str, dict[int, Path]] = {}
    for name, path in files.items():
        found = NUMBERED.fullmatch(name)
        if found is None:
            return None
        cases.setdefault(found.group(1), {})[int(found.group(2))] = path
    count = channels or 1 + max((max(numbers) for numbers in cases.values()), default=0)
    numbers = range(count)
    if channels is None:
        whole = sum(sorted(case) == list(numbers) for case in cases.values())
        if count > MOST or (count > 1 and len(cases) < 2) or 2 * whole <= len(cases):
            return None
    elif sum(set(case) == set(numbers) for case in cases.values()) * 2 < len(cases):
        return None
    stacks = {
        name: tuple(case[number] for number in numbers)
        for name, case in cases.items()
        if set(numbers) == set(case)
    }
    broken = {
        name: (next(iter(case.values())), _wrong(set(case), count))
        for name, case in cases.items()
        if name not in stacks
    }
    return Stacks(stacks, broken)


def _wrong(there: set[int], count: int) -> str:
    """Return what is wrong with the channels of a case."""
    missing = [f"{number:04}" for number in range(count) if number not in there]
    if missing:
        return f"belongs to a case without channel {', '.join(missing)}"
    more = ", ".join(f"{number:04}" for number in sorted(there) if number >= count)
    return f"belongs to a case with a channel {more}, but there are {count} channels"
