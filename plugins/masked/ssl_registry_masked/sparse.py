"""Convolutions that see the visible voxels alone, in whatever encoder there is.

A dense convolution spreads over the border of a mask at every layer, until the deepest features
know no mask; normalisation counts the zeros of the hidden voxels into its mean. SparK therefore
computes both on the visible voxels alone. Here that is done while the encoder runs, by looking at
each operation that it calls, so that its layers, weights and their names stay what they are.

Reference: Tian et al. 2023 (arXiv:2301.03580), section 3.1.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ssl_registry.errors import ConfigError
from ssl_registry_masked.cubes import spread

_SPREADING: Final = frozenset(
    [
        F.conv2d,
        F.conv3d,
        F.conv_transpose2d,
        F.conv_transpose3d,
        F.max_pool2d,
        F.max_pool3d,
        F.avg_pool2d,
        F.avg_pool3d,
        F.interpolate,
        F.layer_norm,
    ]
)
"""What carries something into hidden voxels, from their neighbours or by a bias."""

_NORMALISING: Final = frozenset([F.batch_norm, F.instance_norm, F.group_norm])
"""What computes a mean over voxels."""

_POOLING: Final = frozenset([F.adaptive_avg_pool2d, F.adaptive_avg_pool3d])
"""What may compute the mean over all voxels, as the gates of squeeze and excitation do."""

_ATTENDING: Final = frozenset(
    [F.scaled_dot_product_attention, F.softmax, torch.softmax, Tensor.softmax]
)
"""What attention is made of."""


class VisibleAlone(TorchFunctionMode):
    """While it is entered, convolutions and normalisations see visible voxels alone.

    Features of hidden voxels are zero, as they are in a sparse convolution.

    Args:
        hidden: which cells are, `[B, *cells]` bool, equally many in every image.
        count: how many cells of an image are.
    """

    def __init__(self, hidden: Tensor, count: int) -> None:
        super().__init__()
        self.visible = ~hidden
        self.cells = tuple(hidden.shape[1:])
        self.shown = hidden[0].numel() - count
        self.masks: dict[tuple[int, ...], Tensor] = {}
        self.places: dict[tuple[int, ...], Tensor] = {}

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch for the visible voxels.

        Raises:
            ConfigError: it is attention, or the features have a grid that the cells do not fit.
        """
        named = dict(kwargs or {})
        if function in _ATTENDING:
            raise ConfigError(
                "sparse=true is for convolutional encoders, and this one attends to tokens: set "
                "task.sparse=false (with task.fill=token a learned token stands for hidden patches)"
            )
        if function in _NORMALISING:
            return self._normalise(function, args, named)
        result = function(*args, **named)
        if function in _SPREADING:
            # Of all these only layer normalisation has the channels behind the voxels.
            return self._hide(result, channels_last=function is F.layer_norm)
        if function in _POOLING and result.shape[2:].numel() == 1:
            return result * (self.visible[0].numel() / self.shown)
        return result

    def mask_for(self, shape: Sequence[int]) -> Tensor | None:
        """Return which voxels of a grid are visible, `[B, 1, *shape]`; None for a single voxel.

        Raises:
            ConfigError: the cells are no whole number of its voxels.
        """
        shape = tuple(shape)
        if torch.Size(shape).numel() == 1 < torch.Size(self.cells).numel():
            return None  # the gate of a whole image
        if shape not in self.masks:
            if any(side % cells for side, cells in zip(shape, self.cells, strict=True)):
                raise ConfigError(
                    f"sparse=true: a layer of the encoder has features of {list(shape)} voxels, "
                    f"which {list(self.cells)} cubes do not divide; make task.cube a multiple of "
                    "the encoder's coarsest stride, or use a backbone with fewer levels"
                )
            widths = [side // cells for side, cells in zip(shape, self.cells, strict=True)]
            self.masks[shape] = spread(self.visible, widths, shape)
        return self.masks[shape]

    def _places(self, mask: Tensor) -> Tensor:
        """Return where the visible voxels of a grid lie, `[B, 1, N]`, equally many in all images.

        Their number is known without a look at the mask, for which a GPU would have to wait.
        """
        shape = tuple(mask.shape[2:])
        if shape not in self.places:
            flat = mask.flatten(2)
            count = flat.shape[2] * self.shown // self.visible[0].numel()
            order = flat.to(torch.uint8).argsort(dim=2, descending=True, stable=True)
            self.places[shape] = order[..., :count]
        return self.places[shape]

    def _hide(self, result: Any, *, channels_last: bool = False) -> Any:
        if isinstance(result, tuple):  # a pooling that also returns where its maxima were
            return (self._hide(result[0]), *result[1:])
        if result.ndim != len(self.cells) + 2:
            return result
        mask = self.mask_for(result.shape[1:-1] if channels_last else result.shape[2:])
        if mask is None:
            return result
        return result * (mask.movedim(1, -1) if channels_last else mask)

    def _normalise(
        self, function: Callable[..., Tensor], args: Sequence[Any], named: dict[str, Any]
    ) -> Tensor:
        """Normalise the visible voxels, as `[B, C, N]`, and put zeros into the hidden ones."""
        features, rest = (args[0], args[1:]) if args else (named.pop("input"), ())
        mask = self.mask_for(features.shape[2:])
        if mask is None:
            return function(features, *rest, **named)
        flat = features.flatten(2)
        places = self._places(mask).expand(-1, flat.shape[1], -1)
        done = function(flat.gather(2, places), *rest, **named)
        return torch.zeros_like(flat, dtype=done.dtype).scatter(2, places, done).view_as(features)
