"""What was drawn for a batch: how each of its images is changed."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ssl_registry.augmentation.deformation import find_places, spline_at


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
