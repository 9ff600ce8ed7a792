"""Compressed NIfTI files: streams that are cut, damaged, or larger than they look."""

import gzip
import struct
import zlib
from collections.abc import Iterator

import nibabel as nib
import numpy as np

from tests.data.corpus import Malformed
from tests.data.corpus.nifti import START, dims, setting, whole, with_header, writing

FILE = "scan.nii.gz"

PACKED = gzip.compress(whole(), mtime=0)


def bomb(start: bytes, megabytes: int) -> bytes:
    """Return a stream that begins with `start` and goes on with so many MB of zeros.

    Its blocks are one block again and again, so it is made at once, whatever its size.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\x00" + bytes(6) + first + block * megabytes


def changed(place: int, value: int) -> bytes:
    """Return the sound stream with one byte changed."""
    return PACKED[:place] + bytes([value]) + PACKED[place + 1 or len(PACKED) :]


def damaged(place: int) -> bytes:
    """Return the sound stream with the bits of one byte turned round."""
    place %= len(PACKED)
    return changed(place, PACKED[place] ^ 0xFF)


REFUSED: dict[str, bytes] = {
    **{
        f"cut at byte {place}": PACKED[:place]
        for place in (0, 1, 2, 3, 9, 10, 11, 20, 60, 200, len(PACKED) // 2)
    },
    **{f"cut {less} bytes before its end": PACKED[:-less] for less in (1, 4, 5, 8, 9, 30)},
    "not compressed at all": whole(),
    "text, compressed": gzip.compress(b"patient went home\n" * 99),
    "nothing, compressed": gzip.compress(b""),
    "a header alone, compressed": gzip.compress(whole()[:START]),
    "voxels cut, then compressed": gzip.compress(whole()[:-2]),
    "another method of compression": changed(2, 9),
    "a name without an end": PACKED[:3] + b"\x08" + PACKED[4:10] + b"x" * 2000,
    "damaged in its first block": damaged(12),
    "damaged in the middle": damaged(len(PACKED) // 2),
    "a wrong checksum": damaged(-8),
    "a wrong length": damaged(-2),
    "rubbish behind its end": PACKED + b"rubbish",
    "sides beyond what the stream can hold": gzip.compress(with_header(dims(3, 300, 300, 300))),
    "absurd sides": gzip.compress(with_header(dims(3, 32767, 32767, 32767))),
    "voxels at byte 1e9": gzip.compress(with_header(setting(vox_offset=1e9))),
    "a bomb whose header tells": bomb(with_header(dims(3, 8000, 1000, 1000)), 9000),
    "a bomb behind the voxels": bomb(whole(), 9000),
    "a bomb before the voxels": bomb(with_header(setting(vox_offset=2e9)), 3000),
    "a bomb for an extension": bomb(
        with_header(setting(vox_offset=0))[:348]
        + b"\x01\x00\x00\x00"
        + struct.pack("<ii", 2**30, 6),
        2000,
    ),
    "constant, honest and large": bomb(with_header(dims(3, 300, 300, 300)), 60),
}

WORKS: dict[str, bytes] = {
    "sound": PACKED,
    "two members": gzip.compress(whole()[:500]) + gzip.compress(whole()[500:]),
    "bytes behind the voxels": gzip.compress(whole() + bytes(999)),
    "zeros behind the stream": PACKED + bytes(512),
    "not packed within": gzip.compress(whole(), 0),
    "version 2, big-endian": gzip.compress(whole(nib.Nifti2Header, order=">")),
    "an extension": gzip.compress(
        with_header(setting(vox_offset=START + 32))[:348]
        + b"\x01\x00\x00\x00"
        + struct.pack("<ii", 32, 6)
        + np.random.default_rng(0).bytes(24)
        + whole()[START:]
    ),
}


def entries() -> Iterator[Malformed]:
    """Yield the entries of this kind."""
    for name, content in REFUSED.items():
        yield Malformed(name, writing(content, FILE), "refused", FILE)
    for name, content in WORKS.items():
        yield Malformed(name, writing(content, FILE), "works")
