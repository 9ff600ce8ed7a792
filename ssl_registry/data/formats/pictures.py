"""Pictures in memory: reading png, jpg and tif, and the checks that stop a bad one early.

A picture is a scan of one slice, `[C, H, W, 1]`, so that it takes the same way as a volume.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import numpy as np
import numpy.typing as npt
import torch
import torchio as tio
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from ssl_registry.data.formats.headers import REPLACE, as_float32, decoding
from ssl_registry.data.formats.label_maps import as_black_and_white
from ssl_registry.data.formats.limits import check_voxel_count
from ssl_registry.data.formats.scans import Scan, check_voxels
from ssl_registry.errors import BadFileError, spell

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".tif", ".tiff")

FORMATS: Final = ("PNG", "JPEG", "TIFF")
"""Pillow's names of the formats that these names stand for."""

KIND: Final = "a picture"

_ON_ITS_SIDE: Final = (5, 6, 7, 8)
"""Orientations, as cameras write them, that exchange width and height."""

_DEEP: Final = ("I;16", "I;16B", "I;16L", "I", "F")
"""Grey modes with more than 8 bits."""

_GREY: Final = ("1", "L", "LA", *_DEEP)


def is_picture(path: Path) -> bool:
    """Whether a file's name is that of a picture."""
    return path.suffix.lower() in SUFFIXES


@dataclass(frozen=True)
class PictureHeader:
    """What a picture's file says before it is unpacked.

    Attributes:
        channels: 1 for a grey picture and 3 for a coloured one.
        size: (height, width) in pixels, as the camera was held.
    """

    channels: int
    size: tuple[int, int]


def picture_header(path: Path) -> PictureHeader:
    """Return the header of a picture; its pixels are not read.

    Raises:
        BadFileError: it is not a picture, holds several pages, or announces too many pixels.
    """
    with decoding(path, KIND), _opened(path) as picture:
        width, height = _stored_size(picture)
        turned = picture.getexif().get(ExifTags.Base.Orientation) in _ON_ITS_SIDE
        return PictureHeader(
            1 if picture.mode in _GREY else 3, (width, height) if turned else (height, width)
        )


def _stored_size(picture: Image.Image) -> tuple[int, int]:
    """Return width and height in the file, before any turning."""
    if isinstance(picture, TiffImagePlugin.TiffImageFile):  # whose `size` is turned already
        return int(picture.tag_v2[256]), int(picture.tag_v2[257])
    return picture.size


def check_size(size: tuple[int, int], label: Path, header: PictureHeader, image: Path) -> None:
    """See that a mask of that (height, width) has the pixels of its picture.

    Raises:
        BadFileError: it has not.
    """
    if size != header.size:
        raise BadFileError(
            label,
            f"has {size[0]}x{size[1]} pixels, but its picture {spell(image.name)} has "
            f"{header.size[0]}x{header.size[1]}",
            "draw the mask on the picture itself",
        )


def is_lossy(path: Path) -> bool:
    """Whether a picture is of a format that changes its values."""
    return path.suffix.lower() in (".jpg", ".jpeg")


def read_picture(
    image: Path,
    label: Path | None = None,
    label_values: frozenset[int] = frozenset(),
    channels: int | None = None,
    further: Sequence[Path] = (),
) -> Scan:
    """Read a picture `[C, H, W, 1]` float32 in its own units, and its mask.

    Args:
        image: the picture; transparency is left out, the camera's orientation is applied.
        label: a grey picture of the same size whose values are the classes.
        label_values: what may stand in the mask.
        channels: 3 shows a grey picture as red, green and blue alike; 1 takes the
            luminance of a coloured one; None leaves it as it is.
        further: pictures of further channels; then each one, the first too, is taken for grey.

    Raises:
        BadFileError: a file cannot be read, shows nothing, or does not fit the other.
    """
    planes: list[torch.Tensor] = []
    for file in (image, *further):
        plane = torch.from_numpy(_read(file, 1 if further else channels)).float()
        check_voxels(plane, file)
        if planes and plane.shape != planes[0].shape:
            raise BadFileError(
                file,
                f"has {plane.shape[1]}x{plane.shape[2]} pixels, but the first channel of its "
                f"picture, {spell(image.name)}, has {planes[0].shape[1]}x{planes[0].shape[2]}",
                "bring the channels of a picture to one size",
            )
        planes.append(plane)
    voxels = torch.cat(planes)
    scan = tio.Subject(image=tio.ScalarImage(tensor=voxels, affine=np.eye(4)))
    if label is not None:
        marks = as_black_and_white(read_mask(label), label_values)
        check_size(mask_size(marks), label, picture_header(image), image)
        strange = sorted(mask_values(marks) - set(label_values))
        if strange:
            known = ", ".join(map(str, sorted(label_values)))
            raise BadFileError(
                label,
                f"holds the label {strange[0]}, unlike the other masks (they have {known})",
                "correct it",
            )
        scan.add_image(tio.LabelMap(tensor=marks, affine=np.eye(4)), "label")
    return scan


def read_mask(path: Path) -> torch.Tensor:
    """Return a mask `[1, H, W, 1]` uint8, upright; one of one bit a pixel has 0 and 1.

    Raises:
        BadFileError: it cannot be read, or is coloured.
    """
    with decoding(path, KIND), _opened(path) as picture:
        if picture.mode not in ("1", "L", "P"):
            raise BadFileError(
                path,
                f"has the mode {picture.mode}: a mask is a grey picture of 8 bits whose values "
                "are the classes",
                "save it as one",
            )
        # A palette's colours are for the eye; its indices are the classes. What turns the
        # picture turns its mask: each file by its own tag.
        values = np.array(ImageOps.exif_transpose(picture), dtype=np.uint8)
    return torch.from_numpy(values)[None, ..., None]


def mask_colours(path: Path) -> dict[int, tuple[int, ...]]:
    """Return the colour of each index of a mask's palette; nothing where it has none.

    Raises:
        BadFileError: the mask cannot be read.
    """
    with decoding(path, KIND), _opened(path) as picture:
        flat = (picture.getpalette() or []) if picture.mode == "P" else []
    return dict(enumerate(zip(flat[::3], flat[1::3], flat[2::3], strict=True)))


def mask_size(mask: torch.Tensor) -> tuple[int, int]:
    """Return (height, width) of a mask `[1, H, W, 1]`."""
    return mask.shape[1], mask.shape[2]


def mask_values(mask: torch.Tensor) -> set[int]:
    """Return the classes that occur in a mask."""
    return {int(value) for value in np.unique(mask.numpy())}


def _read(path: Path, channels: int | None) -> npt.NDArray[np.generic]:
    """Return a picture as `[C, H, W, 1]`."""
    with decoding(path, KIND), _opened(path) as picture:
        grey = picture.mode in _GREY if channels is None else channels == 1
        upright = ImageOps.exif_transpose(picture)
        if upright.mode in _DEEP:
            values = as_float32(path, np.array(upright))
            values = np.repeat(values[..., None], 1 if grey else 3, axis=-1)
        else:
            values = np.array(upright.convert("L" if grey else "RGB"))
    planes = values[..., None] if values.ndim == 2 else values
    return np.ascontiguousarray(np.moveaxis(planes, -1, 0)[..., None])


def _recognised(path: Path, file: IO[bytes]) -> Image.Image:
    try:
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        what = "begins as none" if file.seek(0, 2) else "is empty"
        raise BadFileError(path, f"cannot be read as a picture (it {what})", REPLACE) from error


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture of one page, in one of the formats that its name may stand for.

    Pillow knows dozens of formats and looks at the content alone, down to PostScript, which
    it would have another program run. It is handed an open file: from a name it would map an
    uncompressed TIFF into memory with the sides of the turned picture, and scramble it.
    """
    with warnings.catch_warnings():
        # Large photographs and odd tags are no news; Pillow refuses what is twice as large.
        warnings.simplefilter("ignore")
        with path.open("rb") as file, _recognised(path, file) as picture:
            check_voxel_count(path, (*picture.size, len(picture.getbands())))
            pages = getattr(picture, "n_frames", 1)
            if pages != 1:
                raise BadFileError(
                    path, f"holds {pages} pages; expected one picture", "save it as single ones"
                )
            yield picture
