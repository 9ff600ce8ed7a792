"""Where labels are: a few voxels of each class, so that patches can be cut around them."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

MOST: Final = 1000
"""Voxels of a class that are kept, spread evenly over all it has."""


def pick_labelled(label: Tensor) -> npt.NDArray[Any]:
    """Return rows of a class and the index of a voxel of that class, int32 `[P, 1 + dims]`.

    Args:
        label: a label map `[*S]`; the background, 0, is left out.
    """
    rows = [torch.empty(0, 1 + label.ndim, dtype=torch.int64)]
    for value in np.unique(label.numpy()).tolist():
        if value == 0:
            continue
        voxels = (label == value).nonzero()
        places = np.linspace(0, len(voxels) - 1, min(MOST, len(voxels))).round().astype(np.int64)
        chosen = voxels[torch.from_numpy(places)]
        rows.append(torch.cat([torch.full((len(chosen), 1), value), chosen], dim=1))
    return torch.cat(rows).numpy().astype(np.int32)
