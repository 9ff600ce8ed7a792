"""Class balance: a loss in which rare classes count as much as frequent ones."""

import torch
from torch import Tensor
from torch.nn import functional as F


def balanced_cross_entropy(outputs: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy averaged over each class's places, then over the classes.

    Args:
        outputs: class scores `[B, K, *S]` before the softmax, of images or of their voxels.
        target: classes `[B, *S]`, int64; those that do not occur do not count.
    """
    places = torch.bincount(target.flatten(), minlength=outputs.shape[1]).clamp(min=1)
    return F.cross_entropy(outputs.float(), target, weight=1 / places)
