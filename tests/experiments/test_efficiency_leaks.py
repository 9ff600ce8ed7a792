"""Leaks: a data set whose test cases would betray them, for their content is another's.

Everything up to the test score has to come out the same, bit for bit, whatever the test
images show and the test labels say; and pretraining, whatever any label says.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from ssl_registry import pretrain
from ssl_registry.data.sources.phantoms import write_phantoms
from ssl_registry.experiments.grid.cells import make_grid
from ssl_registry.training.preparation.cases import quiet_or_loud
from tests.experiments.curves import digest, folders, result, results, run, settings

SCANS: dict[str, Any] = {"labelled": [2], "seeds": [0]}
PICTURES: dict[str, Any] = {
    "tasks": ["rotation2d"],
    "downstream": "classification2d",
    "backbone": {"name": "unet2d", "base_filters": 2, "levels": 3},
    "labelled": [4],
    "seeds": [0],
}


def write_archive(path: Path, betray: bool, mislabel: bool = False) -> Path:
    """Write a MedMNIST archive.

    `betray` gives the test part other images and other classes; `mislabel` gives all images
    other classes.
    """
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in {"train": 8, "val": 4, "test": 6}.items():
        grades = np.arange(count).reshape(-1, 1) % 2
        noise = rng.integers(0, 60, (count, 28, 28))
        noise[:, 8:20, 8:20] += 100 * grades[:, :, None]  # what there is to learn
        if betray and part == "test":
            noise, grades = 255 - noise, 1 - grades
        grades = 1 - grades if mislabel else grades
        arrays |= {f"{part}_images": noise.astype(np.uint8), f"{part}_labels": grades}
    np.savez(path, **arrays)
    return path


def betray(scans: Path, names: list[str]) -> None:
    """Give the test cases other images, brighter by far, and other labels."""
    for name in names:
        for part in ("imagesTr", "labelsTr"):
            path = scans / part / f"{name}.nii.gz"
            there = nib.load(path)
            values = np.asanyarray(there.dataobj)
            other = values[::-1] * 7 + 1000 if part == "imagesTr" else (values > 0) * 4
            nib.save(nib.Nifti1Image(other.astype(values.dtype), there.affine), path)


def traces(out: Path) -> dict[str, Any]:
    """All that training leaves behind, but for the test score."""
    kept = {}
    for folder in folders(out):
        said = result(folder)
        name = str(folder.relative_to(out))
        kept[name] = {
            "weights": digest(folder / "encoder.safetensors"),
            "metrics": (folder / "metrics.csv").read_text(),
            "started_from": said.get("started_from"),
            "trained_on": said.get("trained_on"),
            "selected": said.get("selected"),
            "last": said["metrics"],
        }
    return kept


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Two experiments each on scans and on pictures: the second on betrayed test cases."""
    made = tmp_path_factory.mktemp("leaks")
    honest = write_phantoms(made / "honest" / "scans", 10, side=24)
    run(made / "scans", data=str(honest), **SCANS)
    tested = list(result(folders(made / "scans", "runs")[0])["cases"])
    other = Path(shutil.copytree(honest, made / "betrayed" / "scans"))
    betray(other, tested)
    run(made / "scans betrayed", data=str(other), **SCANS)

    for name in ("pictures", "pictures betrayed"):
        archive = write_archive(made / f"{name}.npz", betray="betrayed" in name)
        run(made / name, data=str(archive), **PICTURES)
    return {kind: (made / kind, made / f"{kind} betrayed") for kind in ("scans", "pictures")}


@pytest.mark.parametrize("kind", ["scans", "pictures"])
def test_nothing_but_the_test_score_knows_the_test_cases(
    pairs: dict[str, tuple[Path, Path]], kind: str
) -> None:
    honest, betrayed = pairs[kind]
    assert traces(honest) == traces(betrayed)
    assert len(traces(honest)) == {"scans": 5, "pictures": 3}[kind]


@pytest.mark.parametrize("kind", ["scans", "pictures"])
def test_the_test_score_does_know_them(pairs: dict[str, tuple[Path, Path]], kind: str) -> None:
    headline = {"scans": "dice", "pictures": "accuracy"}[kind]
    honest, betrayed = (results(out) for out in pairs[kind])
    for one, other in zip(honest, betrayed, strict=True):
        assert one[headline] != other[headline]


def test_no_test_case_is_among_what_pretraining_or_fine_tuning_saw(
    pairs: dict[str, tuple[Path, Path]],
) -> None:
    for honest, _ in pairs.values():
        cells = [result(folder) for folder in folders(honest, "runs")]
        (tested,) = {frozenset(cell["cases"]) for cell in cells}
        assert not any(tested & set(cell["trained_on"]) for cell in cells)
        for folder in folders(honest, "pretrain"):
            seen = json.loads((folder / "encoder.json").read_text())["data"]
            assert tested < set(seen["held_out"])


def encoder_of(out: Path, data: Path, **fields: Any) -> str:
    """Pretrain the first encoder of an experiment on these data; return its digest."""
    grid = make_grid(settings(out, data=str(data), **fields), quiet_or_loud(quiet=True))
    return digest(pretrain(grid.pretraining[0].settings, quiet=True).folder / "encoder.safetensors")


def test_no_label_reaches_pretraining(tmp_path: Path) -> None:
    honest = write_phantoms(tmp_path / "honest" / "scans", 6, side=24)
    other = Path(shutil.copytree(honest, tmp_path / "mislabelled" / "scans"))
    for path in (other / "labelsTr").glob("*.nii.gz"):
        there = nib.load(path)
        labels = np.asanyarray(there.dataobj)
        nib.save(nib.Nifti1Image((labels == 1).astype(labels.dtype), there.affine), path)
    scans = [
        encoder_of(tmp_path / name, folder, **SCANS)
        for name, folder in {"a": honest, "b": other}.items()
    ]
    pictures = [
        encoder_of(
            tmp_path / f"pictures {mislabel}",
            write_archive(tmp_path / f"{mislabel}.npz", betray=False, mislabel=mislabel),
            **PICTURES,
        )
        for mislabel in (False, True)
    ]
    assert scans[0] == scans[1]
    assert pictures[0] == pictures[1]
    assert scans[0] != pictures[0]
