"""What chance decides about a batch, before a voxel is touched."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from ssl_registry.augmentation.deformation import control_places, spans_along
from ssl_registry.augmentation.drawn import Drawn

if TYPE_CHECKING:
    from ssl_registry.augmentation.settings import Augmentation

THICK: Final = 3.0
"""Times the finest spacing, or the share of the longest side, from which slices are thick."""


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
