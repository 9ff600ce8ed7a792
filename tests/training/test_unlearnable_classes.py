"""A label value that only held-out cases show is said before the run, and scored as missed."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_registry import finetune
from ssl_registry.experiments import show_grid
from ssl_registry.experiments.grid.settings import EfficiencySettings
from tests.pictures import write_picture

UNET = {"name": "unet2d", "base_filters": 2, "levels": 2}
TOLD = "class 7 has no image to train on: it cannot be learned, and 1 test image shows it"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six pictures with masks; the last one alone marks 7, and is tested."""
    folder = tmp_path / "data"
    (folder / "masks").mkdir(parents=True)
    for number in range(6):
        write_picture(folder / "images" / f"p{number}.png", number, "L", (16, 16))
        mask = np.zeros((16, 16), np.uint8)
        mask[4:9, 4:9] = 7 if number == 5 else 1
        Image.fromarray(mask).save(folder / "masks" / f"p{number}.png")
    (tmp_path / "test.txt").write_text("p5\np4\n")
    return folder


def test_a_value_of_the_test_set_alone_is_said_and_scored_as_missed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = finetune(
        downstream="segmentation2d", data=data, test_cases=tmp_path / "test.txt", backbone=UNET,
        size=16, steps=1, batch_size=2, validation_fraction=0, out=tmp_path / "run",
    )  # fmt: skip
    said = capsys.readouterr().out
    assert TOLD in said
    assert said.index(TOLD) < said.index("tested on 2 others")
    assert done.result["cases"]["p5"]["dice_7"] < 0.5
    assert done.result["score"]["dice_7"] < 0.5


def test_an_experiment_says_it_before_its_first_run(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = EfficiencySettings.read(
        data=str(data), downstream="segmentation2d", tasks=["rotation2d"],
        test_cases=tmp_path / "test.txt", backbone=UNET, size=16, labelled=[1],
        out=tmp_path / "curve",
    )  # fmt: skip
    show_grid(settings)
    assert TOLD in re.sub(r"\s+", " ", capsys.readouterr().out)
