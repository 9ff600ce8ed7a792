"""One vector for each image: levels of a frozen encoder, pooled; patches averaged."""

from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ssl_registry.backbone import Encoder
from ssl_registry.data.cache.prepared import Prepared
from ssl_registry.data.preparing.sizes import Size
from ssl_registry.data.preparing.sliding_window import windows_of
from ssl_registry.errors import ConfigError
from ssl_registry.training.probes.features import Array

Level: TypeAlias = int | Literal["all", "coarsest"]
"""Which levels of the pyramid: all, one after the other; the coarsest; or one, 1 is the finest."""

Pooling: TypeAlias = Literal["mean", "max"]

POOLINGS: Final = ("mean", "max")


def chosen_levels(encoder: Encoder, level: Level) -> range:
    """Return the places of the levels that are taken, from 0.

    Raises:
        ConfigError: there is no such level.
    """
    count = len(encoder.channels)
    if level == "all":
        return range(count)
    if level == "coarsest":
        return range(count - 1, count)
    if isinstance(level, bool) or not isinstance(level, int) or not 1 <= level <= count:
        raise ConfigError(
            f"level={level!r}: the encoder has {count} levels, from 1, the finest, to {count}; or "
            "say all or coarsest"
        )
    return range(level - 1, level)


def embed_case(
    encoder: Encoder,
    case: Prepared,
    *,
    level: Level = "all",
    pooling: Pooling = "mean",
    window: Size | None = None,
) -> Array:
    """Return the vector `[F]` of a case: each level pooled over its voxels, levels in order.

    Of a volume seen by its slices it is the mean of the slices' vectors, and with windows that of
    the windows', which overlap by half and count alike.

    Args:
        encoder: in evaluation mode.
        case: prepared as the encoder wants it.
        level: which of the levels.
        pooling: the mean or the maximum over the voxels of a level.
        window: side of the patches that the encoder learned from; None shows it the whole image.
    """
    levels = chosen_levels(encoder, level)
    device = next(encoder.parameters()).device
    vectors = []
    with torch.inference_mode():
        for image in _shown(case, window):
            pyramid = encoder(image[None].to(device))
            vectors.append(torch.cat([_pool(pyramid[place][0], pooling) for place in levels]))
        mean: Array = torch.stack(vectors).double().mean(0).cpu().numpy().astype(np.float64)
    return mean


def _shown(case: Prepared, window: Size | None) -> Iterator[Tensor]:
    """Yield what the encoder sees of a case, `[C, *S]`."""
    for one in case.slices if case.sliced else [case]:
        image = one.image()
        yield from [image] if window is None else windows_of(image, window)


def _pool(level: Tensor, pooling: Pooling) -> Tensor:
    values = level.flatten(1).float()
    return values.mean(1) if pooling == "mean" else values.amax(1)
