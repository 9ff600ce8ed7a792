"""What cannot be meant is refused before torch is imported, for that takes seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ssl_registry import finetune
from ssl_registry.cli.overrides import read_words
from ssl_registry.errors import ConfigError
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.runs import FinetuneSettings
from ssl_registry.training.settings.stored import check_call

FROZEN_TWICE = ["freeze_epochs=3", "downstream.freeze_epochs=5"]

LOOK = """
import contextlib, io, json, sys
from ssl_registry.cli.app import app

def look(words):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            app(words, standalone_mode=False)
        except Exception as error:
            print(f"{type(error).__name__}: {error}")
    return out.getvalue(), sorted(HEAVY & set(sys.modules))

HEAVY = {"torch", "torchio", "lightning", "numpy"}
print(json.dumps([look(words) for words in json.load(sys.stdin)]))
"""
EFFICIENCY = ("efficiency", "out=x", "tasks=[rpl3d]")


REFUSED = [
    (("pretrain", "task=rpl3d", "out=x", "warmup_epochs=1"), "did you mean warmup?"),
    (("pretrain", "task=rpl3d", "out=x", "epochs=many"), "epochs='many'"),
    (("pretrain", "task=rpl3d", "out=x", "optimizer=lion"), "'adam', 'adamw' or 'sgd'"),
    (("pretrain", "task=rpl3d"), "needs the field 'out'"),
    (("pretrain", "task=rpl33d", "out=x"), "Did you mean rpl3d"),
    (("pretrain", "task=unet3d", "out=x"), "unet3d is a backbone, not a pretext task"),
    (("pretrain", "task=rpl2d", "backbone=unet3d", "out=x"), "rpl2d works in 2D"),
    (("pretrain", "task.jitter=1", "out=x"), "no 'name'"),
    (("pretrain", "task=rpl3d", "task.jiter=1", "out=x"), "rpl3d has no field 'jiter'; did you"),
    (("pretrain", "task=rpl3d", "task.jitter=-1", "out=x"), "rpl3d: jitter=-1: Input should be"),
    (("pretrain", "task=simclr3d", "task.augment.noize=1", "out=x"), "did you mean noise?"),
    (("pretrain", "task=rpl3d", "backbone=unet3d", "backbone.filters=8", "out=x"), "base_filters"),
    (
        ("pretrain", "task=joint", "task.tasks=[{name: rpl3d, jiter: 1}, rotation3d]", "out=x"),
        "did you mean jitter?",
    ),
    (("pretrain", "task=joint", "task.tasks=[rpl33d, rotation3d]", "out=x"), "mean rpl3d"),
    (("finetune", "out=x", "downstream.cross_entropy=2"), "cross_entropy=2: Input should be less"),
    (("efficiency", "out=x", "tasks=[{name: rpl3d, jiter: 1}]"), "did you mean jitter?"),
    (("finetune", "out=x", *FROZEN_TWICE), "say one of the two"),
    (("finetune", "out=x", "preprocessing.spcing=1"), "preprocessing.spacing?"),
    (("finetune", "out=x", "preprocessing=xray"), "no preset 'xray'"),
    (("finetune", "out=x", "test_fraction=0.9", "validation_fraction=0.5"), "nothing to"),
    (("finetune", "out=x", "transfer_levels=2"), "no encoder to take levels from"),
    (("finetune", "out=x", "transfer=all"), "transfer=all: there is no encoder to take over"),
    (("finetune", "out=x", "foreground=0.8"), "is a share of the patches, and none are cut"),
    (("pretrain", "task=rpl3d", "out=x", "transfer=all"), "there is no encoder to take over"),
    (("pretrain", "out=x", "data=gone"), "data=gone: there is no such file or folder"),
    (("pretrain", "out=x", "split=gone.csv"), "split=gone.csv: there is no such file"),
    (("finetune", "out=x", "encoder=gone"), "encoder=gone: there is no such folder"),
    (("pretrain", "out=x", "lr=0.1"), "did you mean learning_rate?"),
    (("pretrain", "out=x", "workers=-1"), "pretrain: workers=-1: Input should be greater than"),
    (
        ("pretrain", "out=x", "preprocessing.spacing=-1"),
        "preprocessing.spacing=-1: Input should be greater than 0, or",
    ),
    ((*EFFICIENCY, "pretrain.warmup_epochs=1"), "did you mean pretrain.warmup?"),
    ((*EFFICIENCY, "finetune.epochs=3"), "finetune.steps says how long"),
    ((*EFFICIENCY, "workes=2"), "did you mean workers?"),
    ((*EFFICIENCY, "data=gone"), "data=gone: there is no such file or folder"),
    (("efficiency", "out=x", "tasks=[rpl33d]"), "Did you mean rpl3d"),
    (("efficiency", "out=x", "tasks=[{name: rpl3d, pretrain: {epocs: 2}}]"), "mean epochs?"),
    (("preview", "rpl33d"), "Did you mean rpl3d"),
    (("preview", "unet3d"), "asks nothing"),
    (("preview", "rpl3d", "--image", "gone.nii.gz"), "gone.nii.gz: there is no such file"),
    (("preview", "segmentation3d", "--data", "gone"), "data=gone: there is no such file"),
    (("preview", "segmentation3d", "augment=nnunett"), "augment has no preset 'nnunett'"),
    (("plan", "gone"), "data=gone: there is no such file or folder"),
    (("plan", "phantoms", "data=gone"), "the data are named already"),
    (("plan", "phantoms", "slices=thik"), "slices='thik'"),
    (("plan", "phantoms", "sice=3"), "did you mean slices?"),
    (("plan", "phantoms", "--memory", "much"), "is not a size"),
    (("plan", "phantoms", "--memory", "16"), "write the unit, as 16GB"),
    (("plan", "phantoms", "--out", "."), "is a folder"),
    (("plan", "phantoms", "--out", "begun/config.yaml"), "is there already"),
    (("demo", "--task", "rpl33d"), "Did you mean rpl3d"),
    (("pretrain", "out=begun", "resume=true", "epocs=3"), "did you mean epochs?"),
    (("pretrain", "out=begun", "resume=true", "task.jitter=2", "clip=-1"), "clip=-1"),
    (("split", "scans", "tset_fraction=0.3"), "did you mean test_fraction?"),
    (("predict", "x", "--images", "y", "--out", "z", "--device", "tpu"), "choose auto"),
    (("predict", "no-run", "--images", "y", "--out", "z"), "no-run: there is no such"),
    (("export", "no-run", "--out", "z.pt"), "no-run: there is no such"),
    (("show", "rpl33d"), "Did you mean rpl3d"),
]
SETTINGS = ["pretrain", "finetune", "efficiency"]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], tuple[str, list[str]]]:
    """What each command says, and which heavy modules a process then holds; one process for all,
    since the first that imports one gives it to all after it."""
    here = tmp_path_factory.mktemp("here")
    (here / "begun").mkdir()
    (here / "begun" / "config.yaml").write_text("{task: {name: rpl3d, jitter: 1}, out: begun}")
    commands = [*(words for words, _ in REFUSED), *(("show", name) for name in SETTINGS)]
    done = subprocess.run(
        [sys.executable, "-c", LOOK], input=json.dumps(commands), capture_output=True, text=True,
        check=True, cwd=here, env={**os.environ, "COLUMNS": "160"},
    )  # fmt: skip
    said = json.loads(done.stdout.splitlines()[-1])
    return dict(zip(commands, map(tuple, said), strict=True))


@pytest.mark.parametrize(
    ("words", "message"),
    REFUSED,
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_it_is_refused_before_torch_is_imported(
    words: tuple[str, ...], message: str, shown: dict[tuple[str, ...], tuple[str, list[str]]]
) -> None:
    said, heavy = shown[words]
    assert "Error: " in said
    assert message in said
    assert heavy == []


@pytest.mark.parametrize("command", SETTINGS)
def test_all_settings_are_shown_without_torch(
    command: str, shown: dict[tuple[str, ...], tuple[str, list[str]]]
) -> None:
    said, heavy = shown["show", command]
    assert heavy == []
    for name in ("optimizer", "'adam' | 'adamw' | 'sgd'", "preprocessing.spacing", "warmup"):
        assert name in said


def test_a_field_that_is_said_wins_over_its_shorthand_in_the_settings_of_a_run(
    tmp_path: Path,
) -> None:
    """A `config.yaml` holds both, and a word for either one has to reach the run."""
    config = tmp_path / "config.yaml"
    config.write_text(
        "downstream: {name: segmentation2d, freeze_epochs: 12}\nfreeze_epochs: 12\n"
        "backbone: unet2d\nepochs: 20\nout: runs/again\n"
    )
    for word in ("downstream.freeze_epochs=3", "freeze_epochs=3"):
        said = read_words([str(config), word])
        check_call(FinetuneSettings, said, "finetune")
        settings = read_settings(FinetuneSettings, said, "finetune")
        assert settings.downstream.freeze_epochs == 3


@pytest.mark.parametrize("words", [FROZEN_TWICE, FROZEN_TWICE[::-1]])
def test_a_shorthand_and_its_field_are_not_both_said(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"freeze_epochs is .* downstream\.freeze_epochs"):
        read_words(["downstream=segmentation3d", *words])


def test_a_file_or_a_call_that_says_both_must_say_the_same(tmp_path: Path) -> None:
    downstream = {"name": "segmentation3d", "freeze_epochs": 5}
    said: dict[str, Any] = {"data": "phantoms:4", "backbone": "unet3d", "out": tmp_path / "run"}
    with pytest.raises(ConfigError, match=r"freeze_epochs=3 .* downstream\.freeze_epochs=5"):
        finetune(**said, downstream=downstream, freeze_epochs=3)
    check_call(FinetuneSettings, {"out": "run", "downstream": downstream, "freeze_epochs": 5}, "it")
