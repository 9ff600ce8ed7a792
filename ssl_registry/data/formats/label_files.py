"""Files of predicted labels: NIfTI label maps like their scan, masks like their picture."""

import gzip
import io
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from ssl_registry.data.atomic_files import write_whole
from ssl_registry.data.formats.nifti import nibabel_header
from ssl_registry.data.formats.scans import Scan

VOLUME: Final = ".nii.gz"
PICTURE: Final = ".png"
ARRAY: Final = ".npz"
NIFTI: Final = (".nii.gz", ".nii")


def write_labels(path: Path, labels: Tensor, scan: Scan, source: Path | None) -> None:
    """Write a label map, whole or not at all.

    Args:
        path: of the file; a NIfTI file or, where its name ends in `.png`, a grey picture whose
            values are the classes.
        labels: `[X, Y, Z]` whole numbers on the scan's own grid.
        scan: as it was read.
        source: file of the scan. Where that is NIfTI, its header is taken over: version, affine,
            qform, sform and their codes, units, description; of its extensions, which tell of
            the scan or the patient, nothing.
    """
    values = _in_few_bytes(labels.numpy(), picture=path.name.endswith(PICTURE))
    if path.name.endswith(PICTURE):
        content = _as_picture(values[..., 0])
    else:
        content = _as_nifti(values, np.asarray(scan["image"].affine), source)
    write_whole(path, lambda beside: beside.write_bytes(content))


def write_values(path: Path, values: Tensor, scan: Scan, source: Path | None) -> None:
    """Write numbers for each voxel, whole or not at all.

    Args:
        path: of the file; a NIfTI file, or, where its name ends in `.npz`, an archive whose array
            `values` is that of a picture, without the axis of one slice.
        values: `[X, Y, Z]` or `[X, Y, Z, K]` float32 on the scan's own grid.
        scan: as it was read.
        source: file of the scan, as for `write_labels`.
    """
    numbers = values.numpy().astype(np.float32)
    if path.name.endswith(ARRAY):
        buffer = io.BytesIO()
        np.savez_compressed(buffer, values=numbers[:, :, 0])
        content = buffer.getvalue()
    else:
        content = _as_nifti(numbers, np.asarray(scan["image"].affine), source)
    write_whole(path, lambda beside: beside.write_bytes(content))


def _in_few_bytes(values: npt.NDArray[Any], *, picture: bool) -> npt.NDArray[Any]:
    """Return whole numbers in the smallest type that every reader of the format knows."""
    kinds = (np.uint8, np.uint16) if picture else (np.uint8, np.int16, np.int32)
    top = int(values.max(initial=0))
    return values.astype(next(kind for kind in kinds if top <= np.iinfo(kind).max))


def _as_picture(values: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format="PNG")
    return buffer.getvalue()


def _as_nifti(
    values: npt.NDArray[Any], affine: npt.NDArray[np.float64], source: Path | None
) -> bytes:
    made: Any  # nibabel is half annotated
    if source is None or not source.name.lower().endswith(NIFTI):
        made = nib.Nifti1Image(values, affine)  # type: ignore[no-untyped-call]
        made.header.set_xyzt_units("mm")
    else:
        header = nibabel_header(source)
        header.set_data_dtype(values.dtype)
        header["scl_slope"], header["scl_inter"] = 1, 0
        header["cal_min"] = header["cal_max"] = 0  # the scan's, for display
        kind: Any = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
        made = kind(values, header.get_best_affine(), header)
    # Without the time of day, equal labels are equal files.
    content: bytes = gzip.compress(made.to_bytes(), mtime=0)
    return content
