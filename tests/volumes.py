"""Small volumes in every format, for the tests of sources."""

import locale
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

AFFINE = np.array([[-1.5, 0, 0, 9], [0, -2, 0, 8], [0, 0, 3, -7], [0, 0, 0, 1]])
"""RAS+ affine of 1.5 x 2 x 3 mm, two axes turned round: what ITK calls the identity direction."""


def noise(*shape: int, seed: int = 0) -> npt.NDArray[np.int16]:
    """Return voxels of noise, int16."""
    return np.random.default_rng(seed).integers(0, 1000, shape or (5, 6, 7), dtype=np.int16)


def write_nifti(
    path: Path,
    voxels: npt.NDArray[np.generic],
    affine: npt.NDArray[np.float64] | None = AFFINE,
    version: int = 1,
    order: str = "<",
) -> Path:
    """Write `[X, Y, Z(, C)]` as NIfTI of that version and byte order."""
    kinds = {1: (nib.Nifti1Header, nib.Nifti1Image), 2: (nib.Nifti2Header, nib.Nifti2Image)}
    header, image = kinds[version]
    made = header(endianness=order)
    made.set_data_dtype(voxels.dtype.newbyteorder(order))
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image(voxels, affine, made), path)
    return path


def as_itk(voxels: npt.NDArray[np.generic]) -> sitk.Image:
    """Return `[X, Y, Z(, C)]` as SimpleITK's image with the affine `AFFINE`."""
    several = voxels.ndim == 4
    made = sitk.GetImageFromArray(np.swapaxes(voxels, 0, 2), isVector=several)
    made.SetSpacing((1.5, 2.0, 3.0))
    made.SetOrigin((-9.0, -8.0, -7.0))
    return made


def write_itk(path: Path, voxels: npt.NDArray[np.generic], packed: bool = False) -> Path:
    """Write `[X, Y, Z(, C)]` as NRRD or MetaImage, by the suffix, with the affine `AFFINE`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(as_itk(voxels), str(path), packed)
    return path


def write_series(folder: Path, voxels: npt.NDArray[np.int16], series: str = "1.2.3") -> Path:
    """Write `[X, Y, Z]` as a DICOM series, the slices in shuffled files, with `AFFINE`."""
    folder.mkdir(parents=True, exist_ok=True)
    spoken = locale.setlocale(locale.LC_ALL)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for place in range(voxels.shape[2]):
        made = sitk.GetImageFromArray(voxels[:, :, place].T)
        made.SetSpacing((1.5, 2.0))
        tags = {
            "0008|0018": f"{series}.{place + 1}",
            "0008|0060": "CT",
            "0020|000d": "1.2",
            "0020|000e": series,
            "0020|0013": str(place),
            "0020|0032": f"-9\\-8\\{-7 + 3 * place}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }
        for tag, value in tags.items():
            made.SetMetaData(tag, value)
        # The order of the names is not that of the slices.
        writer.SetFileName(str(folder / f"{(7 * place) % 11:02}.dcm"))
        writer.Execute(made)
    locale.setlocale(locale.LC_ALL, spoken)  # ITK's writer leaves it at "C"
    return folder
