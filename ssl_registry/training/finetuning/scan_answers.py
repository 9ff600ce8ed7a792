"""Answers for whole scans: what is scored of a segmentation, on the grid that the scan came with.

On the prepared grid a structure smaller than a voxel is gone from the labels, and then from the
score. The label map on the scan's own grid was kept when the scan was prepared, so that of the many
runs of an experiment none decodes it again.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from ssl_registry.data.cache.packed_labels import OwnLabels, PackedLabels
from ssl_registry.data.cache.prepared import Prepared
from ssl_registry.data.cache.threads import one_thread
from ssl_registry.data.preparing.scan_grid import label_scan
from ssl_registry.data.preparing.slice_answers import as_volume
from ssl_registry.training.engine.answering import answering, read_ahead
from ssl_registry.training.finetuning.downstream_model import Finetuning


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
    as `ssl-registry predict` does. The model is left in evaluation mode.

    Raises:
        DataError: what is kept of a case is damaged, and its files cannot be read any more.
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


def _read(case: Prepared) -> tuple[Tensor, OwnLabels]:
    """Return a case as the network sees it, and its labels as its files have them."""
    with one_thread():
        return case.image(), case.own_labels()


def _label_scan(
    module: Finetuning, case: Prepared, image: Tensor, own: OwnLabels
) -> tuple[Tensor, Tensor, tuple[float, ...]]:
    device = next(module.parameters()).device
    with answering(module.precision, device):
        outputs = module.outputs(image[None].to(device))
        answered = module.task.probabilities(outputs).cpu()
        probabilities = as_volume(answered) if module.stacked else answered[0]
    with one_thread():
        predicted = label_scan(probabilities, case.affine, own.grid)
    target = own.classes
    flat = module.task.spatial_dims == 2 and not module.stacked
    return (*((predicted[..., 0], target[..., 0]) if flat else (predicted, target)), own.spacing)
