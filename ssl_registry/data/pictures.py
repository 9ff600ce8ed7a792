"""Pictures in memory: reading png, jpg and tif, and the checks that stop a bad one early.

A picture is a scan of one slice, `[C, H, W, 1]`, so that it takes the same way as a volume.
"""

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
import torchio as tio
from PIL import Image, ImageOps, UnidentifiedImageError

from ssl_registry.data.scans import Scan, check_voxels, first_line
from ssl_registry.errors import DataError

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".tif", ".tiff")

_DEEP: Final = ("I;16", "I;16B", "I;16L", "I", "F")
"""Grey modes with more than 8 bits."""

_GREY: Final = ("1", "L", "LA", *_DEEP)


def is_picture(path: Path) -> bool:
    """Whether a file's name is that of a picture."""
    return path.suffix.lower() in SUFFIXES


def picture_channels(path: Path) -> int:
    """Return 1 for a grey picture and 3 for a coloured one; reads the header alone.

    Raises:
        DataError: it is no picture, or holds several pages.
    """
    with _opened(path) as picture:
        return 1 if picture.mode in _GREY else 3


def read_picture(
    image: Path,
    label: Path | None = None,
    label_values: frozenset[int] = frozenset(),
    channels: int | None = None,
) -> Scan:
    """Read a picture `[C, H, W, 1]` float32 in its own units, and its mask.

    Args:
        image: the picture; transparency is left out, the camera's orientation is applied.
        label: a grey picture of the same size whose values are the classes.
        label_values: what may stand in the mask.
        channels: 3 shows a grey picture as red, green and blue alike; 1 takes the
            luminance of a coloured one; None leaves it as it is.

    Raises:
        DataError: a file cannot be read, shows nothing, or does not fit the other.
    """
    voxels = torch.from_numpy(_read(image, channels)).float()
    check_voxels(voxels, image)
    scan = tio.Subject(image=tio.ScalarImage(tensor=voxels, affine=np.eye(4)))
    if label is not None:
        marks = read_mask(label)
        if marks.shape[1:] != voxels.shape[1:]:
            raise DataError(
                f"{label} has {_size(marks)} pixels, but its picture {image} has {_size(voxels)}"
            )
        strange = sorted(mask_values(marks) - set(label_values))
        if strange:
            raise DataError(
                f"{label} holds the label {strange[0]}, unlike the other masks (they have "
                f"{', '.join(map(str, sorted(label_values)))})"
            )
        scan.add_image(tio.LabelMap(tensor=marks, affine=np.eye(4)), "label")
    return scan


def read_mask(path: Path) -> torch.Tensor:
    """Return a mask `[1, H, W, 1]` uint8; one of black and white (0 and 255) gets 0 and 1.

    Raises:
        DataError: it cannot be read, or is coloured.
    """
    with _opened(path) as picture:
        if picture.mode not in ("1", "L", "P"):
            raise DataError(
                f"{path} has the mode {picture.mode}: a mask is a grey picture of 8 bits whose "
                "values are the classes"
            )
        # A palette's colours are for the eye; its indices are the classes.
        values = np.array(_loaded(picture, path), dtype=np.uint8)
    if set(np.unique(values)) <= {0, 255}:
        values = (values > 0).astype(np.uint8)
    return torch.from_numpy(values)[None, ..., None]


def mask_values(mask: torch.Tensor) -> set[int]:
    """Return the classes that occur in a mask."""
    return {int(value) for value in np.unique(mask.numpy())}


def _read(path: Path, channels: int | None) -> npt.NDArray[np.generic]:
    """Return a picture as `[C, H, W, 1]`."""
    with _opened(path) as picture:
        grey = picture.mode in _GREY if channels is None else channels == 1
        upright = ImageOps.exif_transpose(_loaded(picture, path))
        if upright.mode in _DEEP:
            values = np.array(upright, dtype=np.float32)
            values = np.repeat(values[..., None], 1 if grey else 3, axis=-1)
        else:
            values = np.array(upright.convert("L" if grey else "RGB"))
    planes = values[..., None] if values.ndim == 2 else values
    return np.ascontiguousarray(np.moveaxis(planes, -1, 0)[..., None])


def _opened(path: Path) -> Image.Image:
    try:
        picture = Image.open(path)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError) as error:
        raise _unreadable(path, error) from error
    pages = getattr(picture, "n_frames", 1)
    if pages != 1:
        picture.close()
        raise DataError(f"{path} holds {pages} pages; expected one picture: save it as single ones")
    return picture


def _loaded(picture: Image.Image, path: Path) -> Image.Image:
    try:
        picture.load()
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files
        raise _unreadable(path, error) from error
    return picture


def _unreadable(path: Path, error: BaseException) -> DataError:
    return DataError(
        f"{path} cannot be read as a picture ({first_line(error)}): replace it, or take it out of "
        "the data"
    )


def _size(picture: torch.Tensor) -> str:
    return f"{picture.shape[1]}x{picture.shape[2]}"
