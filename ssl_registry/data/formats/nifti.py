"""NIfTI files, versions 1 and 2, either byte order, compressed or not.

Reference: https://nifti.nimh.nih.gov (NIfTI-1 2003, NIfTI-2 2011). nibabel interprets the
header, repairs it where `nibabel.load` does, and scales the voxels; how much is read, and when,
is decided here, because its own loader follows whatever size a header announces and never
reaches the checksum at the end of a compressed stream.
"""

import gzip
import logging
import math
from pathlib import Path
from typing import IO, Any, Final, TypeAlias, cast

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.arrayproxy import ArrayProxy

from ssl_registry.data.formats.headers import REPLACE, Header, as_float32, decoding, make_header
from ssl_registry.data.formats.limits import AGAIN, check_bytes
from ssl_registry.errors import BadFileError

KIND: Final = "NIfTI"
LENGTHS: Final = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
"""Bytes of the headers of both versions; the number stands in their first four bytes."""

MAGIC: Final = (b"n+1", b"n+2")

MOST_EXTENSION: Final = 2**26
"""Bytes that may lie between the header and the voxels, or behind them."""

CHUNK: Final = 2**20

_SILENT: Final = logging.Logger("nibabel's repairs", logging.CRITICAL + 1)
"""Where nibabel says what it repairs: `check` reports it, the terminal need not."""

Fields: TypeAlias = Any
"""nibabel's header, whose methods are not annotated."""


def read_header(path: Path) -> Header:
    """Return the header of a NIfTI file; of a compressed one, its first block is unpacked.

    Raises:
        BadFileError: it is not a NIfTI file, is cut short, or `make_header` refuses it.
    """
    with decoding(path, KIND):
        fields = nibabel_header(path)
        sides = tuple(int(side) for side in fields.get_data_shape())
        dtype = fields.get_data_dtype()
        with np.errstate(invalid="ignore"):  # of a spacing that is infinite
            affine = np.asarray(fields.get_best_affine(), dtype=np.float64)
    placed = bool(fields["sform_code"] or fields["qform_code"])
    header = make_header(path, sides, dtype, affine, placed)
    with decoding(path, KIND):
        _check_length(path, fields)
    return header


def read_array(path: Path, header: Header) -> npt.NDArray[np.float32]:
    """Return the voxels, scaled, `[C, X, Y, Z]`.

    Raises:
        BadFileError: the voxels are not all there, or the stream is damaged.
    """
    with decoding(path, KIND), np.errstate(over="ignore", invalid="ignore"), _opened(path) as file:
        fields = nibabel_header(path)
        proxy = ArrayProxy(file, fields, mmap=False)  # type: ignore[no-untyped-call]
        array = as_float32(path, np.asanyarray(proxy))
        if _is_packed(path):
            _read_to_the_end(path, file)
    planes = array.reshape(*header.shape, header.channels)
    return np.ascontiguousarray(np.moveaxis(planes, -1, 0))


def _is_packed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if _is_packed(path) else path.open("rb")


def nibabel_header(path: Path) -> Fields:
    """Return nibabel's header, repaired as `nibabel.load` repairs it, without extensions.

    Raises:
        BadFileError: the file does not begin with one, or it states no usable spacing.
    """
    with _opened(path) as file:
        start = file.read(max(LENGTHS))
    sizes = {order: int.from_bytes(start[:4], order) for order in ("little", "big")}
    length = next((size for size in sizes.values() if size in LENGTHS), None)
    if start.startswith(b"\x1f\x8b") and not _is_packed(path):
        raise BadFileError(path, "is compressed, unlike its name", "name it .nii.gz")
    if length is None:
        what = "begins with no NIfTI header" if start else "is empty"
        raise BadFileError(path, f"cannot be read as NIfTI (it {what})", REPLACE)
    if len(start) < length:
        raise BadFileError(
            path, f"is cut short: it ends within its header, at byte {len(start)}", AGAIN
        )
    return _mended(path, LENGTHS[length](start[:length], check=False))  # type: ignore[no-untyped-call]


def _mended(path: Path, fields: Fields) -> Fields:
    """Return a header as `nibabel.load` has it: repaired where nibabel knows how.

    Where it does, `pixdim[0]` is neither 1 nor -1, a form has an unknown code, or a spacing is
    no positive number. A spacing that would have to be guessed is refused.
    """
    if bytes(fields["magic"])[:3] not in MAGIC:
        raise BadFileError(
            path,
            f"cannot be read as NIfTI (its magic is {bytes(fields['magic'])!r})",
            "save it as one .nii or .nii.gz file",
        )
    stated = fields["pixdim"][1:4].copy()
    fields.check_fix(_SILENT)
    needed = not fields["sform_code"] and (
        (stated < 0) & (fields["qform_code"] > 0) | (stated == 0)
    )
    if np.any(needed):
        raise BadFileError(
            path, f"states a spacing of {'x'.join(f'{step:g}' for step in stated)} mm", "correct it"
        )
    return fields


def _check_length(path: Path, fields: Fields) -> None:
    """See that the file holds what its header announces.

    A compressed file states its length, modulo 2**32, in its last four bytes. Where that is
    another one, the stream is unpacked to see: it is cut short, or more follows the voxels.
    """
    offset = int(fields.get_data_offset())
    voxels = math.prod(int(side) for side in fields.get_data_shape())
    announced = offset + voxels * fields.get_data_dtype().itemsize
    if not 0 <= offset - fields.sizeof_hdr <= MOST_EXTENSION:
        raise BadFileError(path, f"announces its voxels at byte {offset}", REPLACE)
    held = path.stat().st_size
    check_bytes(path, announced, held, packed=_is_packed(path))
    if _is_packed(path) and _stated_length(path) != announced % 2**32:
        with _opened(path) as file:
            _read_through(path, file, announced)


def _stated_length(path: Path) -> int:
    with path.open("rb") as file:
        file.seek(-4, 2)
        return int.from_bytes(file.read(4), "little")


def _read_through(path: Path, file: IO[bytes], announced: int) -> None:
    read = 0
    while read < announced:
        try:
            chunk = file.read(min(CHUNK, announced - read))
        except EOFError:
            chunk = b""
        if not chunk:
            raise BadFileError(
                path, f"is cut short: it ends before byte {announced:,}, where its voxels do", AGAIN
            )
        read += len(chunk)


def _read_to_the_end(path: Path, file: IO[bytes]) -> None:
    """Read what follows the voxels, so that the stream's checksum is compared."""
    for _ in range(0, MOST_EXTENSION, CHUNK):
        if not file.read(CHUNK):
            return
    raise BadFileError(path, f"holds more than {MOST_EXTENSION:,} bytes behind its voxels", REPLACE)
