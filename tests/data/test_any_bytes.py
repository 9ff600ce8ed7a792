"""Properties of the readers: whatever the bytes, an image or one error that names the file."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ssl_registry.data.formats.limits import VARIABLE
from ssl_registry.data.formats.pictures import read_picture
from ssl_registry.data.formats.volumes import read_volume
from ssl_registry.data.sources.opening import open_source
from ssl_registry.errors import BadFileError, SslRegistryError
from tests.data.corpus import nifti
from tests.data.corpus.archives import npz
from tests.data.corpus.compressed import PACKED
from tests.data.corpus.other_volumes import meta, nrrd
from tests.volumes import noise, write_series

MOST = 100_000
"""Voxels that an image may have here."""


@pytest.fixture(scope="module", autouse=True)
def small_images() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(MOST))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bytes")


def changes(length: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Draw places and the values that they get."""
    return st.lists(st.tuples(st.integers(0, length - 1), st.integers(0, 255)), max_size=6)


def changed(content: bytes, places: list[tuple[int, int]], end: int) -> bytes:
    made = bytearray(content)
    for place, value in places:
        made[place] = value
    return bytes(made[: len(made) - end])


def check_volume(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        header, voxels = read_volume(path)
    except BadFileError as error:
        assert path.name in str(error)  # noqa: PT017
    else:
        assert (header.channels, *header.shape) == voxels.shape
        assert voxels.numel() <= MOST


VERSIONS = {1: nifti.whole(), 2: nifti.whole(nib.Nifti2Header), 3: nifti.whole(order=">")}


@given(version=st.sampled_from([1, 2, 3]), places=changes(540), end=st.integers(0, 30))
@settings(max_examples=300)
def test_a_nifti_header_of_any_bytes(
    folder: Path, version: int, places: list[tuple[int, int]], end: int
) -> None:
    check_volume(folder / "a.nii", changed(VERSIONS[version], places, end))


@given(places=changes(len(PACKED)), end=st.integers(0, 30))
def test_a_compressed_stream_of_any_bytes(
    folder: Path, places: list[tuple[int, int]], end: int
) -> None:
    check_volume(folder / "a.nii.gz", changed(PACKED, places, end))


WORDS = st.text(max_size=12) | st.sampled_from(
    [
        *[
            "8 8 8",
            "8 8 8 1",
            "0",
            "-1",
            "1e9",
            "nan",
            "inf",
            "99999999999999999999",
            "3",
            "4",
            "8",
        ],
        *["(1,0,0)", "none", "raw", "gzip", "big", "float", "MET_FLOAT", "True", "LOCAL", "LIST"],
    ]
)

NRRD = st.sampled_from(
    [
        *["type", "dimension", "sizes", "space", "space directions", "kinds", "endian", "encoding"],
        *["space origin", "spacings", "data file", "byte skip", "note"],
    ]
)

META = st.sampled_from(
    [
        *["NDims", "DimSize", "ElementType", "ElementSpacing", "TransformMatrix", "Offset"],
        *["CompressedData", "BinaryData", "ElementDataFile", "ElementNumberOfChannels"],
        *["HeaderSize", "Comment"],
    ]
)


def as_text(fields: dict[str, str]) -> dict[str, str]:
    """Return the fields without what cannot be written to a file."""
    return {name: value.encode("utf-8", "replace").decode() for name, value in fields.items()}


@given(fields=st.dictionaries(NRRD, WORDS, max_size=3))
@settings(max_examples=200)
def test_an_nrrd_header_of_any_fields(folder: Path, fields: dict[str, str]) -> None:
    check_volume(folder / "a.nrrd", nrrd(**as_text(fields)))


@given(fields=st.dictionaries(META, WORDS, max_size=3))
@settings(max_examples=200)
def test_a_metaimage_header_of_any_fields(folder: Path, fields: dict[str, str]) -> None:
    check_volume(folder / "a.mha", meta(**as_text(fields)))


@pytest.fixture(scope="module")
def slices(folder: Path) -> dict[Path, bytes]:
    series = write_series(folder / "series", noise(16, 16, 5))
    return {path: path.read_bytes() for path in sorted(series.iterdir())}


@given(places=changes(700), end=st.integers(0, 30))
def test_a_dicom_slice_of_any_bytes(
    slices: dict[Path, bytes], places: list[tuple[int, int]], end: int
) -> None:
    path, content = list(slices.items())[2]
    try:
        path.write_bytes(changed(content, places, end))
        header, voxels = read_volume(path.parent)
    except BadFileError as error:
        assert path.parent.name in str(error)  # noqa: PT017
    else:
        assert (header.channels, *header.shape) == voxels.shape


def picture(kind: str) -> bytes:
    content = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    Image.fromarray(noise).save(content, kind)
    return content.getvalue()


PICTURES = {"png": picture("PNG"), "jpg": picture("JPEG"), "tif": picture("TIFF")}


@given(suffix=st.sampled_from(sorted(PICTURES)), places=changes(300), end=st.integers(0, 50))
@settings(max_examples=200)
def test_a_picture_of_any_bytes(
    folder: Path, suffix: str, places: list[tuple[int, int]], end: int
) -> None:
    path = folder / f"a.{suffix}"
    path.write_bytes(changed(PICTURES[suffix], places, end))
    try:
        read_picture(path)
    except BadFileError as error:
        assert path.name in str(error)  # noqa: PT017


def check_source(path: Path) -> None:
    try:
        assert open_source(path).cases
    except SslRegistryError as error:
        assert str(path) in str(error) or str(path.parent) in str(error)  # noqa: PT017


ARCHIVE = npz()


@given(places=changes(len(ARCHIVE)), end=st.integers(0, 200))
def test_an_archive_of_any_bytes(folder: Path, places: list[tuple[int, int]], end: int) -> None:
    path = folder / "archive" / "a.npz"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(changed(ARCHIVE, places, end))
    check_source(path)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["imagesTr/a.nii", "../a.nii", "/etc/passwd", "."]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["image", "label", "0", "1", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(summary=st.dictionaries(st.sampled_from(["training", "test", "labels", "modality"]), JSON))
@settings(max_examples=200)
def test_a_summary_that_says_anything(folder: Path, summary: dict[str, object]) -> None:
    data = folder / "decathlon"
    (data / "imagesTr").mkdir(parents=True, exist_ok=True)
    (data / "imagesTr" / "a.nii").write_bytes(nifti.whole())
    (data / "dataset.json").write_text(json.dumps(summary))
    check_source(data)


CELLS = st.text(max_size=5) | st.sampled_from(["id_code", "a", "b", "0", "1", "nan", "../a"])


@given(
    rows=st.lists(st.lists(CELLS, max_size=3).map(",".join), max_size=4).map("\n".join),
    named=st.booleans(),
)
@settings(max_examples=200)
def test_a_table_of_any_text(folder: Path, rows: str, named: bool) -> None:
    data = folder / "table"
    (data / "images").mkdir(parents=True, exist_ok=True)
    for name in ("a", "b"):
        (data / "images" / f"{name}.png").write_bytes(PICTURES["png"])
    content = f"id_code,diagnosis\n{rows}" if named else rows
    (data / "train.csv").write_bytes(content.encode("utf-8", "surrogatepass"))
    check_source(data / "train.csv")
