"""Anybody's network as an encoder: a plain module that returns features, under its own names."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self, TypeAlias

import torch
from torch import Tensor, nn

from ssl_registry.backbone import Encoder
from ssl_registry.errors import ConfigError
from ssl_registry.randomness import derive_generator, lend_to_torch

TRIAL_SIDE: Final = 64
"""Side of the trial image where nobody says one."""

_IMAGE_AXES: Final = {4: 2, 5: 3}
"""Spatial dimensions by the axes of a convolution's weight `[out, in, *K]`."""

Strides: TypeAlias = Sequence[int] | Sequence[Sequence[int]]


def wrap_encoder(
    module: nn.Module,
    *,
    channels: Sequence[int] | None = None,
    strides: Strides | None = None,
    in_channels: int | None = None,
    dims: int | None = None,
    image_shape: Sequence[int] | None = None,
) -> "WrappedEncoder":
    """Return a module as an encoder; both share their weights, under the module's own names.

        net = torchvision.models.feature_extraction.create_feature_extractor(resnet, nodes)
        encoder = wrap_encoder(net)

    What is not said is read from a trial pass of an image of zeros, in evaluation mode and
    without gradients.

    Args:
        module: takes images `[B, C, *S]`, and returns features `[B, C_l, *S_l]`: a tensor, a list
            or tuple of levels, or a mapping of them. Levels are put in order, the finest first.
        channels: of each level, finest first.
        strides: voxels of the input per voxel of each level, finest first: one number a level, or
            one a spatial axis.
        in_channels: of the images; those that the module's first convolution takes.
        dims: 2 or 3; those of that convolution.
        image_shape: of the trial image, without batch and channels; 64 a side.

    Raises:
        ConfigError: the module cannot take the trial image, returns something else than features,
            or other channels or strides than said; or nothing says how many channels it takes.
    """
    if not isinstance(module, nn.Module):
        raise ConfigError(f"{type(module).__name__} is no torch.nn.Module: name the network itself")
    found = _first_convolution(module)
    taken, axes = in_channels or found[0], dims or found[1]
    if taken is None or axes is None:
        raise ConfigError(
            f"{type(module).__name__} has no convolution that says what images it takes: set "
            "in_channels=... and dims=2 or dims=3"
        )
    shape = tuple(image_shape or (TRIAL_SIDE,) * axes)
    if len(shape) != axes:
        raise ConfigError(f"image_shape={shape}: expected {axes} sides, for images in {axes}D")
    order, levels = _try(module, taken, shape)
    read = tuple(level[0] for level in levels)
    if channels is not None and tuple(channels) != read:
        raise ConfigError(f"channels={tuple(channels)}, but the levels have {read}")
    return WrappedEncoder(
        module, taken, read, _strides(strides, shape, [sides for _, sides in levels]), order
    )


class WrappedEncoder(Encoder):
    """A module as an encoder; made by `wrap_encoder`.

    Attributes:
        module: what was wrapped. Parameters, buffers and inner modules are the same objects.
    """

    module: nn.Module

    def __init__(
        self,
        module: nn.Module,
        in_channels: int,
        channels: tuple[int, ...],
        strides: tuple[tuple[int, ...], ...],
        order: tuple[int, ...],
    ) -> None:
        super().__init__()
        # Not as a submodule, for then every weight would be called `module.` something.
        self.__dict__["module"] = module
        for shared in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
            self.__dict__[shared] = module.__dict__[shared]
        self.in_channels, self.channels, self.strides = in_channels, channels, strides
        self.order = order

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features `[B, channels[l], *S_l]`, finest first, of images `[B, C, *S]`."""
        levels = _levels_of(self.module(x), self.module)
        return [levels[place] for place in self.order]

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the module too, for a functional dropout may ask it."""
        self.module.training = mode
        return super().train(mode)


def _first_convolution(module: nn.Module) -> tuple[int | None, int | None]:
    """Return what a module's first convolution takes: channels, and spatial dimensions."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
            return layer.in_channels, _IMAGE_AXES[layer.weight.ndim]
    return None, None


def _try(
    module: nn.Module, channels: int, shape: tuple[int, ...]
) -> tuple[tuple[int, ...], list[tuple[int, tuple[int, ...]]]]:
    """Return the order of the levels, the finest first, and channels and sides of each in it."""
    like = next(module.parameters(), torch.zeros(()))
    image = torch.zeros((1, channels, *shape), dtype=like.dtype, device=like.device)
    try:
        with _evaluating(module), torch.no_grad(), lend_to_torch(derive_generator(0, "wrap")):
            pyramid = _levels_of(module(image), module)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ConfigError(
            f"{type(module).__name__} cannot take an image of {list(image.shape)}: {error}; set "
            "image_shape=..., in_channels=... or dims=..., or correct its forward"
        ) from error
    order = sorted(range(len(pyramid)), key=lambda place: -pyramid[place].shape[2:].numel())
    for level in pyramid:
        if level.ndim != image.ndim:
            raise ConfigError(
                f"{type(module).__name__} returned a tensor {list(level.shape)} of an image "
                f"{list(image.shape)}; a level of an encoder is [B, C_l, *S_l], with as many axes: "
                "return features from before the pooling"
            )
    levels = [pyramid[place] for place in order]
    return tuple(order), [(level.shape[1], tuple(level.shape[2:])) for level in levels]


def _levels_of(answer: Any, module: nn.Module) -> list[Tensor]:
    levels = list(answer.values()) if isinstance(answer, Mapping) else answer
    levels = [levels] if isinstance(levels, Tensor) else levels
    whole = isinstance(levels, (list, tuple)) and levels
    if not whole or not all(isinstance(level, Tensor) for level in levels):
        raise ConfigError(
            f"{type(module).__name__} returned a {type(answer).__name__}; an encoder returns "
            "features [B, C_l, *S_l]: a tensor, or a list or mapping of one for each level"
        )
    return list(levels)


def _strides(
    said: Strides | None, shape: tuple[int, ...], levels: Sequence[tuple[int, ...]]
) -> tuple[tuple[int, ...], ...]:
    """Return the strides of the levels, once it is seen that the trial image had them."""
    read = tuple(
        tuple(round(side / there) for side, there in zip(shape, sides, strict=True))
        for sides in levels
    )
    if said is None:
        return read
    spelt = tuple(
        (level,) * len(shape) if isinstance(level, int) else tuple(level) for level in said
    )
    if spelt != read:
        raise ConfigError(
            f"strides={spelt}, but an image of {shape} voxels gives levels of {list(levels)}, "
            f"which is {read}"
        )
    return spelt


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Let a module be in evaluation mode, each of its layers; afterwards it is as it was."""
    modes = {layer: layer.training for layer in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for layer, mode in modes.items():
            layer.training = mode
