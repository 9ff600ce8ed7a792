"""Archives of NumPy arrays (`.npz`), read within bounds.

What the header of an array announces is compared before memory is taken for it.
"""

import math
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ssl_registry.data.formats.headers import REPLACE, decoding
from ssl_registry.data.formats.limits import check_bytes, check_voxel_count
from ssl_registry.errors import BadFileError

MOST_MEMBERS: Final = 2**20
"""Arrays that one archive may list; each takes memory before anything is read of it."""

_VERSIONS: Final = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True)
class ArrayHeader:
    """What the header of an array in an archive says."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def read_array_headers(path: Path, names: Collection[str], kind: str) -> dict[str, ArrayHeader]:
    """Return the headers of those arrays that are there, once they are seen to be possible.

    Args:
        path: the archive.
        names: of arrays, without `.npy`.
        kind: what the archive is, in words.

    Raises:
        BadFileError: it is not an archive; a header announces more than the archive can hold or
            than may be read; or an array holds Python objects.
    """
    if not path.is_file():  # a pipe in its place would be waited for
        raise BadFileError(path, "is not there, or is not a file", REPLACE)
    with decoding(path, kind), zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if len(entries) > MOST_MEMBERS:
            raise BadFileError(path, f"lists {len(entries):,} arrays", REPLACE)
        found = {entry.filename.removesuffix(".npy"): entry for entry in entries}
        return {
            name: _read_header(path, archive, found[name])
            for name in sorted(set(names) & set(found))
        }


def read_arrays(path: Path, names: Collection[str], kind: str) -> dict[str, npt.NDArray[Any]]:
    """Return those arrays of an archive that are there; nothing is unpickled.

    Raises:
        BadFileError: as `read_array_headers` says, or all of them together are more than may be
            read.
    """
    headers = read_array_headers(path, names, kind)
    check_voxel_count(path, (sum(math.prod(header.shape) for header in headers.values()),))
    with decoding(path, kind), np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in headers}


def _read_header(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> ArrayHeader:
    with archive.open(entry) as file:
        shape, _, dtype = _VERSIONS[np.lib.format.read_magic(file)](file)
    what = f"{path}: {entry.filename}"
    if any(side < 0 for side in shape):
        raise BadFileError(what, f"announces the shape {list(shape)}", REPLACE)
    if dtype.hasobject:
        raise BadFileError(what, "holds Python objects, which are not unpickled", REPLACE)
    check_voxel_count(what, shape)
    announced = math.prod(shape) * dtype.itemsize
    held = min(entry.compress_size, path.stat().st_size)
    check_bytes(what, announced, held, packed=entry.compress_type != zipfile.ZIP_STORED)
    return ArrayHeader(tuple(shape), dtype)
