"""Answers for whole scans: what is scored of a segmentation, on the grid that the scan came with.

On the prepared grid a structure smaller than a voxel is gone from the labels, and then from the
score.
"""

import zlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssl_registry.data.cache.prepared import Prepared
from ssl_registry.data.cache.threads import one_thread
from ssl_registry.data.formats.scans import Scan
from ssl_registry.data.label_classes import as_classes
from ssl_registry.data.preparing.scan_grid import label_scan
from ssl_registry.data.preparing.slice_answers import as_volume
from ssl_registry.training.engine.answering import answering, read_ahead
from ssl_registry.training.finetuning.downstream_model import Finetuning


class PackedLabels(Sequence[Tensor]):
    """Label maps of any size, kept deflated and given as int64 one at a time.

    Scores go through all of them several times, and label maps of whole scans are large, but
    hold little.
    """

    def __init__(self, labels: Iterable[Tensor]) -> None:
        self.packed: list[tuple[tuple[int, ...], bytes]] = []
        for one in labels:
            self.add(one)

    def add(self, labels: Tensor) -> None:
        """Keep one more label map."""
        values = np.array(labels.numpy(), dtype=np.uint8, order="C")
        self.packed.append((values.shape, zlib.compress(values.tobytes(), 1)))

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        shape, packed = self.packed[index]
        values = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)
        return torch.from_numpy(values.astype(np.int64))


class ScanLabels(NamedTuple):
    """Label maps of scans, on the grids of their files.

    Attributes:
        predictions: the class of each voxel, `[*S]` int64, of each scan.
        targets: likewise.
        spacings: of the voxels in mm, one for each axis of the label map.
    """

    predictions: Sequence[Tensor]
    targets: Sequence[Tensor]
    spacings: list[tuple[float, ...]]


def label_scans(module: Finetuning, cases: Sequence[Prepared]) -> ScanLabels:
    """Return the predicted and the true classes of each scan, on the grid of its files.

    The network answers on the prepared grid; its probabilities are brought back to the scan's,
    as `ssl-registry predict` does, and the label map is read from its file once more. The model
    is left in evaluation mode.

    Raises:
        DataError: a file cannot be read any more.
    """
    module.eval()
    predictions, targets = PackedLabels(()), PackedLabels(())
    spacings = []
    device = next(module.parameters()).device
    for case, read in zip(cases, read_ahead(_read, cases, device), strict=True):
        predicted, target, spacing = _label_scan(module, case, *read())
        predictions.add(predicted)
        targets.add(target)
        spacings.append(spacing[: target.ndim])
    return ScanLabels(predictions, targets, spacings)


def _read(case: Prepared) -> tuple[Tensor, Scan]:
    """Return a case as the network sees it, and as its files have it."""
    with one_thread():
        return case.image(), case.case.read()


def _label_scan(
    module: Finetuning, case: Prepared, image: Tensor, scan: Scan
) -> tuple[Tensor, Tensor, tuple[float, ...]]:
    device = next(module.parameters()).device
    with answering(module.precision, device):
        outputs = module.outputs(image[None].to(device))
        answered = module.task.probabilities(outputs).cpu()
        probabilities = as_volume(answered) if module.stacked else answered[0]
    with one_thread():
        predicted = label_scan(probabilities, case.affine, scan)
    target = as_classes(scan["label"].data[0], case.case.label_values)
    spacing = tuple(scan["label"].spacing)
    flat = module.task.spatial_dims == 2 and not module.stacked
    return (*((predicted[..., 0], target[..., 0]) if flat else (predicted, target)), spacing)
