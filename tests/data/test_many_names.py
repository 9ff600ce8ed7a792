"""Twice as many files take twice the work: nothing looks at all names for each of them."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ssl_registry.data.sources.opening import open_source
from ssl_registry.training.preparation.cases import open_split, quiet_or_loud
from ssl_registry.training.settings.runs import PretrainSettings
from tests.layouts import (
    Writer,
    aptos,
    bids,
    classes_of_pictures,
    decathlon,
    masks,
    nnunet,
    pattern,
    pictures,
    table_of_maps,
)
from tests.lines import lines_run


def with_notes(folder: Path, numbers: Any) -> dict[str, Any]:
    """Write BIDS, and beside each scan the file that describes it, and one that nobody knows."""
    said = bids(folder, numbers)
    for scan in list(folder.rglob("*.nii.gz")):
        for name in (scan.name.replace(".nii.gz", ".json"), "notes.txt"):
            (scan.parent / name).write_text("{}")
    return said


@pytest.mark.parametrize(
    "writer",
    [with_notes, decathlon, nnunet, masks, pattern, table_of_maps, pictures, aptos,
     classes_of_pictures],
)  # fmt: skip
def test_a_start_takes_work_in_proportion_to_the_files(
    writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = writer in (pictures, aptos, classes_of_pictures)
    dims = 2 if flat else 3
    counts = []
    for number in (8, 32):
        folder = tmp_path / str(number)
        folder.mkdir()
        # A cache of its own: what another test has met of these contents would spare work here.
        monkeypatch.setenv("SSL_REGISTRY_CACHE", str(tmp_path / f"cache{number}"))
        said = writer(folder, range(number))
        settings = PretrainSettings(
            task=f"rotation{dims}d", backbone=f"unet{dims}d", size=16, out=tmp_path / "out", **said
        )  # type: ignore[arg-type]
        counts.append(lines_run(partial(open_split, settings, dims, quiet_or_loud(quiet=True))))
    assert counts[1] < 1.1 * 4 * counts[0]


def test_a_tree_of_many_folders_is_looked_through_once(tmp_path: Path) -> None:
    counts = []
    for number in (50, 400):
        root = tmp_path / str(number)
        for patient in range(number):
            (root / f"P{patient}").mkdir(parents=True)
            for name in ("scan.nii", "notes.txt"):
                (root / f"P{patient}" / name).touch()
        counts.append(lines_run(partial(open_source, root)))
    assert counts[1] < 1.1 * 8 * counts[0]
