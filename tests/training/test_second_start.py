"""A second start opens no file of the data again: sizes, dates and inode numbers decide."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from ssl_registry.data.cache.kept_facts import KeptFacts
from ssl_registry.data.sources import file_hashes
from ssl_registry.data.sources.cases import Case, FileCase
from ssl_registry.data.sources.layouts import Reading
from ssl_registry.data.sources.opening import open_source
from ssl_registry.errors import DataError
from ssl_registry.training.preparation.cases import open_split, quiet_or_loud
from ssl_registry.training.settings.runs import PretrainSettings
from tests.commands import run_command
from tests.cubes import PRETRAIN, write_decathlon
from tests.layouts import (
    GRADED,
    SEGMENTED,
    UNLABELLED,
    Writer,
    masks,
    masks_of_pictures,
    pattern,
    table_of_maps,
)
from tests.opened_files import opened_in

LISTS = (".json", ".csv", ".npz")
"""What is read at every start: lists, and of an archive the classes."""

QUIET = quiet_or_loud(quiet=True)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_REGISTRY_CACHE", str(tmp_path / "cache"))


def start(folder: Path, dims: Literal[2, 3] = 3, **fields: Any) -> tuple[list[str], list[str]]:
    """Open data as a run does; return the images and label maps that were opened, and decoded."""
    decoded: list[str] = []
    said = {key: value for key, value in PRETRAIN.items() if key not in ("quiet", "backbone")}
    named = {"data": str(folder), "task": f"rotation{dims}d", "out": folder.parent / "out"}
    settings = PretrainSettings(**{**said, **named, **fields})
    with pytest.MonkeyPatch.context() as patch, opened_in(folder) as opened:
        read = Case.read

        def note(self: Case) -> Any:
            decoded.append(self.name)
            return read(self)

        patch.setattr(Case, "read", note)
        open_split(settings, dims, QUIET)
    return [path for path in opened if not path.endswith(LISTS)], decoded


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take files for untouched as soon as they are written."""
    monkeypatch.setattr(file_hashes, "SETTLED", 0)


@pytest.fixture
def data(tmp_path: Path, settled: None) -> Path:
    return write_decathlon(tmp_path / "data", range(6))


def test_nothing_is_opened_again(data: Path) -> None:
    opened, decoded = start(data)
    assert len(set(opened)) == 12
    assert len(decoded) == 6
    assert start(data) == ([], [])


ALL: list[Any] = [
    pytest.param(dims, writer, id=f"{name}-{dims}d")
    for layouts in (UNLABELLED, SEGMENTED, GRADED)
    for dims, writers in layouts.items()
    for name, writer in writers.items()
]


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(("dims", "writer"), ALL)
def test_no_layout_opens_anything_again(
    dims: Literal[2, 3], writer: Writer, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    said = writer(folder, range(6)) | {"backbone": f"unet{dims}d"}
    looked_at = {**said, "folder": folder, "dims": dims}
    assert start(**looked_at)[1]
    assert start(**looked_at) == ([], [])
    archive = said["data"].endswith(".npz")
    assert start(**looked_at, verify=True)[0] or archive


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("writer", [masks, masks_of_pictures, pattern, table_of_maps])
def test_a_label_map_that_changed_is_known_by_its_new_values(
    writer: Writer, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    said = writer(folder, range(3))
    reading = Reading(channels=tuple(said.get("channels", ())), label_maps=said.get("label_maps"))
    with opened_in(folder) as opened:
        one = 255 if writer is masks_of_pictures else 1
        for values, looks in (({0, one}, 3), ({0, one}, 0), ({0, one, 2}, 1)):
            opened.clear()
            source = open_source(said["data"], reading=reading, facts=KeptFacts())
            assert set(source.labels) == values
            marks = {c.label for c in source.cases if isinstance(c, FileCase) and c.label}
            assert len({path for path in opened if Path(path) in marks}) == looks
            if looks == 0:
                _relabel(sorted(marks)[1])


def _relabel(path: Path) -> None:
    """Give the first voxel of a label map, or pixel of a mask, the value 2."""
    if path.suffix == ".png":
        values = np.array(Image.open(path))
        values.flat[0] = 2
        Image.fromarray(values).save(path)
        return
    image = SimpleITK.ReadImage(str(path))
    image[0, 0, 0] = 2
    SimpleITK.WriteImage(image, str(path))


@pytest.mark.usefixtures("settled")
def test_a_check_opens_nothing_again_unless_it_is_to_verify(tmp_path: Path) -> None:
    for dims, writer in ((3, masks), (2, masks_of_pictures)):
        folder = tmp_path / f"{dims}d"
        folder.mkdir()
        said = writer(folder, range(4)) | {"backbone": f"unet{dims}d"}
        start(folder=folder, dims=dims, **said)
        for words, looks in ((), False), (("--verify",), True):
            with opened_in(folder) as opened:
                run_command("check", folder, *words)
            assert bool(opened) == looks


def test_a_file_that_changed_is_opened_alone(data: Path) -> None:
    start(data)
    path = data / "imagesTr" / "c02.nii.gz"
    there = nib.load(path)
    nib.save(nib.Nifti1Image(np.asanyarray(there.dataobj)[::-1], there.affine), path)
    opened, decoded = start(data)
    assert {Path(file).name for file in opened} == {"c02.nii.gz"}
    assert decoded == ["c02"]


def test_verify_opens_all_and_decodes_none_that_is_the_same(data: Path) -> None:
    start(data)
    opened, decoded = start(data, verify=True)
    assert len(set(opened)) == 12
    assert decoded == []


def test_headers_that_are_kept_are_compared_with_one_another(data: Path) -> None:
    """A scan of another number of channels is refused in the second start as in the first."""
    path = data / "imagesTr" / "c04.nii.gz"
    scan = np.random.default_rng(0).normal(size=(12, 12, 12, 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(scan, nib.load(path).affine), path)
    for _ in range(2):
        with pytest.raises(DataError, match="channel"):
            start(data)


@pytest.mark.long
def test_ten_thousand_files_start_again_without_being_opened(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    folder, count = tmp_path / "scans", 10_000
    folder.mkdir()
    scan = nib.Nifti1Image(np.zeros((6, 6, 6), np.uint8), np.eye(4))
    head, random = scan.to_bytes()[:352], np.random.default_rng(0)
    for number in range(count):
        (folder / f"c{number:06}.nii").write_bytes(head + random.bytes(216))
    time.sleep(file_hashes.SETTLED)
    opened, decoded = start(folder)
    assert len(set(opened)) == len(decoded) == count
    began = time.process_time()
    assert start(folder) == ([], [])
    record_property("processor seconds of the second start", time.process_time() - began)
