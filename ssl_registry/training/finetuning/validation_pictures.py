"""Pictures of what a model in training answers for a few validation cases."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from ssl_registry.data.cache.prepared import Prepared
from ssl_registry.training.engine.following import Picture
from ssl_registry.training.finetuning.downstream_model import Finetuning, predict_cases

SHOWN: Final = 3
"""Cases of which there is a picture."""

COLOURS: Final = torch.tensor(
    [[230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178], [213, 94, 0]]
)
"""Of label values from 1 on, of Okabe and Ito (2008)."""


def picture_validation(module: Finetuning, cases: Sequence[Prepared]) -> dict[str, Picture]:
    """Return a picture of each of the first cases: the image, its label, the prediction.

    Volumes are cut in their last axis, or shown by a slice, where the label is fullest. The model
    stays in the mode it is in. Classes are written into the names, for a picture has no words.
    """
    shown, training = cases[:SHOWN], module.training
    predictions = predict_cases(module, shown)
    module.train(training)
    pictures = {}
    for case, predicted in zip(shown, predictions, strict=True):
        image, maps = case.image(), [case.label(), predicted]
        if case.sliced:  # the slices' axis last, as in a volume that is seen whole
            image = image.movedim(1, -1)
            maps = [labels.movedim(0, -1) if labels.ndim else labels for labels in maps]
        label = maps[0]
        if label.ndim == 0:
            name = f"{case.case.name} class {int(label)} taken for {int(predicted)}"
            pictures[name] = _as_picture(_middle(image), [])
            continue
        if label.ndim == 3:
            at = int((label > 0).flatten(0, 1).sum(0).argmax())
            image, maps = _upright(image[..., at]), [_upright(labels[..., at]) for labels in maps]
        pictures[case.case.name] = _as_picture(image, maps)
    return pictures


def _middle(image: Tensor) -> Tensor:
    return image if image.ndim == 3 else _upright(image[..., image.shape[-1] // 2])


def _upright(axial: Tensor) -> Tensor:
    """Return `[..., X, Y]`, RAS+, as rows and columns: the front on top, the right at the left."""
    return axial.mT.flip(-1, -2)


def _as_picture(image: Tensor, maps: Sequence[Tensor]) -> Picture:
    """Return an image `[C, H, W]` and, beside it, itself under each of the label maps `[H, W]`."""
    grey = image if len(image) == 3 else image[:1].expand(3, -1, -1)
    low, high = grey.min(), grey.max()
    grey = ((grey - low) / (high - low).clamp(min=1e-6) * 255).movedim(0, -1)
    panels = [grey]
    for labels in maps:
        colour = COLOURS[(labels - 1) % len(COLOURS)]
        panels.append(torch.where(labels[..., None] > 0, 0.5 * grey + 0.5 * colour, grey))
    return torch.cat(panels, dim=1).round().to(torch.uint8).numpy().astype(np.uint8)
