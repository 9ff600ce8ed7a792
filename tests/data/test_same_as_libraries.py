"""What the field's libraries read, is read to the same values on the same grid, or refused by name.

Headers are drawn at random, sound ones and odd ones, and every file is read by the library of its
format as well: nibabel, ITK, pydicom. Where the library gives a volume of real numbers with an
affine that has an inverse, there is no way out but to read the same; unless the numbers differ by
so little that float32 could not tell them apart, and then there is none but to refuse them.

What is drawn is the same in every run, so that a change of the code alone can make these fail.
"""

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.pixels import apply_rescale

from ssl_registry.data.formats.volumes import read_volume
from ssl_registry.errors import BadFileError
from tests.dicoms import write_slice

Array = npt.NDArray[Any]

REAL = ("u1", "i1", "u2", "i2", "i4", "u4", "i8", "u8", "f4", "f8")


@dataclass(frozen=True)
class Known:
    """What a library reads: voxels `[C, X, Y, Z]` and the affine, RAS+."""

    voxels: Array
    affine: Array


@dataclass
class Tally:
    """How many files were read and how many refused, so that a comparison is of something."""

    read: int = 0
    refused: int = 0

    def compare(self, path: Path, known: Known | None, *, exact: bool = True) -> None:
        """See that a file is read as it is known; or refused, where nothing is known of it."""
        try:
            header, voxels = read_volume(path)
        except BadFileError as error:
            said = str(error)
        else:
            said = ""
        if said:
            assert path.name in said
            assert known is None or too_fine(known.voxels), said
            self.refused += 1
            return
        assert known is not None, "it was read, and should not be"
        assert not too_fine(known.voxels), "it was read, and float32 shows hardly any of it"
        np.testing.assert_array_equal(voxels.numpy(), _single(known.voxels))
        compare = np.testing.assert_array_equal if exact else np.testing.assert_allclose
        compare(header.affine, known.affine, **({} if exact else {"atol": 1e-6}))
        self.read += 1


def too_fine(voxels: Array) -> bool:
    """Whether float32, with its 24 bits, has fewer than 256 numbers for the range of the voxels.

    It has all there are of float32 itself, of float16 and of whole numbers of up to 16 bits.
    """
    exact = np.can_cast(voxels.dtype, np.float32)
    low, high = float(voxels.min()), float(voxels.max())
    largest = _single(np.array(max(abs(low), abs(high))))
    if exact or low == high or not np.isfinite(largest):
        return False
    _, exponent = np.frexp(largest)
    return high - low < 256 * 2.0 ** (max(int(exponent), -125) - 24)


def _single(voxels: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return voxels.astype(np.float32)


def check_all(
    files: st.SearchStrategy[Any], examples: int, compare: Callable[[Tally, Any], None]
) -> None:
    """Compare as many files as asked for; a good part of them must have been read."""
    tally = Tally()

    slow_here = [HealthCheck.too_slow, HealthCheck.data_too_large]  # a busy machine, no fault
    drawn_again = settings(derandomize=True, database=None, suppress_health_check=slow_here)

    @settings(drawn_again, max_examples=examples, deadline=None)
    @given(files)
    def each(file: Any) -> None:
        compare(tally, file)

    each()
    assert tally.read > 0.15 * examples
    assert tally.refused > 0


def few_or_many(few: int, many: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("examples", [few, pytest.param(many, marks=pytest.mark.long)])


def without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without the axes of length one behind the third."""
    return shape[:3] + tuple(np.trim_zeros(np.array(shape[3:]) - 1, "b") + 1)


def is_volume(shape: tuple[int, ...], affine: Array) -> bool:
    """Whether a library's `[X, Y, Z, ...]` is a volume, its voxels in places of their own."""
    shape = without_ones(shape)
    placed = np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-12
    return len(shape) in (3, 4) and min(shape[:3]) >= 4 and bool(placed)


def values(seed: int, shape: tuple[int, ...], dtype: str) -> Array:
    """Return numbers of all sizes that a type has; those of floats are tame."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 10.0 ** rng.integers(-3, 6), shape).astype(dtype)
    bounds = np.iinfo(dtype)
    return rng.integers(bounds.min, bounds.max, shape, dtype=dtype, endpoint=True)


numbers = st.floats(-3, 3).map(lambda number: round(number, 3))
sides = st.tuples(*[st.integers(4, 6)] * 3)
seeds = st.integers(0, 999)

# --- NIfTI

CODES = st.sampled_from([0, 0, 1, 1, 2, 3, 4, 5, 6, 77, -1])
STEPS = st.sampled_from([1.0, 0.7, 2.5, 3.0] * 4 + [0.0, -1.5, np.nan, np.inf])
TAILS = st.sampled_from([(), (1,), (1, 1), (1, 1, 1, 1), (3,), (3, 1), (1, 3), (2, 2)])


@dataclass(frozen=True)
class Nifti:
    version: int
    order: str
    shape: tuple[int, ...]
    dtype: str
    seed: int
    packed: bool
    gap: int
    fields: dict[str, Any]


@st.composite
def niftis(draw: st.DrawFn) -> Nifti:
    handed = draw(st.sampled_from([1.0, -1.0, 1.0, -1.0, 0.0, 77.0, np.nan]))
    steps = [draw(STEPS) for _ in range(3)]
    turn = draw(st.sampled_from([1.0, 0.5, 0.0, 3.0]))
    fields: dict[str, Any] = {
        "sform_code": draw(CODES),
        "qform_code": draw(CODES),
        "pixdim": [handed, *steps, 1, 0, 0, 0],
        "xyzt_units": draw(st.sampled_from([0, 1, 2, 3, 10])),
        "intent_code": draw(st.sampled_from([0, 1007, 1002])),
        "scl_slope": draw(st.sampled_from([0, 1, np.nan, np.inf, 2, 0.1, -1.5, 1e-6])),
        "scl_inter": draw(st.sampled_from([0, 0, 0, 5, -1024, 0.3, np.nan])),
    }
    for name in "bcd":
        fields[f"quatern_{name}"] = turn * draw(st.floats(-0.57, 0.57))
    for name in "xyz":
        fields[f"qoffset_{name}"] = draw(numbers) * 50
        fields[f"srow_{name}"] = [draw(numbers) for _ in range(4)]
    return Nifti(
        version=draw(st.sampled_from([1, 2])),
        order=draw(st.sampled_from("<>")),
        shape=draw(sides) + draw(TAILS),
        dtype=draw(st.sampled_from([*REAL, *REAL, "c8"])),
        seed=draw(seeds),
        packed=draw(st.booleans()),
        gap=draw(st.sampled_from([0, 16, 3])),
        fields=fields,
    )


def write_nifti_of(folder: Path, drawn: Nifti) -> Path:
    made = {1: nib.Nifti1Header, 2: nib.Nifti2Header}[drawn.version](endianness=drawn.order)
    made.set_data_shape(drawn.shape)
    made.set_data_dtype(np.dtype(drawn.dtype).newbyteorder(drawn.order))
    start = {1: 352, 2: 544}[drawn.version] + drawn.gap
    made["magic"] = {1: b"n+1\0", 2: b"n+2\0\r\n\x1a\n"}[drawn.version]
    made["vox_offset"] = start
    for name, value in drawn.fields.items():
        made[name] = value
    if drawn.dtype == "c8":
        stored = np.ones(drawn.shape, drawn.dtype)
    else:
        stored = values(drawn.seed, drawn.shape, drawn.dtype)
    voxels = stored.astype(np.dtype(drawn.dtype).newbyteorder(drawn.order)).tobytes(order="F")
    content = made.binaryblock.ljust(start, b"\0") + voxels
    path = folder / f"scan.nii{'.gz' if drawn.packed else ''}"
    path.write_bytes(gzip.compress(content, 1) if drawn.packed else content)
    return path


def as_nibabel_reads(path: Path, drawn: Nifti) -> Known | None:
    try:
        image = nib.load(path)
        with np.errstate(all="ignore"):
            voxels = np.asanyarray(image.dataobj)
    except Exception:  # noqa: BLE001
        return None
    steps, codes = np.array(drawn.fields["pixdim"][1:4], np.float32), image.header
    guessed = (steps == 0) | ((steps < 0) & (codes["qform_code"] > 0))
    if codes["sform_code"] == 0 and guessed.any():  # nibabel takes 1 mm, or leaves the sign out
        return None
    if not is_volume(voxels.shape, image.affine) or voxels.dtype.kind not in "iuf":
        return None
    planes = voxels.reshape(*voxels.shape[:3], -1)
    return Known(np.moveaxis(planes, -1, 0), image.affine)


@few_or_many(25, 500)
def test_nifti_is_read_as_nibabel_reads_it(tmp_path: Path, examples: int) -> None:
    def compare(tally: Tally, drawn: Nifti) -> None:
        path = write_nifti_of(tmp_path, drawn)
        tally.compare(path, as_nibabel_reads(path, drawn))
        path.unlink()

    check_all(niftis(), examples, compare)


# --- NRRD and MetaImage


@dataclass(frozen=True)
class Text:
    """A header in text and the voxels behind it or beside."""

    suffix: str
    text: str
    voxels: bytes
    beside: bool = False


def as_itk_reads(path: Path, image_io: str) -> Known | None:
    try:
        image = sitk.ReadImage(str(path), imageIO=image_io)
        voxels = sitk.GetArrayFromImage(image)
    except RuntimeError:
        return None
    dims, channels = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if dims < 3 or "complex" in image.GetPixelIDTypeAsString():
        return None
    direction = np.array(image.GetDirection()).reshape(dims, dims)
    affine = np.eye(4)
    affine[:3, :3] = direction[:3, :3] * image.GetSpacing()[:3]
    affine[:3, 3] = image.GetOrigin()[:3]
    affine = np.diag([-1.0, -1, 1, 1]) @ affine
    size = without_ones(image.GetSize()) + ((channels,) if channels > 1 else ())
    if not is_volume(size, affine):
        return None
    planes = voxels if channels > 1 else voxels[..., None]  # [..., Z, Y, X, C]
    turned = planes.transpose(*range(dims - 1, -1, -1), dims)
    return Known(np.moveaxis(turned.reshape(*size[:3], -1), -1, 0), affine)


SPACES = st.sampled_from(
    [
        *("left-posterior-superior", "LPS", "right-anterior-superior", "RAS"),
        *("left-anterior-superior", "LAS", "scanner-xyz", "3D-right-handed", "3D-left-handed"),
        *(
            None,
            None,
            None,
            "right-anterior-superior-time",
            "unheard-of",
            "Right-Anterior-Superior",
        ),
    ]
)
NRRD_TYPES = {
    "u1": "uchar", "i1": "signed char", "u2": "unsigned short", "i2": "int16", "i4": "int",
    "u4": "uint32_t", "i8": "long long int", "u8": "uint64", "f4": "float", "f8": "double",
}  # fmt: skip
KINDS = st.sampled_from(
    [
        None, None, "domain domain domain", "space space space", "??? ??? ???",
        "list space space space", "3-vector domain domain domain", "RGB-color space space space",
        "space space space vector", "domain domain domain list", "domain list domain domain",
        "domain domain domain time", "point space space space", "none space space space",
        "covariant-vector space space space", "3-normal space space space",
    ]
)  # fmt: skip


@st.composite
def nrrds(draw: st.DrawFn) -> Text:
    kinds = draw(KINDS)
    words = kinds.split() if kinds else ["domain"] * 3
    shape: list[int] = list(draw(sides))
    others = [
        axis for axis, kind in enumerate(words)
        if len(words) == 4 and kind not in ("domain", "space", "???")
    ]  # fmt: skip
    for axis in others:
        shape.insert(axis, 3)
    shape += draw(st.sampled_from([[], [], [], [1], [1, 1]])) if kinds is None else []
    dtype, space = draw(st.sampled_from(REAL)), draw(SPACES)
    order = draw(st.sampled_from("<>"))
    lines = [
        "NRRD0005",
        f"type: {NRRD_TYPES[dtype]}",
        f"dimension: {len(shape)}",
        f"sizes: {' '.join(map(str, shape))}",
        f"endian: {'little' if order == '<' else 'big'}",
    ]
    lines += [f"kinds: {kinds}"] if kinds else []
    in_space = draw(st.booleans()) if space is None else True
    if in_space:
        lines.append(f"space: {space}" if space else "space dimension: 3")
        if draw(st.booleans()) or draw(st.booleans()):
            vectors = [f"({','.join(str(draw(numbers)) for _ in range(3))})" for _ in range(3)]
            for axis in [*others, *range(3, len(shape) - len(others))]:
                vectors.insert(axis, "none")
            lines.append(f"space directions: {' '.join(vectors)}")
        if draw(st.booleans()):
            lines.append(f"space origin: ({','.join(str(draw(numbers)) for _ in range(3))})")
    else:
        steps = [str(draw(st.sampled_from([1, 2.5, 0.7, 3, -2]))) for _ in shape]
        lines += [f"spacings: {' '.join(steps)}"] if draw(st.booleans()) else []
        mins = [str(draw(numbers)) for _ in shape]
        lines += [f"axis mins: {' '.join(mins)}"] if draw(st.booleans()) else []
        where = draw(st.sampled_from(["cell", "node"]))
        lines += [f"centers: {' '.join([where] * len(shape))}"] if draw(st.booleans()) else []
    lines += ["# said by nobody", "key:=a: value"] if draw(st.booleans()) else []
    stored = values(draw(seeds), tuple(shape), dtype)
    raw = stored.astype(np.dtype(dtype).newbyteorder(order)).tobytes(order="F")
    encoding = draw(st.sampled_from(["raw", "raw", "gzip", "gz", "ascii", "hex", "bzip2"]))
    if encoding in ("gzip", "gz"):
        raw = gzip.compress(raw, 1)
    elif encoding == "ascii":
        raw = " ".join(map(repr, stored.ravel(order="F").tolist())).encode()
    elif encoding == "hex":
        raw = raw.hex().encode()
    skipped = draw(st.sampled_from([0, 0, 5])) if encoding == "raw" else 0
    lines += [f"encoding: {encoding}"] + ([f"byte skip: {skipped}"] if skipped else [])
    beside = draw(st.booleans())
    lines += ["data file: scan.bin"] if beside else []
    return Text(
        ".nhdr" if beside else ".nrrd", "\n".join(lines) + "\n\n", bytes(skipped) + raw, beside
    )


MET_TYPES = {
    "u1": "MET_UCHAR", "i1": "MET_CHAR", "u2": "MET_USHORT", "i2": "MET_SHORT", "i4": "MET_INT",
    "u4": "MET_UINT", "i8": "MET_LONG_LONG", "u8": "MET_ULONG_LONG", "f4": "MET_FLOAT",
    "f8": "MET_DOUBLE",
}  # fmt: skip


@st.composite
def metaimages(draw: st.DrawFn) -> Text:
    shape = (*draw(sides), *draw(st.sampled_from([(), (), (), (1,), (3,), (1, 1), (2, 2)])))
    dims, channels = len(shape), draw(st.sampled_from([1, 1, 1, 2, 3]))
    dtype, order = draw(st.sampled_from(REAL)), draw(st.sampled_from("<>"))
    kind = {"i4": "MET_LONG", "u4": "MET_ULONG"} if draw(st.booleans()) else MET_TYPES
    said: dict[str, Any] = {"ObjectType": "Image", "NDims": dims, "BinaryData": "True"}
    msb = draw(st.sampled_from(["BinaryDataByteOrderMSB", "ElementByteOrderMSB"]))
    said[msb] = draw(st.sampled_from([["False", "false"], ["True", "T"]][order == ">"]))
    if draw(st.booleans()):
        matrix = np.eye(dims)
        matrix[:3, :3] = [[draw(numbers) for _ in range(3)] for _ in range(3)]
        name = draw(st.sampled_from(["TransformMatrix", "Rotation", "Orientation"]))
        said[name] = " ".join(map(str, matrix.ravel().tolist()))
    if draw(st.booleans()):
        name = draw(st.sampled_from(["Offset", "Position", "Origin"]))
        said[name] = " ".join(str(draw(numbers)) for _ in range(dims))
    for name in draw(st.sampled_from([[], ["ElementSpacing"], ["ElementSize"]] * 2 + [
        ["ElementSpacing", "ElementSize"]
    ])):  # fmt: skip
        steps = [draw(st.sampled_from([1, 2.5, 0.7, -2])) for _ in range(dims)]
        said[name] = " ".join(map(str, steps))
    said["AnatomicalOrientation"] = draw(st.sampled_from(["RAI", "LPS", "???"]))
    said["DimSize"] = " ".join(map(str, shape))
    if channels > 1:
        said["ElementNumberOfChannels"] = channels
    said["ElementType"] = kind.get(dtype, MET_TYPES[dtype])
    stored = values(draw(seeds), (channels, *shape), dtype)
    raw = stored.astype(np.dtype(dtype).newbyteorder(order)).tobytes(order="F")
    beside = draw(st.booleans())
    if draw(st.booleans()):
        raw = zlib.compress(raw, 1)
        said["CompressedData"] = "True"
        if not beside or draw(st.booleans()):
            said["CompressedDataSize"] = len(raw)
    elif beside and draw(st.booleans()):
        raw = bytes(5) + raw
        said["HeaderSize"] = draw(st.sampled_from([5, -1]))
    said["ElementDataFile"] = "scan.bin" if beside else draw(st.sampled_from(["LOCAL", "local"]))
    between = draw(st.sampled_from([" = ", "=", " : "]))
    lines = [f"{name}{between}{value}\n" for name, value in said.items()]
    lines[-1] = f"ElementDataFile = {said['ElementDataFile']}\n"
    return Text(".mhd" if beside else ".mha", "".join(lines), raw, beside)


def write_text(folder: Path, drawn: Text) -> Path:
    path = folder / f"scan{drawn.suffix}"
    path.write_bytes(drawn.text.encode() + (b"" if drawn.beside else drawn.voxels))
    (folder / "scan.bin").write_bytes(drawn.voxels if drawn.beside else b"")
    return path


@few_or_many(15, 300)
def test_nrrd_is_read_as_itk_reads_it(tmp_path: Path, examples: int) -> None:
    def compare(tally: Tally, drawn: Text) -> None:
        path = write_text(tmp_path, drawn)
        tally.compare(path, as_itk_reads(path, "NrrdImageIO"))

    check_all(nrrds(), examples, compare)


@few_or_many(10, 200)
def test_metaimage_is_read_as_itk_reads_it(tmp_path: Path, examples: int) -> None:
    def compare(tally: Tally, drawn: Text) -> None:
        path = write_text(tmp_path, drawn)
        tally.compare(path, as_itk_reads(path, "MetaImageIO"))

    check_all(metaimages(), examples, compare)


# --- DICOM


@dataclass(frozen=True)
class Series:
    """Slices of a folder: for each what `write_slice` takes.

    Attributes:
        sound: whether they are one stack.
        tilted: whether the way from slice to slice is askew, as with a tilted gantry.
    """

    slices: list[dict[str, Any]]
    seed: int
    dtype: str
    sound: bool
    tilted: bool


@st.composite
def dicoms(draw: st.DrawFn) -> Series:
    count, shape = draw(st.integers(4, 6)), draw(st.tuples(st.integers(4, 6), st.integers(4, 6)))
    angles = [draw(st.floats(-1.5, 1.5)) for _ in range(3)]
    turned = _turned(*angles) if draw(st.booleans()) else np.eye(3)
    corner = np.array([draw(numbers) * 40 for _ in range(3)])
    tilt = draw(st.sampled_from([0.0, 0.0, 0.3]))
    step = (turned[:, 2] + tilt * turned[:, 1]) * draw(st.sampled_from([0.8, 2.0, -3.0]))
    spacing = draw(st.tuples(*[st.sampled_from([0.5, 1.0, 1.7])] * 2))
    own = draw(st.booleans())
    scales = st.tuples(
        st.sampled_from([1.0, 2.0, 0.5, 0.00371, -1.5, 1000.0]),
        st.sampled_from([0.0, -1024.0, 0.25]),
    )
    common = draw(st.none() | scales)
    slices = [
        {
            "origin": tuple(corner + z * step),
            "orientation": tuple(turned[:, :2].T.ravel()),
            "spacing": spacing,
            "scale": draw(scales) if own else common,
            "shape": shape,
        }
        for z in range(count)
    ]
    trouble = draw(st.sampled_from([None] * 6 + list(TROUBLES)))
    which = draw(st.integers(1, count - 2))
    if trouble is not None:
        trouble(slices, which, step)
    order = draw(st.permutations(range(len(slices))))
    return Series(
        [slices[z] for z in order], draw(seeds), draw(st.sampled_from(["i2", "u2", "u1"])),
        trouble is None, tilt != 0,
    )  # fmt: skip


def _turned(a: float, b: float, c: float) -> Array:
    one = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    two = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    three = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    return np.asarray(one @ two @ three)


Slices = list[dict[str, Any]]


def _other_orientation(slices: Slices, which: int, _: Array) -> None:
    along = slices[which]["orientation"]
    slices[which]["orientation"] = (*along[3:], *along[:3])


def _other_spacing(slices: Slices, which: int, _: Array) -> None:
    between, along = slices[which]["spacing"]
    slices[which]["spacing"] = (between, along * 1.1)


def _gap(slices: Slices, which: int, step: Array) -> None:
    for later in slices[which:]:
        later["origin"] = tuple(np.add(later["origin"], step))


def _duplicate(slices: Slices, which: int, _: Array) -> None:
    slices.append(dict(slices[which]))


def _other_series(slices: Slices, which: int, _: Array) -> None:
    slices[which]["series"] = "1.2.4"


def _other_size(slices: Slices, which: int, _: Array) -> None:
    rows, columns = slices[which]["shape"]
    slices[which]["shape"] = (rows + 1, columns)


def _radial(slices: Slices, _: int, __: Array) -> None:
    for number, each in enumerate(slices):
        each["orientation"] = tuple(_turned(0.2 * number, 0, 0)[:, [0, 2]].T.ravel())
        each["origin"] = slices[0]["origin"]


def _no_place(slices: Slices, which: int, _: Array) -> None:
    slices[which]["ImagePositionPatient"] = None


TROUBLES = (
    _other_orientation, _other_spacing, _gap, _duplicate, _other_series, _other_size, _radial,
    _no_place,
)  # fmt: skip
"""What makes slices something else than one stack."""


def write_series_of(folder: Path, drawn: Series) -> None:
    rng = np.random.default_rng(drawn.seed)
    for number, each in enumerate(drawn.slices):
        bounds = np.iinfo(drawn.dtype)
        said = dict(each)
        stored = rng.integers(bounds.min, bounds.max, said.pop("shape"), drawn.dtype, endpoint=True)
        write_slice(folder / f"{number}.dcm", stored, **said)


def as_pydicom_reads(folder: Path) -> Known:
    """Return the volume of a sound series, by pydicom and the equations of DICOM (C.7.6.2.1.1)."""
    found = [pydicom.dcmread(path) for path in folder.iterdir()]
    row, column = np.array(found[0].ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(row, column)
    found.sort(key=lambda each: float(np.dot(np.array(each.ImagePositionPatient, float), normal)))
    first, last = (np.array(found[end].ImagePositionPatient, float) for end in (0, -1))
    between, along = map(float, found[0].PixelSpacing)
    affine = np.eye(4)
    step = (last - first) / (len(found) - 1)
    affine[:3] = np.stack([row * along, column * between, step, first], axis=1)
    true = np.stack([apply_rescale(each.pixel_array, each) for each in found])
    return Known(true.transpose(2, 1, 0)[None], np.diag([-1.0, -1, 1, 1]) @ affine)


@few_or_many(10, 150)
def test_dicom_is_read_as_pydicom_reads_it(tmp_path: Path, examples: int) -> None:
    """And as ITK does, but where scales differ, and where it drops the shear of a tilted gantry."""
    folders = (tmp_path / str(number) / "scan" for number in range(10**6))

    def compare(tally: Tally, drawn: Series) -> None:
        folder = next(folders)
        write_series_of(folder, drawn)
        known = as_pydicom_reads(folder) if drawn.sound else None
        tally.compare(folder, known, exact=False)
        if drawn.sound and not drawn.tilted and len({each["scale"] for each in drawn.slices}) == 1:
            names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
            image = sitk.ReadImage(names, imageIO="GDCMImageIO")
            header, read = read_volume(folder)
            np.testing.assert_array_equal(read[0].numpy(), _single(sitk.GetArrayFromImage(image).T))
            lps = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
            shown = np.diag([-1, -1, 1]) @ lps
            np.testing.assert_allclose(header.affine[:3, :3], shown, atol=1e-4)

    check_all(dicoms(), examples, compare)
