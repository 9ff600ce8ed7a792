"""Intensities: from what the scanner gave to what the network reads."""

from typing import Final

import numpy as np
import torch
from torch import Tensor

from ssl_registry.data.preparing.preprocessing_fields import PreprocessingFields
from ssl_registry.errors import DataError

MOST_ABOVE: Final = 0.5
"""Share of a picture's pixels that may lie above the window of weights of pictures."""


def rescale(image: Tensor, fields: PreprocessingFields, name: str) -> Tensor:
    """Return an image `[C, X, Y, Z]` with intensities from 0 to 1, or of mean 0 and deviation 1.

    Args:
        image: float32, as the scanner gave it.
        fields: how.
        name: what to call the image in an error.

    Raises:
        DataError: no contrast is left, or most of a picture lies above its window.
    """
    if fields.window is not None:
        image = _through_window(image, fields, name)
    elif fields.intensities == "zscore":
        pass
    elif fields.channels == "joint":
        image = _between_percentiles(image, fields.percentiles)
    else:
        image = _each_between_percentiles(image, fields.percentiles)
    if fields.intensities == "zscore":
        image = _standardised(image, joint=fields.channels == "joint")
    if fields.mean is not None and fields.deviation is not None:
        mean, deviation = (_per_channel(said, image) for said in (fields.mean, fields.deviation))
        image = (image - mean) / deviation
    if fields.dtype == "float16":
        image = image.half().float()
    if not torch.isfinite(image).all() or float(image.min()) == float(image.max()):
        within = f" within window={list(fields.window)}" if fields.window else ""
        raise DataError(f"{name}: preprocessing left no contrast{within}; check its intensities")
    return image


def _through_window(image: Tensor, fields: PreprocessingFields, name: str) -> Tensor:
    """Bring the window to 0 ... 1.

    Raises:
        DataError: most of an image that weights of pictures are to see lies above it.
    """
    assert fields.window is not None
    low, high = fields.window
    if fields.mean is not None and float((image > high).float().mean()) > MOST_ABOVE:
        raise DataError(
            f"{name}: most of its pixels lie above window={list(fields.window)}, which is of "
            "pictures of 8 bits: set preprocessing.window=[LOW,HIGH] for its own range, or "
            "preprocessing.window=null for its percentiles"
        )
    return ((image - low) / (high - low)).clamp_(0, 1)


def _standardised(image: Tensor, *, joint: bool) -> Tensor:
    """Bring the mean to 0 and the standard deviation to 1: of each channel, or of all."""
    axes = None if joint else tuple(range(1, image.ndim))
    values = image.double()  # sums of millions of voxels
    mean = values.mean(dim=axes, keepdim=axes is not None)
    spread = values.std(dim=axes, correction=0, keepdim=axes is not None)
    # A channel without any contrast, beside others, becomes 0.
    return ((values - mean) / spread.clamp(min=1e-8)).float()


def _each_between_percentiles(image: Tensor, percentiles: tuple[float, float]) -> Tensor:
    """Bring each channel to 0 ... 1; one without any contrast, beside others, becomes 0."""
    if len(image) == 1:
        return _between_percentiles(image, percentiles)
    parts = []
    for channel in torch.tensor_split(image, len(image)):
        low, high = np.percentile(channel.numpy(), percentiles)
        # A channel that is empty but for a few voxels keeps these: its extremes decide.
        parts.append(_between_percentiles(channel, percentiles if low < high else (0, 100)))
    return torch.cat(parts)


def _between_percentiles(image: Tensor, percentiles: tuple[float, float]) -> Tensor:
    """Bring what lies between the percentiles to 0 ... 1, and clip the rest."""
    values = np.clip(image.numpy(), *np.percentile(image.numpy(), percentiles))
    values = values.astype(np.float32)
    values -= values.min()
    return torch.from_numpy(values / (values.max() or np.float32(1)))


def _per_channel(values: tuple[float, ...], image: Tensor) -> Tensor:
    """Return a number for each channel of `[C, X, Y, Z]`; their average where there are others."""
    numbers = torch.tensor(values if len(values) == len(image) else [sum(values) / len(values)])
    return numbers.view(-1, 1, 1, 1)
