"""`predictions.npz` of a run: what was answered for each test case, and scored."""

import io
import math
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ssl_registry.data.formats.limits import check_bytes, check_voxel_count
from ssl_registry.errors import BadFileError
from ssl_registry.training.files.run_folder import RunFolder

PREDICTIONS: Final = "predictions.npz"
"""uint8 by the case's name: labels `[*S]` on the grid of the scan's own file, or a class, `[]`."""

REMEDY: Final = "resume or repeat the run, which writes it anew"


def write_predictions(folder: RunFolder, predictions: Mapping[str, Tensor]) -> None:
    """Write what was predicted for each case, by its name.

    Raises:
        RunError: it cannot be written.
    """
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        for name, predicted in predictions.items():
            entry = zipfile.ZipInfo(f"{name}.npy")  # without the time of day
            entry.compress_type = zipfile.ZIP_DEFLATED
            with members.open(entry, "w", force_zip64=True) as member:
                array = np.array(predicted.numpy(), dtype=np.uint8, order="C")
                np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)
    folder.write_bytes(PREDICTIONS, archive.getbuffer())


def read_predictions(folder: Path, names: Collection[str]) -> dict[str, npt.NDArray[np.uint8]]:
    """Return what was predicted for some cases; no more is unpacked than their headers announce.

    Raises:
        BadFileError: there is no such file or case, it is damaged, or it announces more than an
            image may have or the file can hold.
    """
    path = folder / PREDICTIONS
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: _read(path, archive, f"{name}.npy") for name in names}
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BadFileError(path, f"cannot be read: {error}", REMEDY) from error


def _read(path: Path, archive: zipfile.ZipFile, name: str) -> npt.NDArray[np.uint8]:
    entry = archive.getinfo(name)
    with archive.open(entry) as member:
        version = np.lib.format.read_magic(member)
        if version != (1, 0):
            raise ValueError(f"{name} is of version {version}")
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        if dtype != np.uint8 or len(shape) > 3:
            raise ValueError(f"{name} holds {dtype} of {len(shape)} axes, not labels")
        check_voxel_count(path, shape)
        check_bytes(path, math.prod(shape), entry.compress_size, packed=True)
        content = member.read(math.prod(shape))
    return np.frombuffer(content, np.uint8).reshape(shape)
