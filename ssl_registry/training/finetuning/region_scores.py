"""Scores of regions: labels that are made of several values, such as a whole tumour."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from ssl_registry.downstream import DownstreamTask

OF_THE_REGION: Final = "_1"
"""How scores of a region end, which is the one class of its label maps."""


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
    evidence: Sequence[Mapping[str, Any]],
    regions: Mapping[str, frozenset[int]],
) -> dict[str, float]:
    """Return the scores of each region by its name: `dice_whole tumour`, `hd95_whole tumour`.

    A region is scored as one class against the rest, so what is confused within it does not
    count against it, as nnU-Net scores regions.

    Args:
        task: of segmentation; of other tasks there are no regions.
        predictions: a label map `[*S]` of each test case.
        targets: likewise.
        evidence: what `DownstreamTask.measure_case` takes by name, of each case.
        regions: the values of each, by name, as they stand in these label maps.
    """
    if task.target_kind != "mask":
        return {}
    scores: dict[str, float] = {}
    for name, values in regions.items():
        ours, theirs = RegionMaps(predictions, values), RegionMaps(targets, values)
        scores[f"{task.headline}_{name}"] = task.score(ours, theirs)[task.headline]
        measured = task.summarise(
            [
                task.measure_case(prediction, target, **known)
                for prediction, target, known in zip(ours, theirs, evidence, strict=True)
            ]
        )
        own = (score for score in measured if score.endswith(OF_THE_REGION))
        scores |= {f"{score.removesuffix(OF_THE_REGION)}_{name}": measured[score] for score in own}
    return scores
