"""Preprocessing: from what the scanner gave to what the network reads.

Every torchio transform is called here and nowhere else.
"""

from typing import Annotated, Literal

import numpy as np
import torch
import torchio as tio
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from ssl_registry.data.scans import Scan
from ssl_registry.errors import DataError
from ssl_registry.randomness import derive_generator, lend_to_torch

Millimetres = Annotated[float, Field(gt=0)]

AIR: float = 0.1
"""Intensity, of the range between the percentiles, up to which a voxel counts as air."""

SPECKS: float = 0.01
"""Share of a slice's voxels that may rise above `AIR` before it counts as foreground."""


class Preprocessing(BaseModel):
    """How images are brought to one orientation, spacing, intensity and size.

    In this order: axes to RAS+, resampling to `spacing`, cropping to the foreground,
    resampling to `size` voxels a side, intensities from the percentiles to 0 ... 1, those
    of all channels together. Images are interpolated linearly, labels by nearest neighbour.
    A picture takes the same way, but for orientation and spacing, which it has not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    spacing: Millimetres | tuple[Millimetres, Millimetres, Millimetres] | None = Field(
        None, description="voxel spacing in mm before the crop; None keeps the scan's own"
    )
    crop: bool = Field(True, description="cut away slices that show nothing but air")
    percentiles: tuple[float, float] = Field(
        (0.5, 99.5), description="intensities that become 0 and 1; what lies beyond is clipped"
    )
    fit: Literal["stretch", "pad"] = Field(
        "stretch", description="fill the cube along each axis, or keep proportions and pad with 0"
    )

    def prepare(self, scan: Scan, size: int, name: str) -> tuple[Tensor, Tensor | None]:
        """Return the image `[C, size, size, size]` float32 and the labels `[size, size, size]`.

        Of a picture, `[C, H, W, 1]`, it returns `[C, size, size]` and `[size, size]`.

        Args:
            scan: what was read.
            size: side of the result in voxels or pixels.
            name: what to call the image in an error.

        Raises:
            DataError: nothing but air is left, the crop would cut labels away, or a picture
                should have a spacing in mm.
        """
        flat = scan.spatial_shape[2] == 1
        if flat and self.spacing is not None:
            raise DataError(
                f"{name} is a picture, without a spacing: leave preprocessing.spacing out"
            )
        # torchio tosses a coin for every transform, even for one that is always applied.
        with lend_to_torch(derive_generator(0, "preprocessing")):
            scan = tio.ToCanonical()(scan)
            if self.spacing is not None:
                scan = tio.Resample(self.spacing, antialias=True)(scan)
            if self.crop:
                scan = self._crop(scan, name)
            scan = self._fit_picture(scan, size) if flat else self._fit(scan, size)
            scan = tio.RescaleIntensity(out_min_max=(0, 1), percentiles=self.percentiles)(scan)
        image: Tensor = scan["image"].data.float().contiguous()
        if not torch.isfinite(image).all() or float(image.min()) == float(image.max()):
            raise DataError(f"{name}: preprocessing left no contrast; check its intensities")
        label: Tensor | None = scan["label"].data[0].contiguous() if "label" in scan else None
        if flat:
            return image[..., 0], None if label is None else label[..., 0]
        return image, label

    def _crop(self, scan: Scan, name: str) -> Scan:
        """Cut off the outer slices of air along each axis; the first and last that are not stay."""
        bounds = foreground_bounds(scan["image"].data, self.percentiles)
        outside: list[int] = []
        for (first, last), side in zip(bounds, scan.spatial_shape, strict=True):
            outside += [first, side - 1 - last]
        cropped: Scan = tio.Crop(tuple(outside))(scan) if any(outside) else scan
        if "label" in scan:
            lost = int((scan["label"].data > 0).sum() - (cropped["label"].data > 0).sum())
            if lost:
                raise DataError(
                    f"{name}: the foreground crop would cut away {lost} labelled voxels: set "
                    "preprocessing.crop=false"
                )
        return cropped

    def _fit(self, scan: Scan, size: int) -> Scan:
        """Resample onto a grid that covers the same extent with `size` voxels a side."""
        sides = scan.spatial_shape
        shape: tuple[int, ...] = (size, size, size)
        if self.fit == "pad":
            extent = [n * mm for n, mm in zip(sides, scan.spacing, strict=True)]
            shape = tuple(max(1, round(size * length / max(extent))) for length in extent)
        steps = np.array(sides) / np.array(shape)
        # The outer faces of the grid stay where they are; voxel centres move.
        to_old_voxels = np.diag([*steps, 1.0])
        to_old_voxels[:3, 3] = (steps - 1) / 2
        grid = (shape, scan["image"].affine @ to_old_voxels)
        scan = tio.Resample(grid, antialias=True)(scan)
        return tio.CropOrPad((size, size, size))(scan) if self.fit == "pad" else scan

    def _fit_picture(self, scan: Scan, size: int) -> Scan:
        """Resample a picture onto `size` pixels a side; torchio's smoothing needs volumes."""
        height, width, _ = scan.spatial_shape
        shape = (size, size)
        if self.fit == "pad":
            longest = max(height, width)
            shape = (max(1, round(size * height / longest)), max(1, round(size * width / longest)))
        pixels = scan["image"].data[..., 0].float()
        image = F.interpolate(pixels[None], shape, mode="bilinear", antialias=True)[0]
        fitted = tio.Subject(image=tio.ScalarImage(tensor=image[..., None]))
        if "label" in scan:
            marks = scan["label"].data[..., 0]
            nearest = F.interpolate(marks[None], shape, mode="nearest-exact")[0]
            fitted.add_image(tio.LabelMap(tensor=nearest[..., None]), "label")
        return tio.CropOrPad((size, size, 1))(fitted) if self.fit == "pad" else fitted


def foreground_bounds(image: Tensor, percentiles: tuple[float, float]) -> list[tuple[int, int]]:
    """Return the first and the last slice along each axis that shows more than air.

    A slice shows something when more than `SPECKS` of its voxels rise above `AIR` of the
    range between the percentiles: so neither noise nor one hot voxel decides.

    Args:
        image: `[C, X, Y, Z]`.
        percentiles: intensities, in percent of the voxels, taken for the range.
    """
    brightest = torch.zeros(image.shape[1:], dtype=torch.bool)
    for channel in image:
        low, high = _percentile(channel, percentiles[0]), _percentile(channel, percentiles[1])
        brightest |= channel > low + AIR * (high - low)
    bounds = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        occupied = (brightest.float().mean(dim=others) > SPECKS).nonzero().flatten()
        if len(occupied) == 0:
            bounds.append((0, image.shape[axis + 1] - 1))
        else:
            bounds.append((int(occupied[0]), int(occupied[-1])))
    return bounds


def _percentile(values: Tensor, percent: float) -> float:
    flat = values.flatten()
    rank = 1 + round(percent / 100 * (flat.numel() - 1))
    return float(flat.kthvalue(rank).values)
