"""`predictions.npz` of a run: what was answered for each test case, and scored."""

import io
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ssl_registry.data.formats.archives import read_arrays
from ssl_registry.errors import BadFileError, spell
from ssl_registry.training.files.run_folder import RunFolder

PREDICTIONS: Final = "predictions.npz"
"""By the case's name: labels `[*S]` with the values of the data on the grid of the scan's own file,
or a class, `[]`; uint8, or uint16 where a value is above 255."""

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
                kind = np.uint8 if int(predicted.max()) < 256 else np.uint16
                array = np.array(predicted.numpy(), dtype=kind, order="C")
                np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)
    folder.write_bytes(PREDICTIONS, archive.getbuffer())


def read_predictions(folder: Path, names: Collection[str]) -> dict[str, npt.NDArray[Any]]:
    """Return what was predicted for some cases; no more is unpacked than their headers announce.

    Raises:
        BadFileError: there is no such file or case, it is damaged, or it announces more than an
            image may have or the file can hold.
    """
    path = folder / PREDICTIONS
    try:
        found = read_arrays(path, names, "predictions")
    except BadFileError as error:
        raise BadFileError(path, error.problem, REMEDY) from error
    for name in names:
        if name not in found:
            raise BadFileError(path, f"lacks the case {spell(name)}", REMEDY)
        array = found[name]
        if array.dtype not in (np.uint8, np.uint16) or array.ndim > 3:
            what = (
                f"holds {array.dtype} of {array.ndim} axes, not labels, for the case {spell(name)}"
            )
            raise BadFileError(path, what, REMEDY)
    return found
