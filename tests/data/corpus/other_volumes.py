"""NRRD, MetaImage and DICOM: headers in text that name other files, and slices that do not fit."""

import gzip
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tests.data.corpus import Malformed
from tests.volumes import noise, write_series

SIDE = 8
VOXELS = np.random.default_rng(0).integers(0, 999, SIDE**3).astype("<i2").tobytes()

PACKED = gzip.compress(VOXELS)
DAMAGED = PACKED[:300] + bytes(4) + PACKED[304:]
"""A stream whose damage ITK does not notice."""


def nrrd(data: bytes = VOXELS, end: str = "\n\n", **fields: object) -> bytes:
    """Return an NRRD file; a field of None is left out."""
    said: dict[str, object] = {
        "type": "short", "dimension": 3, "space": "left-posterior-superior",
        "sizes": "8 8 8", "space directions": "(1,0,0) (0,1,0) (0,0,1)", "endian": "little",
        "encoding": "raw", "space origin": "(0,0,0)",
    }  # fmt: skip
    said |= {name.replace("_", " "): value for name, value in fields.items()}
    lines = [f"{name}: {value}" for name, value in said.items() if value is not None]
    return ("\n".join(["NRRD0004", *lines]) + end).encode() + data


def meta(data: bytes = VOXELS, **fields: object) -> bytes:
    """Return a MetaImage file; a field of None is left out."""
    said: dict[str, object] = {
        "ObjectType": "Image", "NDims": 3, "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False", "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "0 0 0",
        "ElementSpacing": "1 1 1", "DimSize": "8 8 8", "ElementType": "MET_SHORT",
        "ElementDataFile": "LOCAL",
    }  # fmt: skip
    said |= fields
    said["ElementDataFile"] = said.pop("ElementDataFile")  # it ends the header
    lines = [f"{name} = {value}\n" for name, value in said.items() if value is not None]
    return "".join(lines).encode() + data


NRRD_REFUSED: dict[str, bytes] = {
    **{f"cut at byte {place}": nrrd()[:place] for place in (0, 3, 8, 50, 150, 300, 1000)},
    "without its end": nrrd(end="\n"),
    "text": b"NRRD is a format\n" * 9,
    "absurd sizes": nrrd(sizes="99999 99999 99999"),
    "sizes whose product overflows": nrrd(sizes="4294967296 4294967296 8"),
    "sizes beyond its bytes": nrrd(sizes="8 8 9"),
    "sizes of 0": nrrd(sizes="8 0 8"),
    "negative sizes": nrrd(sizes="-8 -8 8"),
    "too few sizes": nrrd(sizes="8 8"),
    "no sizes": nrrd(sizes=None),
    "2 dimensions": nrrd(
        dimension=2, sizes="16 32", space=None, space_directions=None, space_origin=None
    ),
    "99 dimensions": nrrd(dimension=99),
    "blocks": nrrd(type="block", block_size=1000000),
    "no such type": nrrd(type="quaternion"),
    "directions of NaN": nrrd(space_directions="(nan,0,0) (0,1,0) (0,0,1)"),
    "directions without an inverse": nrrd(space_directions="(1,0,0) (1,0,0) (0,0,1)"),
    "an encoding that is no encoding": nrrd(encoding="rot13"),
    "numbers in text": nrrd(b"1 " * 512, encoding="ascii"),
    **{
        f"{word[:9]} in text": nrrd(word.encode() + b" 1 2" * 256, encoding="ascii")
        for word in ("1.5", "12x", "1,2", "1_0", "70000", "0" * 3000 + "1", "," * 3000 + "1")
    },
    "bzip2": nrrd(encoding="bzip2"),
    "gzip, damaged": nrrd(DAMAGED, encoding="gzip"),
    "zlib for gzip": nrrd(zlib.compress(VOXELS), encoding="gzip"),
    "a file called as MetaImage calls its own": nrrd(data_file="LOCAL"),
    "gzip of other bytes": nrrd(encoding="gzip"),
    "gzip, cut": nrrd(gzip.compress(VOXELS)[:-99], encoding="gzip"),
    "gzip with absurd sizes": nrrd(gzip.compress(VOXELS), encoding="gzip", sizes="999 999 999"),
    "an absolute file": nrrd(b"", data_file="/etc/passwd"),
    "a file above": nrrd(b"", data_file="../secret.raw"),
    "a file that is not there": nrrd(b"", data_file="none.raw"),
    "a list of files": nrrd(b"", data_file="LIST"),
    "a pattern of files": nrrd(b"", data_file="%03d.raw 1 9 1"),
    "two files": nrrd(b"", end="\ndata file: a.raw\ndatafile: b.raw\n\n"),
    **{
        f"{field} of 2000 characters": nrrd(**{field: text})
        for field, text in {
            "space": "s" * 2000,
            "kinds": "domain " * 300,
            "space_directions": f"({'1' * 2000},0,0) (0,1,0) (0,0,1)",
            "thicknesses": "1 " * 1000,
            "endian": "x" * 2000,
        }.items()
    },
    "negative skips": nrrd(byte_skip=-99),
}

META_REFUSED: dict[str, bytes] = {
    **{f"cut at byte {place}": meta()[:place] for place in (0, 3, 50, 200, 280, 400, 1000)},
    "text": b"patient = at home\n" * 9,
    "no data": meta(ElementDataFile=None),
    "absurd sides": meta(DimSize="99999 99999 99999"),
    "sides whose product overflows": meta(DimSize="4294967296 4294967296 8"),
    "sides beyond its bytes": meta(DimSize="8 8 9"),
    "sides of 0": meta(DimSize="8 0 8"),
    "negative sides": meta(DimSize="-8 -8 8"),
    "too few sides": meta(DimSize="8 8"),
    "2 dimensions": meta(
        NDims=2, DimSize="16 32", TransformMatrix="1 0 0 1", Offset="0 0", ElementSpacing="1 1"
    ),
    "0 dimensions": meta(NDims=0),
    "99 dimensions": meta(NDims=99),
    "no such type": meta(ElementType="MET_TRIANGLE"),
    "spacing of 0": meta(ElementSpacing="0 0 0"),
    "spacing of NaN": meta(ElementSpacing="nan nan nan"),
    "compression of other bytes": meta(CompressedData="True"),
    "compression with absurd sides": meta(CompressedData="True", DimSize="999 999 999"),
    "compression, damaged": meta(DAMAGED, CompressedData="True", CompressedDataSize=len(DAMAGED)),
    "compression, cut by its length": meta(
        PACKED, CompressedData="True", CompressedDataSize=len(PACKED) - 50
    ),
    "compression of a length beyond its bytes": meta(
        zlib.compress(VOXELS), CompressedData="True", CompressedDataSize=9999
    ),
    "compression without its length": meta(zlib.compress(VOXELS), CompressedData="True"),
    "voxels within its header": meta(HeaderSize=5),
    "a file called as its own, nearly": meta(ElementDataFile="LoCaL"),
    "numbers in text": meta(b"1 " * 512, BinaryData="False"),
    "an absolute file": meta(b"", ElementDataFile="/etc/passwd"),
    "a file above": meta(b"", ElementDataFile="../secret.raw"),
    "a file that is not there": meta(b"", ElementDataFile="none.raw"),
    "a list of files": meta(b"a.raw\nb.raw\n", ElementDataFile="LIST"),
    "a pattern of files": meta(b"", ElementDataFile="%03d.raw 1 9 1"),
    "a comment of 9000 characters": meta(Comment="x" * 9000),
    "absurd channels": meta(ElementNumberOfChannels=99999999),
}


def writing(content: bytes, name: str) -> Callable[[Path], None]:
    """Return what writes a file of this content."""
    return lambda folder: (folder / name).write_bytes(content) and None


def _series(change: Callable[[Path], object]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        change(write_series(folder / "patient", noise()))

    return make


def _patched(old: bytes, new: bytes, only: int | None = None) -> Callable[[Path], None]:
    """Return what replaces bytes in all slices, or in one."""

    def change(folder: Path) -> None:
        files = sorted(folder.iterdir())
        for path in files if only is None else files[only : only + 1]:
            content = path.read_bytes()
            assert old in content, "the slice is not made as this supposes"
            path.write_bytes(content.replace(old, new))

    return change


def _cut(length: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = sorted(folder.iterdir())[3]
        path.write_bytes(path.read_bytes()[:length])

    return change


ROWS = b"\x28\x00\x10\x00\x02\x00\x00\x00"
"""The tag of a slice's rows, as ITK writes it."""

DICOM_REFUSED: dict[str, Callable[[Path], None]] = {
    **{
        f"a slice cut at byte {length}": _series(_cut(length)) for length in (0, 100, 140, 400, 700)
    },
    "slices of text": _series(lambda folder: [p.write_text("ill") for p in folder.iterdir()]),
    "a slice missing": _series(lambda folder: sorted(folder.iterdir())[3].unlink()),
    "a slice twice": _series(
        lambda folder: shutil.copy(sorted(folder.iterdir())[3], folder / "x.dcm")
    ),
    "absurd rows in all": _series(_patched(ROWS + b"\x06\x00", ROWS + b"\xff\xff")),
    "absurd rows in one": _series(_patched(ROWS + b"\x06\x00", ROWS + b"\xff\xff", only=2)),
    "no rows": _series(_patched(ROWS + b"\x06\x00", ROWS + b"\x00\x00")),
    "two series": _series(
        lambda folder: (
            write_series(folder / "..", noise(), series="1.9")
            and [p.rename(folder / f"b{p.name}") for p in folder.parent.glob("*.dcm")]
        )
    ),
    "a slice that leads out": _series(
        lambda folder: [
            (folder / "00.dcm").rename(folder.parent.parent / "out.dcm"),
            (folder / "00.dcm").symlink_to(folder.parent.parent / "out.dcm"),
        ]
    ),
}


def _beside(header: bytes, name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / name).write_bytes(header)
        (folder / "voxels.raw").write_bytes(VOXELS)

    return make


WORKS: dict[str, Callable[[Path], object]] = {
    "sound NRRD": writing(nrrd(), "scan.nrrd"),
    "NRRD with a comment and a key": writing(nrrd(end="\n# note\nkey:=a: value\n\n"), "scan.nrrd"),
    "NRRD with the ends of lines of Windows": writing(
        nrrd(b"").replace(b"\n", b"\r\n") + VOXELS, "scan.nrrd"
    ),
    "gzip in NRRD": writing(nrrd(gzip.compress(VOXELS), encoding="gzip"), "scan.nrrd"),
    "NRRD with its voxels beside": _beside(nrrd(b"", data_file="voxels.raw"), "scan.nhdr"),
    "sound MetaImage": writing(meta(), "scan.mha"),
    "MetaImage with its voxels beside": _beside(
        meta(b"", ElementDataFile="voxels.raw"), "scan.mhd"
    ),
    "sound series": _series(lambda folder: None),
    "a note among the slices": _series(lambda folder: (folder / "note.txt").write_text("ill")),
}


def entries() -> Iterator[Malformed]:
    """Yield the entries of this kind."""
    for name, content in NRRD_REFUSED.items():
        yield Malformed(f"NRRD, {name}", writing(content, "scan.nrrd"), "refused", "scan.nrrd")
    for name, content in META_REFUSED.items():
        yield Malformed(f"MetaImage, {name}", writing(content, "scan.mha"), "refused", "scan.mha")
    for name, make in DICOM_REFUSED.items():
        yield Malformed(f"DICOM, {name}", make, "refused", "patient")
    for name, work in WORKS.items():
        yield Malformed(name, work, "works")
