"""Scans in memory: reading NIfTI files, and the checks that stop a bad one early."""

import zlib
from pathlib import Path
from typing import TypeAlias

import nibabel as nib
import numpy as np
import numpy.typing as npt
import torch
import torchio as tio
from nibabel.filebasedimages import ImageFileError

from ssl_registry.data.phantoms import Phantom
from ssl_registry.errors import DataError

Affine: TypeAlias = npt.NDArray[np.float64]

Scan: TypeAlias = tio.Subject
"""`image`, `[C, X, Y, Z]` float32, and, where there are labels, `label`, `[1, X, Y, Z]` uint8."""

SUFFIXES = (".nii.gz", ".nii")

THINNEST = 4
"""Voxels a side below which a volume cannot be resampled without aliasing."""


def read_scan(image: Path, label: Path | None, label_values: frozenset[int]) -> Scan:
    """Read a scan and its labels, checked.

    Raises:
        DataError: a file cannot be read; is not a volume; holds NaN or infinite voxels, or
            the same value everywhere; or the labels differ from the scan in shape or hold
            a value that `label_values` lacks.
    """
    voxels, affine = _read_volume(image)
    check_voxels(voxels, image)
    scan = tio.Subject(image=tio.ScalarImage(tensor=voxels, affine=affine))
    if label is not None:
        marks, _ = _read_volume(label)
        _check_labels(marks, label, voxels, image, label_values)
        # The label map lies on the scan's own grid, whatever small print its header holds.
        scan.add_image(tio.LabelMap(tensor=marks.to(torch.uint8), affine=affine), "label")
    return scan


def scan_of_array(voxels: torch.Tensor, what: str) -> Scan:
    """Return voxels `[C, X, Y, Z]` (Z = 1 for a picture) as a scan of 1 mm voxels.

    Raises:
        DataError: they show nothing; `what` names them.
    """
    check_voxels(voxels, what)
    return tio.Subject(image=tio.ScalarImage(tensor=voxels.float(), affine=np.eye(4)))


def scan_of_phantom(made: Phantom) -> Scan:
    """Return a phantom as a scan."""
    affine = np.diag([*made.spacing, 1.0])
    return tio.Subject(
        image=tio.ScalarImage(tensor=made.image, affine=affine),
        label=tio.LabelMap(tensor=made.label, affine=affine),
    )


def _read_volume(
    path: Path,
) -> tuple[torch.Tensor, np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
    """Return voxels `[C, X, Y, Z]` float32 and the affine of a NIfTI file."""
    try:
        file = nib.load(path)
        array = np.asarray(file.get_fdata(dtype=np.float32, caching="unchanged"))  # type: ignore[attr-defined]
        affine = np.asarray(file.affine, dtype=np.float64)  # type: ignore[attr-defined]
    except (ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read as NIfTI ({first_line(error)}): replace it, or take it out "
            "of the folder"
        ) from error
    flat = array.ndim not in (3, 4) or any(side < THINNEST for side in array.shape[:3])
    if flat or array.size == 0:
        raise DataError(
            f"{path} has shape {list(array.shape)}; expected a volume [X, Y, Z] or, with several "
            f"channels, [X, Y, Z, C], of at least {THINNEST} voxels a side"
        )
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise DataError(f"{path}: its affine has no inverse, so voxels have no place: mend it")
    channels_first = array[None] if array.ndim == 3 else np.moveaxis(array, -1, 0)
    return torch.from_numpy(np.ascontiguousarray(channels_first)), affine


def check_voxels(voxels: torch.Tensor, path: Path | str) -> None:
    """See that an image shows something.

    Raises:
        DataError: it holds NaN or infinite voxels, or the same value everywhere.
    """
    bad = int((~torch.isfinite(voxels)).sum())
    if bad:
        raise DataError(
            f"{path} holds {bad} voxels that are NaN or infinite, of {voxels.numel()}: replace "
            "them, or take the scan out of the folder"
        )
    if float(voxels.min()) == float(voxels.max()):
        raise DataError(
            f"{path} has the value {float(voxels.min()):g} in every voxel: it shows nothing"
        )


def _check_labels(
    marks: torch.Tensor, path: Path, voxels: torch.Tensor, image: Path, known: frozenset[int]
) -> None:
    if marks.shape[1:] != voxels.shape[1:] or marks.shape[0] != 1:
        raise DataError(
            f"{path} has shape {_spell(marks)}, but its scan {image} has {_spell(voxels)}: labels "
            "must lie on the scan's own grid"
        )
    values = {float(value) for value in np.unique(marks.numpy())}
    strange = sorted(values - set(known))
    if strange:
        shown = ", ".join(f"{value:g}" for value in strange[:5])
        raise DataError(
            f"{path} holds the label {shown}, which 'labels' in dataset.json lacks (it has "
            f"{', '.join(str(value) for value in sorted(known))}): add it there, or mend the file"
        )


def _spell(volume: torch.Tensor) -> str:
    shape = [*volume.shape[1:], volume.shape[0]] if volume.shape[0] > 1 else volume.shape[1:]
    return "x".join(str(side) for side in shape)


def first_line(error: BaseException) -> str:
    """Return the first line of what a library says went wrong."""
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__


def is_volume(path: Path) -> bool:
    """Whether a file's name is that of a volume."""
    return path.name.lower().endswith(SUFFIXES)


def case_name(path: Path) -> str:
    """Return a file's name without its suffix, `.nii.gz` as a whole."""
    suffix = next((end for end in SUFFIXES if path.name.lower().endswith(end)), path.suffix)
    return path.name[: len(path.name) - len(suffix)]
