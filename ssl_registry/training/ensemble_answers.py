"""What an ensemble says of an image: of each voxel of a scan, or one class for it."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_registry.data.cache.threads import one_thread
from ssl_registry.data.formats.headers import Affine
from ssl_registry.data.formats.scans import Scan
from ssl_registry.data.preparing.scan_grid import ScanGrid, class_maps, label_scan, most_likely


@dataclass(frozen=True)
class ScanAnswer:
    """What an ensemble says of each voxel of a scan.

    Attributes:
        scan: as it was read.
        placed: the probabilities `[K, *S]` of each member, and where its voxels lie.
    """

    scan: Scan
    placed: tuple[tuple[Tensor, Affine], ...]

    @property
    def grid(self) -> ScanGrid:
        """Where the scan's voxels lie."""
        return ScanGrid.of(self.scan)

    def labels(self) -> Tensor:
        """Return the likeliest class of each voxel `[X, Y, Z]` uint8, on the scan's own grid."""
        with one_thread():
            return most_likely(class_maps(self.placed, self.grid), self.grid)

    def probabilities(self) -> Iterator[Tensor]:
        """Yield the mean probability `[X, Y, Z]` of each class, the background first.

        They add up to one in every voxel, for the background has what the others leave.
        """
        with one_thread():
            others = list(class_maps(self.placed, self.grid))
            rest = torch.ones(self.grid.shape)
            for one in others:
                rest -= one
            yield rest.clamp(min=0)
            yield from others

    def agreement(self, labels: Tensor) -> Tensor:
        """Return which share of the members says the same as `labels`, in every voxel."""
        total = torch.zeros(self.grid.shape)
        with one_thread():
            for probabilities, affine in self.placed:
                total += label_scan(probabilities, affine, self.grid) == labels
        return total / len(self.placed)


@dataclass(frozen=True)
class GradeAnswer:
    """What an ensemble says of an image.

    Attributes:
        members: the probabilities `[K]` of each member.
    """

    members: tuple[Tensor, ...]

    @property
    def probabilities(self) -> Tensor:
        """The mean over the members, `[K]`."""
        if len(self.members) == 1:
            return self.members[0]
        return torch.stack(self.members).mean(0)

    @property
    def grade(self) -> int:
        """The likeliest class."""
        return int(self.probabilities.argmax())

    @property
    def agreement(self) -> float:
        """Which share of the members says the same."""
        return sum(int(one.argmax()) == self.grade for one in self.members) / len(self.members)
