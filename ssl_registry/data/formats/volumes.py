"""Formats of volumes: which files and folders are one, and who reads them."""

from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ssl_registry.data.formats import dicom, nifti
from ssl_registry.data.formats.headers import Header
from ssl_registry.data.formats.metaimage import METAIMAGE
from ssl_registry.data.formats.nrrd import NRRD
from ssl_registry.data.formats.text_headers import TextFormat
from ssl_registry.data.places import entries_of
from ssl_registry.errors import BadFileError

TEXT_FORMATS: Final = (NRRD, METAIMAGE)

SUFFIXES: Final = (".nii.gz", ".nii", *(end for text in TEXT_FORMATS for end in text.suffixes))
"""What the names of volumes end with; a DICOM series is a folder."""


def is_volume(path: Path) -> bool:
    """Whether a file's name is that of a volume."""
    return path.name.lower().endswith(SUFFIXES)


def has_text_header(path: Path) -> bool:
    """Whether a volume is of a format whose header may name another file for its voxels."""
    return _text_format_of(path) is not None


def case_name(path: Path) -> str:
    """Return a file's name without its suffix, `.nii.gz` as a whole."""
    suffix = next((end for end in SUFFIXES if path.name.lower().endswith(end)), path.suffix)
    return path.name[: len(path.name) - len(suffix)]


def files_of(image: Path) -> tuple[Path, ...]:
    """Return the files that an image consists of: its own, its voxels', or all slices.

    Raises:
        BadFileError: a header names a file that may not be read.
    """
    if image.is_dir():
        return tuple(Path(entry.path) for entry in entries_of(image) if entry.is_file())
    text_format = _text_format_of(image)
    return text_format.files_of(image) if text_format else (image,)


def read_header(path: Path) -> Header:
    """Return the header of a volume; no voxel is read.

    Raises:
        BadFileError: the file is none, is cut short, or announces what cannot be read.
    """
    return dicom.read_header(path) if path.is_dir() else _reader_of(path).read_header(path)


def read_volume(path: Path) -> tuple[Header, Tensor]:
    """Return the header of a volume and its voxels `[C, X, Y, Z]` float32.

    Raises:
        BadFileError: it cannot be read.
    """
    if path.is_dir():
        series = dicom.read_header(path)
        return series, torch.from_numpy(dicom.read_array(path, series))
    reader = _reader_of(path)
    header = reader.read_header(path)
    return header, torch.from_numpy(reader.read_array(path, header))


class _Reader(Protocol):
    """What a format of single files offers, be it a module or a `TextFormat`."""

    def read_header(self, path: Path, /) -> Header: ...

    def read_array(self, path: Path, header: Header, /) -> npt.NDArray[np.float32]: ...


def _reader_of(path: Path) -> _Reader:
    if not path.is_file():
        raise BadFileError(path, "is not a file", "take it out of the data")
    return _text_format_of(path) or nifti


def _text_format_of(path: Path) -> TextFormat | None:
    suffix = path.suffix.lower()
    return next((text for text in TEXT_FORMATS if suffix in text.suffixes), None)
