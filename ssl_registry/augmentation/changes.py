"""Which images of a batch are changed, and how: taken to the device in one copy.

What was drawn says it for every image; here only those stand that are changed, so that a kernel is
called for these alone, and nobody asks the device which they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from ssl_registry.augmentation.deformation import as_grid_points
from ssl_registry.augmentation.drawn import Drawn
from ssl_registry.transfer import carry

LIGHT: Final = ("noise", "brightness", "contrast", "inverted_gamma", "gamma")
_NEUTRAL: Final = {"noise": 0.0}


@dataclass(frozen=True)
class Changes:
    """The changes of a batch; each names rows of it, `[n]` int64, and what is done to them.

    Attributes:
        shape: of the images, without batch and channels.
        channels: of the images.
        noise_seed: as of `Drawn`.
        count: of the images.
        tensors: by name, all on one device: `warped` with the control `points` of `[n]` images as
            `grid_sample` counts; `flip0`, `flip1`, ..., an axis each, of the others; `noise`,
            `brightness`, ... of `[n]` channels with `noise_values`, ...; `filtered` with `sigma`
            and `share` `[n, dims]`.
    """

    shape: tuple[int, ...]
    channels: int
    noise_seed: int
    count: int
    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, drawn: Drawn) -> "Changes":
        """Return what was drawn as changes, where it was drawn."""
        (warped,) = drawn.warped.nonzero(as_tuple=True)
        tensors = {"warped": warped, "points": as_grid_points(drawn.control[warped], drawn.shape)}
        flips = drawn.flips & ~drawn.warped[:, None]  # those of the others lie in the map
        for axis in range(len(drawn.shape)):
            (tensors[f"flip{axis}"],) = flips[:, axis].nonzero(as_tuple=True)
        for name in LIGHT:
            values = getattr(drawn, name).flatten()
            (rows,) = (values != _NEUTRAL.get(name, 1.0)).nonzero(as_tuple=True)
            tensors |= {name: rows, f"{name}_values": values[rows]}
        blur, left = drawn.blur.flatten(0, 1), drawn.resolution.flatten(0, 1)
        (rows,) = ((blur != 0).any(1) | (left != 1).any(1)).nonzero(as_tuple=True)
        tensors |= {"filtered": rows, "sigma": blur[rows], "share": left[rows]}
        count, channels = drawn.brightness.shape
        return cls(drawn.shape, channels, drawn.noise_seed, count, tensors)


def carry_changes(
    device: torch.device, drawn: Sequence[Drawn], *others: Tensor
) -> tuple[tuple[Changes, ...], tuple[Tensor, ...]]:
    """Return what was drawn, as `Augmentation.apply` takes it, on a device, in a single copy.

        (changes,), (corners,) = augmentation.carry_changes(images.device, [drawn], corners)

    Args:
        device: of the images.
        drawn: for one batch, or for several.
        others: tensors that are needed there too, and go with it.
    """
    made = [Changes.of(one) for one in drawn]
    sent = [tensor for one in made for tensor in one.tensors.values()]
    came = carry(device, *sent, *others)
    rest = iter(came)
    carried = tuple(
        replace(one, tensors=dict(zip(one.tensors, rest, strict=False))) for one in made
    )
    return carried, tuple(rest)
