"""Noise, brightness, contrast and gamma of images `[N, *S]`, float32, in place.

`N` counts images times channels, and every argument has a value for each of them.
"""

import torch
from torch import Tensor

TINY = 1e-7
"""Range of values below which an image shows nothing that could be changed."""


def add_noise(images: Tensor, deviation: Tensor, seed: int) -> None:
    """Add Gaussian noise of `deviation` times the image's own standard deviation.

    It is drawn where the images are, from a generator that begins with `seed`.
    """
    generator = torch.Generator(images.device).manual_seed(seed)
    own = images.flatten(1).std(1, correction=0)
    noise = torch.empty_like(images).normal_(generator=generator)
    images.add_(noise.mul_(_column(deviation.to(own) * own, images)))


def change_brightness(images: Tensor, factor: Tensor) -> None:
    """Multiply by `factor`: 0, the air of a prepared image, stays what it is."""
    images.mul_(_column(factor, images))


def change_contrast(images: Tensor, factor: Tensor) -> None:
    """Move values away from their mean by `factor`; what leaves their range is cut off."""
    flat = images.flatten(1)
    low, high = (_column(end, images) for end in flat.aminmax(dim=1))
    mean, factor = _column(flat.mean(1), images), _column(factor, images)
    images.mul_(factor).add_(mean * (1 - factor))
    # `clamp_` with tensors for its bounds is slower than these two.
    torch.maximum(images, low, out=images)
    torch.minimum(images, high, out=images)


def change_gamma(images: Tensor, gamma: Tensor, *, inverted: bool = False) -> None:
    """Raise values, 0 to 1 between their lowest and highest, to the power `gamma`.

    Mean and standard deviation stay what they were. `inverted` does it to the negative.
    """
    if inverted:
        images.neg_()
    flat = images.flatten(1)
    low, high = flat.aminmax(dim=1)
    (deviation, mean), extent = torch.std_mean(flat, 1, correction=0), high - low
    images.sub_(_column(low, images)).div_(_column(extent.clamp(min=TINY), images))
    images.clamp_(0, 1).pow_(_column(gamma, images))
    now, middle = torch.std_mean(images.flatten(1), 1, correction=0)
    scale = torch.where(extent > TINY, deviation / now.clamp(min=TINY), 0.0)
    images.mul_(_column(scale, images)).add_(_column(mean - middle * scale, images))
    if inverted:
        images.neg_()


def _column(values: Tensor, images: Tensor) -> Tensor:
    """Return one value for each image so that it multiplies all its voxels."""
    return values.to(images).view(-1, *[1] * (images.ndim - 1))
