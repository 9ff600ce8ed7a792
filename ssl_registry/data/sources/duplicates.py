"""Copies: images of a source that are the same, or of whose channels one is.

A copy may come with other channels: the T1 of one patient beside the T2 of another, or the same
two in another order. What lies in every image, as an atlas does, tells none from another.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from ssl_registry.data.sources.cases import Case, FileCase
from ssl_registry.data.sources.contents import Contents
from ssl_registry.data.sources.file_hashes import content_hash

K = TypeVar("K")


class Copies(NamedTuple):
    """Cases whose images are the same.

    Attributes:
        cases: in the order of the source.
        whole: whether all of the image is the same, and not only one of several channels.
    """

    cases: tuple[Case, ...]
    whole: bool = True


class Shown(NamedTuple):
    """What an image shows, as hashes.

    Attributes:
        image: of all of it.
        channels: of each channel.
    """

    image: Hashable
    channels: Collection[Hashable]


SAMPLE: Final = 2**14
"""Bytes that are compared first, from the middle of a file, where its header does not reach."""

FEW: Final = 2
"""Different images that may have a channel in common before it is taken to tell nothing."""


def common_channels(images: Iterable[Shown]) -> frozenset[Hashable]:
    """Return the channels that every one of several different images has, such as an atlas."""
    shown = list(images)
    if len({one.image for one in shown}) <= FEW:
        return frozenset()
    first, *others = (frozenset(one.channels) for one in shown)
    return first.intersection(*others)


def shown_by(contents: Contents) -> Shown:
    """Return what a case shows, however it was turned."""
    return Shown(contents.voxels, contents.channels)


def same_images(images: Iterable[tuple[Case, Shown]]) -> list[Copies]:
    """Return the cases whose images are the same, and those that share a channel of several."""
    known = list(images)
    whole, parts = defaultdict[Hashable, list[Case]](list), defaultdict[Hashable, list[Case]](list)
    different = defaultdict[Hashable, set[Hashable]](set)
    common = common_channels(shown for _, shown in known)
    for case, shown in known:
        whole[shown.image].append(case)
        for channel in set(shown.channels) - common:
            parts[channel].append(case)
            different[channel].add(shown.image)
    shared = {
        tuple(case.name for case in cases): tuple(cases)
        for channel, cases in parts.items()
        if len(different[channel]) > 1
    }
    return [
        *(Copies(tuple(cases)) for cases in whole.values() if len(cases) > 1),
        *(Copies(cases, whole=False) for cases in shared.values()),
    ]


def same_files(cases: Iterable[Case]) -> list[Copies]:
    """Return the cases whose image files are the same, or one of several, byte for byte.

    Files of one size are few among compressed ones, and files with the same bytes in the
    middle are copies as a rule; so hardly a file is read that has no copy.
    """
    alone = [case for case in cases if isinstance(case, FileCase)]
    groups: list[Sequence[tuple[Path, ...]]] = [
        list(dict.fromkeys(case.files_of(image) for case in alone for image in case.images))
    ]
    for trait in (_size, _middle, _content):
        groups = [part for group in groups for part in _by(trait, group)]
    same: dict[tuple[Path, ...], Hashable] = {
        files: number for number, group in enumerate(groups) for files in group
    }

    def shown(case: FileCase) -> Shown:
        every = [case.files_of(image) for image in case.images]
        known = tuple(same.get(files, files) for files in every)
        return Shown(known, known)

    return same_images((case, shown(case)) for case in alone)


def _by(
    trait: Callable[[tuple[Path, ...]], K], images: Sequence[tuple[Path, ...]]
) -> list[list[tuple[Path, ...]]]:
    """Return the groups of several images with one trait."""
    found: dict[K, list[tuple[Path, ...]]] = defaultdict(list)
    for files in images:
        found[trait(files)].append(files)
    return [group for group in found.values() if len(group) > 1]


def _size(files: tuple[Path, ...]) -> int:
    return sum(file.stat().st_size for file in files)


def _middle(files: tuple[Path, ...]) -> tuple[bytes, ...]:
    return tuple(map(_sample, files))


def _content(files: tuple[Path, ...]) -> tuple[str, ...]:
    return tuple(map(content_hash, files))


def _sample(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, (path.stat().st_size - SAMPLE) // 2))
        return file.read(SAMPLE)
