"""NIfTI files that lie about themselves, uncompressed."""

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np

from tests.data.corpus import Malformed

SIDE = 8
HEADER, START = 348, 352
FILE = "scan.nii"

Change = Callable[[nib.Nifti1Header], object]


def whole(header_of: type[nib.Nifti1Header] = nib.Nifti1Header, order: str = "<") -> bytes:
    """Return a sound file: noise of 8 voxels a side."""
    header = header_of(endianness=order)
    header.set_data_shape((SIDE, SIDE, SIDE))
    header.set_data_dtype(np.dtype(np.int16).newbyteorder(order))
    header.set_sform(np.eye(4), 1)
    start = START if header_of is nib.Nifti1Header else 544
    header["vox_offset"] = start
    header["magic"] = b"n+1" if start == START else header["magic"]
    if start != START:
        header["magic"] = b"n+2\x00\r\n\x1a\n"
    voxels = np.random.default_rng(0).integers(0, 999, SIDE**3).astype(f"{order}i2")
    return header.binaryblock.ljust(start, b"\x00") + voxels.tobytes()


def with_header(change: Change, header_of: type[nib.Nifti1Header] = nib.Nifti1Header) -> bytes:
    """Return the sound file with a changed header."""
    content = whole(header_of)
    length = HEADER if header_of is nib.Nifti1Header else 540
    header = header_of(content[:length], check=False)
    change(header)
    return header.binaryblock + content[length:]


def setting(**fields: object) -> Change:
    """Return a change that sets fields of the header."""

    def change(header: nib.Nifti1Header) -> None:
        for name, value in fields.items():
            header[name] = value

    return change


def dims(*values: int) -> Change:
    """Return a change of `dim`, number of dimensions first."""
    return setting(dim=[*values, *[1] * (8 - len(values))])


def with_voxels(*values: float, dtype: str = "<f4") -> bytes:
    """Return a file whose first voxels have these values, or all where there is one."""
    voxels = np.arange(SIDE**3, dtype=dtype)
    voxels[: len(values) if len(values) > 1 else None] = values if len(values) > 1 else values[0]
    header = nib.Nifti1Header(whole()[:HEADER], check=False)
    header.set_data_dtype(np.dtype(dtype))
    return header.binaryblock.ljust(START, b"\x00") + voxels.tobytes()


def writing(content: bytes, name: str = FILE) -> Callable[[Path], None]:
    """Return what writes a file of this content."""
    return lambda folder: (folder / name).write_bytes(content) and None


REFUSED: dict[str, bytes] = {
    **{
        f"cut at byte {place}": whole()[:place]
        for place in (0, 1, 3, 4, 40, 100, 344, 347, 348, 351, 352, 353, 900, 1375)
    },
    "version 2 cut in its header": whole(nib.Nifti2Header)[:500],
    "version 2 cut in its voxels": whole(nib.Nifti2Header)[:-1],
    "big-endian, cut": whole(order=">")[:-1],
    "text": b"patient went home\n" * 99,
    "zeros": bytes(2000),
    "random bytes": np.random.default_rng(1).bytes(2000),
    "no magic": with_header(setting(magic=b"")),
    "magic of a pair": with_header(setting(magic=b"ni1")),
    "magic of the future": with_header(setting(magic=b"n+9")),
    "gzip under the wrong name": gzip.compress(whole()),
    "all sides byte-swapped": with_header(setting(dim=np.array([3, 8, 8, 8, 1, 1, 1, 1]) * 256)),
    "no dimensions": with_header(dims(0)),
    "one dimension": with_header(dims(1, 512)),
    "two dimensions": with_header(dims(2, 16, 32)),
    "five dimensions": with_header(dims(5, 8, 8, 8, 1, 3)),
    "seven dimensions": with_header(dims(7, 2, 2, 2, 2, 2, 2, 2)),
    "eight dimensions": with_header(dims(8, 8, 8, 8)),
    "minus one dimensions": with_header(dims(-1, 8, 8, 8)),
    "a side of 0": with_header(dims(3, 8, 0, 8)),
    "a side of 1": with_header(dims(3, 8, 8, 1)),
    "a side of -8": with_header(dims(3, 8, -8, 8)),
    "two sides of -8": with_header(dims(3, -8, -8, 8)),
    "0 channels": with_header(dims(4, 8, 8, 8, 0)),
    "absurd sides": with_header(dims(3, 32767, 32767, 32767)),
    "absurd channels": with_header(dims(4, 8, 8, 8, 32767)),
    "version 2: sides whose product overflows": with_header(
        dims(3, 2**62, 2**62, 2**62), nib.Nifti2Header
    ),
    "version 2: sides whose product overflows to 0": with_header(
        dims(3, 2**32, 2**32, 8), nib.Nifti2Header
    ),
    "version 2: sides of -2**63": with_header(dims(3, -(2**63), 8, 8), nib.Nifti2Header),
    **{
        f"datatype {code}": with_header(setting(datatype=code))
        for code in (0, 1, 32, 128, 255, 1792, 2048, 2304, 9999, -1)
    },
    "a type that needs more bytes": with_header(setting(datatype=64)),
    **{
        f"voxels at byte {place:g}": with_header(setting(vox_offset=place))
        for place in (0, 100, -5, 353, 1e6, 1e30, np.inf, np.nan)
    },
    "version 2: voxels at byte 2**62": with_header(setting(vox_offset=2**62), nib.Nifti2Header),
    "an affine of NaN": with_header(setting(srow_x=[np.nan, 0, 0, 0])),
    "an infinite affine": with_header(setting(srow_y=[0, np.inf, 0, 0])),
    "an affine without an inverse": with_header(setting(srow_z=[0, 1, 0, 0])),
    "a quaternion that is none": with_header(
        setting(sform_code=0, qform_code=1, quatern_b=3, quatern_c=3, quatern_d=3)
    ),
    "a spacing of 0": with_header(setting(sform_code=0, pixdim=[1, 0, 0, 0, 0, 0, 0, 0])),
    "a spacing of NaN": with_header(setting(sform_code=0, pixdim=[1, np.nan, 1, 1, 0, 0, 0, 0])),
    "a spacing of -1 with a quaternion": with_header(
        setting(sform_code=0, qform_code=1, pixdim=[1, -1, 1, 1, 0, 0, 0, 0])
    ),
    "an intercept of NaN": with_header(setting(scl_slope=1, scl_inter=np.nan)),
    "a slope that makes all voxels infinite": with_header(setting(scl_slope=3e38, scl_inter=0)),
    "a voxel of NaN": with_voxels(np.nan, 1),
    "an infinite voxel": with_voxels(1, -np.inf),
    "voxels of NaN alone": with_voxels(np.nan),
    "one value everywhere": with_voxels(7),
    "float64 beyond float32": with_voxels(1e300, 2, dtype="<f8"),
}

WORKS: dict[str, bytes] = {
    "version 1": whole(),
    "version 2": whole(nib.Nifti2Header),
    "big-endian": whole(order=">"),
    "version 2, big-endian": whole(nib.Nifti2Header, order=">"),
    "bytes behind the voxels": whole() + bytes(999),
    "a wrong bitpix": with_header(setting(bitpix=64)),
    "a slope of 0": with_header(setting(scl_slope=0)),
    "a slope of NaN": with_header(setting(scl_slope=np.nan)),
    "an infinite slope": with_header(setting(scl_slope=np.inf)),
    "the length of the header swapped alone": whole()[:4][::-1] + whole()[4:],
    "no affine": with_header(setting(sform_code=0)),
    "no affine, spacing -1": with_header(setting(sform_code=0, pixdim=[1, -1, 1, 1, 0, 0, 0, 0])),
    "an extension of absurd length": whole()[:HEADER] + b"\x01\x00\x00\x00" + whole()[START:],
    "a fourth axis of 1": with_header(dims(4, 8, 8, 8, 1)),
    "an absurd qfac": with_header(setting(qform_code=1, pixdim=[77, 1, 1, 1, 0, 0, 0, 0])),
    "garbage in the texts": with_header(setting(descrip=b"\xff" * 80, aux_file=b"\x1b[2J")),
}


def entries() -> Iterator[Malformed]:
    """Yield the entries of this kind."""
    for name, content in REFUSED.items():
        yield Malformed(name, writing(content), "refused", FILE)
    for name, content in WORKS.items():
        yield Malformed(name, writing(content), "works")
