"""Preprocessing: from what the scanner gave to what the network reads.

Every torchio transform is called here and nowhere else.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import torchio as tio
from torch import Tensor
from torch.nn import functional as F

from ssl_registry.data.formats.headers import THINNEST, Affine
from ssl_registry.data.formats.limits import most_voxels
from ssl_registry.data.formats.scans import Scan
from ssl_registry.data.preparing.fitting import fitted_shape, stretch_of
from ssl_registry.data.preparing.foreground import foreground_bounds
from ssl_registry.data.preparing.intensities import rescale
from ssl_registry.data.preparing.preprocessing_fields import PRESET_FIELDS, PreprocessingFields
from ssl_registry.data.preparing.sizes import Size, sides_of
from ssl_registry.data.preparing.slice_axes import SliceAxis, slice_axis
from ssl_registry.data.preparing.slice_order import Placed, last_across, slices_first, slices_last
from ssl_registry.errors import DataError
from ssl_registry.randomness import derive_generator, lend_to_torch


class Preprocessing(PreprocessingFields):
    """How images are brought to one orientation, spacing, intensity and size.

    In this order: axes to RAS+, resampling to `spacing`, cropping to the foreground,
    resampling to `size` voxels along each axis (unless patches are cut), intensities from the
    percentiles of each channel, or from the window, to 0 ... 1, or to mean 0 and deviation 1.
    Images are interpolated linearly, labels by nearest neighbour. A picture takes the same way,
    but for orientation and spacing, which it has not.

    Settings may name a preset instead (`"ct"`), or start from one (`{"preset": "ct",
    "spacing": 1.5}`); what is kept of them are the values.
    """

    def prepare(self, scan: Scan, size: Size | None, name: str) -> tuple[Tensor, Tensor | None]:
        """Return the image `[C, *size]` float32 and the labels `[*size]`.

        Of a picture, `[C, H, W, 1]`, they have the two axes of it.

        Args:
            scan: what was read.
            size: side of the result in voxels or pixels, or its sides along each axis; None
                leaves them as they are after the crop.
            name: what to call the image in an error.

        Raises:
            ConfigError: the size has more or fewer sides than the image has axes.
            DataError: nothing but air is left, the crop would cut labels away, a volume
                becomes too thin to be resampled, or a picture should have a spacing in mm.
        """
        placed = self.place(scan, size, name)
        return placed.image, placed.label

    def place(
        self, scan: Scan, size: Size | None, name: str, slices: SliceAxis | None = None
    ) -> Placed:
        """Return what `prepare` returns, and where its voxels lie.

        Args:
            scan: what was read.
            size: as in `prepare`.
            name: what to call the image in an error.
            slices: see the volume by its slices. They come first of the spatial axes, as many as
                there are after the crop, and each is fitted as a picture is; the range of the
                intensities is the volume's.

        Raises:
            ConfigError, DataError: as `prepare`.
        """
        flat = slices is None and scan.spatial_shape[2] == 1
        if flat and self.spacing is not None:
            raise DataError(
                f"{name} is a picture, without a spacing: leave preprocessing.spacing out"
            )
        planar = flat or slices is not None
        shape = None if size is None else sides_of(size, 2 if planar else 3, name)
        # torchio tosses a coin for every transform, even for one that is always applied.
        with lend_to_torch(derive_generator(0, "preprocessing")):
            scan = tio.ToCanonical()(scan)
            across = None if slices is None else slice_axis(slices, scan.spacing)
            own = scan.spacing
            if self.spacing is not None:
                scan = self._resample(scan, name)
            if self.crop:
                scan = self._crop(scan, name)
            if across is not None:
                scan, own = slices_last(scan, across), last_across(own, across)
            scan, stretch = self._fit_and_rescale(scan, shape, own, name)
        if across is not None:
            return slices_first(scan, across)._replace(stretch=stretch)
        image: Tensor = scan["image"].data.contiguous()
        label: Tensor | None = scan["label"].data[0].contiguous() if "label" in scan else None
        if flat:
            image, label = image[..., 0], None if label is None else label[..., 0]
        return Placed(image, label, np.array(scan["image"].affine), None, stretch)

    def _fit_and_rescale(
        self, scan: Scan, target: tuple[int, ...] | None, own: tuple[float, ...], name: str
    ) -> tuple[Scan, float]:
        """Bring a scan to its size and its intensities to 0 ... 1; return how far it is stretched.

        What is padded is 0, and what is cut off has had its say in the percentiles.

        Args:
            scan: as it was cropped.
            target: sides; two of them for a picture, or for slices along the last axis. None
                keeps its own.
            own: spacing of the voxels that the scanner gave.
            name: for errors.
        """
        if target is None:
            return self._rescale(scan, name), 1.0
        dims = len(target)
        scan = self._fit_planes(scan, target) if dims == 2 else self._fit(scan, target, name)
        stretch = stretch_of(own[:dims], scan.spacing[:dims])
        scan = self._rescale(scan, name)
        if self.fit != "stretch":
            scan = tio.CropOrPad((*target, *scan.spatial_shape[dims:]))(scan)
        return scan, stretch

    def _resample(self, scan: Scan, name: str) -> Scan:
        """Resample to `spacing`."""
        assert self.spacing is not None
        wanted = np.broadcast_to(self.spacing, 3)
        sides = np.floor(np.array(scan.spatial_shape) * scan.spacing / wanted)
        if sides.min() < 1:
            raise DataError(
                f"{name} is thinner than one voxel of preprocessing.spacing={self.spacing} mm: "
                "choose a finer spacing, or take it out of the data"
            )
        if sides.prod() * scan["image"].num_channels > most_voxels():
            raise DataError(
                f"{name}: preprocessing.spacing={self.spacing} mm would make it "
                f"{'x'.join(f'{side:.0f}' for side in sides)} voxels: choose a coarser spacing"
            )
        return tio.Resample(tuple(wanted.tolist()), antialias=True)(scan)

    def _rescale(self, scan: Scan, name: str) -> Scan:
        """Bring the intensities to 0 ... 1, or to mean 0 and deviation 1."""
        scan["image"].set_data(rescale(scan["image"].data.float(), self, name))
        return scan

    def _crop(self, scan: Scan, name: str) -> Scan:
        """Cut off the outer slices of air along each axis; the first and last that are not stay.

        An axis of which fewer than `THINNEST` slices were left stays whole: one slice far brighter
        than all others (of a PET, say) does not make these air.
        """
        bounds = foreground_bounds(scan["image"].data, self.percentiles, self.window)
        outside: list[int] = []
        for (first, last), side in zip(bounds, scan.spatial_shape, strict=True):
            left = last - first + 1
            outside += [first, side - 1 - last] if left >= THINNEST else [0, 0]
        cropped: Scan = tio.Crop(tuple(outside))(scan) if any(outside) else scan
        if "label" in scan:
            lost = int((scan["label"].data > 0).sum() - (cropped["label"].data > 0).sum())
            if lost:
                raise DataError(
                    f"{name}: the foreground crop would cut away {lost} labelled voxels: set "
                    "preprocessing.crop=false"
                )
        return cropped

    def _fit(self, scan: Scan, target: tuple[int, ...], name: str) -> Scan:
        """Resample onto a grid that covers the same extent, to be padded or cut to the target."""
        sides = scan.spatial_shape
        if min(sides) < THINNEST:
            raise DataError(
                f"{name}: spacing and crop leave {'x'.join(map(str, sides))} voxels, too thin to "
                f"be resampled (at least {THINNEST} a side): choose a finer "
                "preprocessing.spacing, or preprocessing.crop=false"
            )
        shape = fitted_shape(self.fit, sides, scan.spacing, target)
        grid = (shape, _regrid(scan["image"].affine, sides, shape))
        return tio.Resample(grid, antialias=True)(scan)

    def _fit_planes(self, scan: Scan, target: tuple[int, ...]) -> Scan:
        """Resample a picture, or each slice, in its plane.

        torchio's smoothing needs volumes, and would mix neighbouring slices.
        """
        height, width, depth = scan.spatial_shape
        shape = fitted_shape(self.fit, (height, width), scan.spacing[:2], target)
        pixels = scan["image"].data.float().movedim(-1, 0)
        image = F.interpolate(pixels, shape, mode="bilinear", antialias=True).movedim(0, -1)
        affine = _regrid(scan["image"].affine, (height, width, depth), (*shape, depth))
        fitted = tio.Subject(image=tio.ScalarImage(tensor=image, affine=affine))
        if "label" in scan:
            marks = scan["label"].data.movedim(-1, 0)
            nearest = F.interpolate(marks.float(), shape, mode="nearest-exact").to(marks.dtype)
            fitted.add_image(tio.LabelMap(tensor=nearest.movedim(0, -1), affine=affine), "label")
        return fitted


PRESETS: Final[Mapping[str, Preprocessing]] = MappingProxyType(
    {name: Preprocessing(**fields) for name, fields in PRESET_FIELDS.items()}
)
"""What settings may name instead of fields."""


def _regrid(affine: Affine, old: tuple[int, ...], new: tuple[int, ...]) -> Affine:
    """Return the affine of a grid of `new` voxels that covers what one of `old` covers."""
    steps = np.array(old) / np.array(new)
    # The outer faces of the grid stay where they are; voxel centres move.
    to_old_voxels = np.diag([*steps, 1.0])
    to_old_voxels[:3, 3] = (steps - 1) / 2
    moved: Affine = affine @ to_old_voxels
    return moved
