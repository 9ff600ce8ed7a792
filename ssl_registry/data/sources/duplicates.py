"""Copies: images of a source that are the same, byte for byte or voxel for voxel."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from ssl_registry.data.sources.cases import Case, FileCase
from ssl_registry.data.sources.file_hashes import content_hash

K = TypeVar("K")

Copies: TypeAlias = tuple[Case, ...]
"""Cases whose images are the same, in the order of the source."""

SAMPLE: Final = 2**14
"""Bytes that are compared first, from the middle of a file, where its header does not reach."""


def same_files(cases: Iterable[Case]) -> list[Copies]:
    """Return the cases whose image files are the same, byte for byte.

    Files of one size are few among compressed ones, and files with the same bytes in the
    middle are copies as a rule; so hardly a file is read that has no copy.
    """
    alone = [case for case in cases if isinstance(case, FileCase)]
    groups: list[Sequence[FileCase]] = [alone]
    for trait in (_size, _middle, _content):
        groups = [part for group in groups for part in _by(trait, group)]
    return [tuple(group) for group in groups]


def same_voxels(digests: Iterable[tuple[Case, str]]) -> list[Copies]:
    """Return the cases whose images have one digest, and so the same voxels."""
    found: dict[str, list[Case]] = defaultdict(list)
    for case, digest in digests:
        found[digest].append(case)
    return [tuple(group) for group in found.values() if len(group) > 1]


def _by(trait: Callable[[FileCase], K], cases: Sequence[FileCase]) -> list[list[FileCase]]:
    """Return the groups of several cases with one trait."""
    found: dict[K, list[FileCase]] = defaultdict(list)
    for case in cases:
        found[trait(case)].append(case)
    return [group for group in found.values() if len(group) > 1]


def _size(case: FileCase) -> int:
    return case.bytes_on_disk


def _middle(case: FileCase) -> tuple[bytes, ...]:
    return tuple(_sample(file) for file in case.image_files)


def _content(case: FileCase) -> tuple[str, ...]:
    return tuple(content_hash(file) for file in case.image_files)


def _sample(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, (path.stat().st_size - SAMPLE) // 2))
        return file.read(SAMPLE)
