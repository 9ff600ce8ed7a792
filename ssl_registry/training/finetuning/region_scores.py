"""Scores of regions: labels that are made of several values, such as a whole tumour."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ssl_registry.downstream import DownstreamTask


class RegionMaps(Sequence[Tensor]):
    """Label maps in which a region is 1 and all else 0, made one at a time."""

    def __init__(self, labels: Sequence[Tensor], values: Iterable[int]) -> None:
        self.labels = labels
        self.values = torch.tensor(sorted(values))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int | slice) -> "Tensor | RegionMaps":  # type: ignore[override]
        if isinstance(index, slice):
            return RegionMaps(self.labels[index], self.values.tolist())
        return torch.isin(self.labels[index], self.values).long()


def score_regions(
    task: DownstreamTask,
    predictions: Sequence[Tensor],
    targets: Sequence[Tensor],
    regions: Mapping[str, frozenset[int]],
) -> dict[str, float]:
    """Return the headline of each region by its name: `dice_whole tumour`.

    A region is scored as one class against the rest, so what is confused within it does not
    count against it, as nnU-Net scores regions.

    There are no surface scores of regions: those of the labels that make them up are measured.

    Args:
        task: of segmentation; of other tasks there are no regions.
        predictions: a label map `[*S]` of each test case.
        targets: likewise.
        regions: the values of each, by name, as they stand in these label maps.
    """
    if task.target_kind != "mask":
        return {}
    return {
        f"{task.headline}_{name}": task.score(
            RegionMaps(predictions, values), RegionMaps(targets, values)
        )[task.headline]
        for name, values in regions.items()
    }
