"""Whatever layout, format and name it comes in: what an encoder has seen is no test case of it."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

import pytest

from ssl_registry import finetune, pretrain
from ssl_registry.data.sources.contents import contents_of
from ssl_registry.data.sources.layouts import Reading
from ssl_registry.data.sources.opening import open_source
from ssl_registry.errors import ConfigError
from ssl_registry.training.files.case_table import read_cases
from tests.cubes import RUN
from tests.layouts import GRADED, SEGMENTED, UNLABELLED, Settings, Writer, pictures, scans

Dims: TypeAlias = Literal[2, 3]

SEEN: Final = [4, 0, 1, 5, 2, 3, 60, 61, 62]
"""What is pretrained on; of an archive every third image, the first of them first, is to train."""

LATER: Final = [4, 5, 50, *range(51, 57)]
"""What is labelled later: two images that were seen, and new ones."""

EVERY: Final[Mapping[Dims, Mapping[str, Writer]]] = {
    dims: {
        f"{name} ({kind})": writer
        for kind, layouts in (("bare", UNLABELLED), ("maps", SEGMENTED), ("grades", GRADED))
        for name, writer in layouts[dims].items()
    }
    for dims in get_args(Dims)
}

LABELLED: Final = {
    dims: [name for name in writers if "bare" not in name] for dims, writers in EVERY.items()
}


class Data:
    """Images in a layout, in a folder of their own."""

    def __init__(self, folder: Path, dims: Dims, layout: str, numbers: list[int]) -> None:
        folder.mkdir()
        self.layout, self.dims, self.folder = layout, dims, folder
        self.said: Settings = EVERY[dims][layout](folder, numbers)
        shown = _names_of(self.said, dims)
        known = _voxels_of(folder.with_name(f"{folder.name}-again"), dims, numbers)
        self.names = {number: shown[known[number]] for number in numbers}

    def encoder(self, **more: Path) -> Path:
        """Return an encoder pretrained on all of it but what a file holds out."""
        net = {} if "encoder" in more else {"backbone": _net(self.dims)}
        return pretrain(
            **_run(self.dims), **self.said, **more, **net, test_fraction=0, validation_fraction=0,
            task=f"rotation{self.dims}d",
            out=self.folder.with_name(f"{self.folder.name}-encoder"),
        ).folder  # fmt: skip

    def tests(self, *numbers: int) -> Path:
        """Return a file that makes these images the test cases."""
        path = self.folder.with_name(f"{self.folder.name}-tests-{len(numbers)}.txt")
        path.write_text("".join(f"{self.names[number]}\n" for number in numbers))
        return path

    def tune(self, encoder: Path, test_cases: Path, out: str) -> Path:
        """Fine-tune an encoder, and return the folder of the run."""
        task = "segmentation" if "maps" in self.layout else "classification"
        return finetune(
            **_run(self.dims), **self.said, downstream=f"{task}{self.dims}d", encoder=encoder,
            test_cases=test_cases, validation_fraction=0, augment="none",
            out=self.folder.with_name(out),
        ).folder  # fmt: skip


def _run(dims: Dims) -> dict[str, Any]:
    return {**RUN, "size": 8 if dims == 3 else 16}


def _net(dims: Dims) -> dict[str, Any]:
    return {"name": f"unet{dims}d", "base_filters": 2, "levels": 2}


def _names_of(said: Settings, dims: Dims) -> dict[str, str]:
    """Return what each image is called, by its voxels."""
    reading = Reading(channels=tuple(said.get("channels", ())), label_maps=said.get("label_maps"))
    cases = open_source(said["data"], dims, reading=reading).cases
    return {contents_of(case.read()).voxels: case.name for case in cases}


def _voxels_of(folder: Path, dims: Dims, numbers: list[int]) -> dict[int, str]:
    """Return the voxels of images by their numbers, from files that are called by them."""
    folder.mkdir()
    write = scans if dims == 3 else pictures
    shown = _names_of(write(folder, numbers), dims)
    return {int("".join(filter(str.isdigit, name))): voxels for voxels, name in shown.items()}


def refuse(later: Data, encoder: Path, seen: Data) -> None:
    """See that fine-tuning refuses the two test cases that were seen, by both of their names."""
    with pytest.raises(ConfigError, match="^2 of the test cases were used") as refusal:
        later.tune(encoder, later.tests(4, 5, 50), "refused")
    said = str(refusal.value)
    for number in (4, 5):
        now, then = later.names[number], seen.names[number]
        assert (f"{now} (as {then})" if now != then else now) in said
    assert later.names[50] not in said
    assert not later.folder.with_name("refused").exists()


def data_of(tmp_path: Path, dims: Dims, seen: str, later: str) -> tuple[Data, Data]:
    return (
        Data(tmp_path / "seen", dims, seen, SEEN),
        Data(tmp_path / "later", dims, later, LATER),
    )


PAIRS: Final = [
    (dims, one, other)
    for dims in get_args(Dims)
    for one, other in pairwise([*EVERY[dims], LABELLED[dims][0]])
    if other in LABELLED[dims]
]
"""Each layout once as the one that was seen, and once as the one that comes later."""


@pytest.mark.parametrize(("dims", "seen", "later"), PAIRS)
def test_what_was_seen_in_a_layout_is_known_in_another(
    tmp_path: Path, dims: Dims, seen: str, later: str
) -> None:
    before, after = data_of(tmp_path, dims, seen, later)
    refuse(after, before.encoder(), before)


@pytest.mark.long
@pytest.mark.parametrize("seen", EVERY[3])
def test_what_was_seen_in_any_layout_is_known_in_every_other(tmp_path: Path, seen: str) -> None:
    before = Data(tmp_path / "seen", 3, seen, SEEN)
    encoder = before.encoder()
    for number, layout in enumerate(LABELLED[3]):
        refuse(Data(tmp_path / f"later-{number}", 3, layout, LATER), encoder, before)


CHAINS: Final = [
    (3, "bids (bare)", "nnunet (maps)", "medmnist (grades)"),
    (3, "medmnist (grades)", "pattern (maps)", "table of grades (grades)"),
    (2, "images (bare)", "table of maps (maps)", "aptos (grades)"),
]


@pytest.mark.parametrize(("dims", "first", "between", "last"), CHAINS)
def test_a_chain_through_layouts_forgets_nothing(
    tmp_path: Path, dims: Dims, first: str, between: str, last: str
) -> None:
    before, after = data_of(tmp_path, dims, first, last)
    other = Data(tmp_path / "between", dims, between, list(range(70, 79)))
    chain = other.tune(before.encoder(), other.tests(70, 71), "chain")
    refuse(after, chain, before)


def test_pretraining_that_goes_on_from_an_encoder_forgets_nothing(tmp_path: Path) -> None:
    before, after = data_of(tmp_path, 3, "series (bare)", "decathlon (maps)")
    other = Data(tmp_path / "between", 3, "images (bare)", list(range(70, 74)))
    refuse(after, other.encoder(encoder=before.encoder()), before)


@pytest.mark.parametrize("by", ["test_cases", "split"])
def test_what_a_file_held_out_of_pretraining_may_be_scored(tmp_path: Path, by: str) -> None:
    """And what it did not is refused."""
    before, after = data_of(tmp_path, 3, "nnunet (maps)", "masks (maps)")
    file = before.tests(4, 5)
    if by == "split":
        rows = "".join(f"{name},test\n" for name in file.read_text().split())
        file = file.with_suffix(".csv")
        file.write_text(f"case,part\n{rows}")
    encoder = before.encoder(**{by: file})
    rows_of_run = {row.case: row.part for row in read_cases(encoder)}
    assert [rows_of_run[before.names[number]] for number in (4, 5, 0)] == ["test", "test", "train"]
    assert (after.tune(encoder, after.tests(4, 5, 50), "scored") / "result.json").is_file()
    others = Data(tmp_path / "others", 3, "pattern (maps)", [0, 4, *range(51, 57)])
    with pytest.raises(ConfigError, match="^1 of the test cases were used") as refusal:
        others.tune(encoder, others.tests(0, 4), "refused")
    assert others.names[0] in str(refusal.value)
