"""Prepared images as PyTorch's data sets, with labels and without."""

from collections.abc import Sequence

from torch import Tensor
from torch.utils.data import Dataset

from ssl_registry.data.cache.prepared import Prepared, SeenImage, seen_images


class PreparedImages(Dataset[Tensor]):
    """Prepared images `[C, *S]`, or slices of volumes `[C, H, W]`, without labels."""

    def __init__(self, cases: Sequence[Prepared]) -> None:
        self.seen: Sequence[SeenImage] = seen_images(cases)

    def __len__(self) -> int:
        return len(self.seen)

    def __getitem__(self, index: int) -> Tensor:
        return self.seen[index].image()

    def seen_at(self, index: int) -> SeenImage:
        """Return the image that an index stands for."""
        return self.seen[index]


class LabelledImages(Dataset[tuple[Tensor, Tensor]]):
    """Prepared images `[C, *S]` with labels, `[*S]` or `[]`; or slices of volumes.

    Args:
        cases: with labels.
        whole: take volumes that are seen by their slices as they are, `[C, N, H, W]`, one at a
            time, to be answered for slice by slice and scored whole.
    """

    def __init__(self, cases: Sequence[Prepared], *, whole: bool = False) -> None:
        self.seen: Sequence[SeenImage] = list(cases) if whole else seen_images(cases)
        if len({case.shape for case in self.seen}) > 1 or any(c.sliced for c in cases if whole):
            self.together = 1  # images of unlike size make no batch

    def __len__(self) -> int:
        return len(self.seen)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.seen[index].image(), self.seen[index].label()
