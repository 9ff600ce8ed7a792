"""What chance decides about a batch, before a voxel is touched."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from ssl_registry.augmentation.deformation import (
    control_places,
    find_places,
    spans_along,
    spline_at,
)

if TYPE_CHECKING:
    from ssl_registry.augmentation.settings import Augmentation

THICK: Final = 3.0
"""Times the finest spacing, or the share of the longest side, from which slices are thick."""


@dataclass(frozen=True)
class Drawn:
    """How each image of a batch is changed; what is left alone has the neutral value.

    All tensors lie where the generator that drew them does.

    Attributes:
        shape: of the images, without batch and channels.
        warped: `[B]` bool, whether an image is turned, made larger or deformed.
        flips: `[B, dims]` bool, axis by axis.
        control: `[B, *G, dims]` float32, the control points of a cubic B-spline that says for
            every voxel, in voxels, which place of the original it shows; flips included.
        noise: `[B, C]`, standard deviation as a share of the channel's own; neutral 0.
        noise_seed: what the noise is drawn from, on the images' device.
        blur: `[B, C, dims]`, standard deviation in voxels; neutral 0.
        resolution: `[B, C, dims]`, share that is left; neutral 1.
        brightness: `[B, C]`, factor; neutral 1.
        contrast: `[B, C]`, factor about the mean; neutral 1.
        gamma: `[B, C]`, exponent; neutral 1.
        inverted_gamma: `[B, C]`, exponent of the negative; neutral 1.
    """

    shape: tuple[int, ...]
    warped: Tensor
    flips: Tensor
    control: Tensor
    noise: Tensor
    noise_seed: int
    blur: Tensor
    resolution: Tensor
    brightness: Tensor
    contrast: Tensor
    gamma: Tensor
    inverted_gamma: Tensor

    def positions(self) -> Tensor:
        """Return which place of the original each voxel shows, `[B, *S, dims]` in voxels.

        Two copies of one image show the same place where their positions are equal: that is
        how a dense contrastive task finds the voxels that belong together.
        """
        return spline_at(self.control, self.shape)

    def find(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return where each copy shows some points of the original: the inverse of `positions`.

        Args:
            points: `[B, K, dims]` in voxels of the original.

        Returns:
            Places `[B, K, dims]` in voxels of the copy, float64, and whether the copy shows them,
            `[B, K]` bool.
        """
        return find_places(self.control, self.shape, points.to(self.control.device))

    def within(self, corners: Tensor, sides: Tensor) -> "Drawn":
        """Return the same changes of a window of each image, made as large as the image.

        Window, turn, size and deformation are one map, so the image is interpolated once.

        Args:
            corners: `[B, dims]`, where the window begins, as a share of the image's sides.
            sides: `[B, dims]`, those of the window, as a share of the image's.
        """
        extent = torch.tensor(self.shape, device=self.control.device, dtype=self.control.dtype)
        begin, share = (
            self._for_control(values.to(self.control)) for values in (corners * extent, sides)
        )
        control = begin + (self.control + 0.5) * share - 0.5
        whole = (sides == 1).all(1) & (corners == 0).all(1)
        return replace(self, control=control, warped=self.warped | ~whole.to(self.warped.device))

    def _for_control(self, values: Tensor) -> Tensor:
        """Return values `[B, dims]` so that they meet the control points of their image."""
        return values.view(len(values), *[1] * len(self.shape), -1)


def thick_axis(shape: Sequence[int], spacing: Sequence[float]) -> int | None:
    """Return the axis across which the slices of a volume are thick, if there is one.

    That is nnU-Net's rule, from the spacing and, for patches of a few slices, from the shape.
    """
    if len(shape) < 3:
        return None
    apart = [along / min(spacing) for along in spacing]
    if max(apart) >= THICK:
        return apart.index(max(apart))
    flat = [max(shape) / side for side in shape]
    return flat.index(max(flat)) if max(flat) >= THICK else None


def draw(
    ranges: "Augmentation",
    batch: int,
    shape: tuple[int, ...],
    generator: torch.Generator,
    channels: int,
    spacing: tuple[float, ...],
) -> Drawn:
    """Draw how each image of a batch is changed; see `Augmentation.draw`.

    Every image takes equally many numbers from the generator, whatever the ranges, so a
    change of one field leaves what the others decide as it was.
    """
    thick = thick_axis(shape, spacing) if ranges.thick_axis == "auto" else ranges.thick_axis
    image = _Chances(batch, 16, generator)
    channel = torch.rand(batch, channels, 8, generator=generator, device=generator.device)
    if not ranges.channel_wise:
        channel = channel[:, :1].expand(-1, channels, -1)
    flips = _draw_flips(ranges, image, len(shape))
    warped, control = _draw_map(ranges, image, flips, shape, spacing, thick)
    sigma, left = _draw_filters(ranges, image, channel)
    resolution = left[..., None].repeat(1, 1, len(shape))
    if thick is not None:
        resolution[..., thick] = 1.0
    noisy, deviation = image.below(ranges.noise_probability), image.next() * ranges.noise
    brightness, contrast, gamma, inverted_gamma = _draw_light(ranges, image, channel)
    return Drawn(
        shape=shape,
        warped=warped,
        flips=flips,
        control=control,
        noise=deviation.where(noisy, 0.0)[:, None].repeat(1, channels),
        noise_seed=int(torch.randint(2**62, (), generator=generator, device=generator.device)),
        blur=sigma[..., None] * _share_of_blur(spacing, generator.device),
        resolution=resolution,
        brightness=brightness,
        contrast=contrast,
        gamma=gamma,
        inverted_gamma=inverted_gamma,
    )


class _Chances:
    """Numbers between 0 and 1, drawn together and handed out one by one, `[B]` each."""

    def __init__(self, batch: int, count: int, generator: torch.Generator) -> None:
        self.batch, self.generator = batch, generator
        drawn = torch.rand(batch, count, generator=generator, device=generator.device)
        self.columns = iter(drawn.unbind(1))

    def next(self) -> Tensor:
        return next(self.columns)

    def below(self, probability: float) -> Tensor:
        return self.next() < probability

    def numbers(self, *shape: int) -> Tensor:
        """Return `[B, *shape]` more."""
        size = (self.batch, *shape)
        return torch.rand(size, generator=self.generator, device=self.generator.device)


def _draw_flips(ranges: "Augmentation", chances: _Chances, dims: int) -> Tensor:
    """Return along which axes each image is flipped, `[B, dims]` bool."""
    flips = chances.numbers(dims) < ranges.flip_probability
    allowed = [axis in ranges.flipped_axes(dims) for axis in range(dims)]
    return flips & torch.tensor(allowed, device=flips.device)


def _draw_filters(
    ranges: "Augmentation", chances: _Chances, channel: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the blur, 0 for none, and the share of the voxels that is left, `[B, C]` each."""
    touched = channel[..., :2] < ranges.channel_share
    blurred = chances.below(ranges.blur_probability)[:, None] & touched[..., 0]
    coarse = chances.below(ranges.low_resolution_probability)[:, None] & touched[..., 1]
    sigma = _between(channel[..., 2], ranges.blur_range).where(blurred, 0.0)
    left = _between(channel[..., 3], ranges.low_resolution_range).where(coarse, 1.0)
    return sigma, left


def _draw_light(ranges: "Augmentation", chances: _Chances, channel: Tensor) -> list[Tensor]:
    """Return brightness, contrast, gamma and inverted gamma, `[B, C]` each, 1 for no change."""
    limits = [
        (ranges.brightness_probability, ranges.brightness_range),
        (ranges.contrast_probability, ranges.contrast_range),
        (ranges.gamma_probability, ranges.gamma_range),
        (ranges.inverted_gamma_probability, ranges.gamma_range),
    ]
    return [
        _factor(channel[..., 4 + place], within).where(chances.below(probability)[:, None], 1.0)
        for place, (probability, within) in enumerate(limits)
    ]


def _draw_map(
    ranges: "Augmentation",
    chances: _Chances,
    flips: Tensor,
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    thick: int | None,
) -> tuple[Tensor, Tensor]:
    """Return which images are warped, and the control points of all."""
    dims, device = len(shape), flips.device
    turned, scaled, bent = (
        chances.below(probability)
        for probability in (
            ranges.rotation_probability,
            ranges.scaling_probability,
            ranges.elastic_probability,
        )
    )
    angles = torch.stack([_around_zero(chances.next()) for _ in range(3)], dim=1)
    scale = _factor(chances.next(), ranges.scaling_range).where(scaled, 1.0)
    strength = (chances.next() * ranges.elastic).where(bent, 0.0)
    matrix = _turns(angles * turned[:, None], ranges, dims, thick) / scale[:, None, None]
    if thick is not None:
        matrix[:, thick, thick] = 1.0
    metric = torch.tensor(spacing, device=device)
    matrix = matrix * metric / metric[:, None]  # turns are turns in mm

    extent = [side * along for side, along in zip(shape, spacing, strict=True)]
    spans = spans_along(extent, ranges.elastic_spans)
    places = control_places(shape, spans, device)
    unit = min(side / count for side, count in zip(extent, spans, strict=True))
    bend = _around_zero(chances.numbers(*places.shape)) * (unit / metric)
    bend = bend * strength.view(-1, *[1] * (dims + 1))
    if thick is not None:
        bend[..., thick] = 0.0
    middle = (torch.tensor(shape, device=device) - 1) / 2
    control = (places + bend - middle).flatten(1, -2) @ matrix.mT + middle
    control = control.view(bend.shape)
    for axis in range(dims):  # the control points lie symmetrically
        mask = flips[:, axis].view(-1, *[1] * (dims + 1))
        control = torch.where(mask, control.flip(axis + 1), control)
    return turned | scaled | bent, control


def _turns(angles: Tensor, ranges: "Augmentation", dims: int, thick: int | None) -> Tensor:
    """Return where a place came from before it was turned: matrices `[B, dims, dims]` in mm.

    Args:
        angles: `[B, 3]`, shares of the largest turn; in a plane the first of them.
        ranges: how large that is.
        dims: of the images.
        thick: the axis across which the slices are thick.
    """
    axes = [axis for axis in range(dims) if axis != thick]
    flat = len(axes) == 2
    planes = [(axes[0], axes[1])] if flat else [(1, 2), (0, 2), (0, 1)]
    most = math.radians(ranges.plane_rotation_degrees if flat else ranges.rotation_degrees)
    matrix = torch.eye(dims, device=angles.device).repeat(len(angles), 1, 1)
    for (a, b), angle in zip(planes, angles.unbind(1), strict=False):
        turn = torch.eye(dims, device=angles.device).repeat(len(angles), 1, 1)
        turn[:, a, a] = turn[:, b, b] = torch.cos(angle * most)
        turn[:, a, b] = torch.sin(angle * most)
        turn[:, b, a] = -turn[:, a, b]
        matrix = matrix @ turn
    return matrix


def _share_of_blur(spacing: tuple[float, ...], device: torch.device) -> Tensor:
    """Return, of a blur in the finest voxels, how much each axis gets: as many mm as the others."""
    return torch.tensor([min(spacing) / along for along in spacing], device=device)


def _around_zero(chance: Tensor) -> Tensor:
    """Turn numbers between 0 and 1 into numbers between -1 and 1."""
    return 2 * chance - 1


def _between(chance: Tensor, limits: tuple[float, float]) -> Tensor:
    return limits[0] + chance * (limits[1] - limits[0])


def _factor(chance: Tensor, limits: tuple[float, float]) -> Tensor:
    """Return factors: as often below 1 as above, where the limits allow both, as in nnU-Net."""
    low, high = limits
    if not low < 1 < high:
        return _between(chance, limits)
    return torch.where(
        chance < 0.5, low + 2 * chance * (1 - low), 1 + (2 * chance - 1) * (high - 1)
    )
