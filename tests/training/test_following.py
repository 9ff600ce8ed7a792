"""Following a run: what is logged where, that it goes on, and that nothing leaves the machine."""

from importlib import util
from pathlib import Path
from typing import Any

import pytest

from ssl_registry import finetune, pretrain
from ssl_registry.errors import ConfigError
from ssl_registry.training.engine import following
from ssl_registry.training.engine.following import choose_logger
from ssl_registry.training.settings.runs import FinetuneSettings
from tests.kills import Killed, kill_at

pytest.importorskip("tensorboard")

RUN: dict[str, Any] = {
    "data": "phantoms:6",
    "size": 16,
    "epochs": 3,
    "batch_size": 2,
    "validate_every": 1,
    "test_fraction": 0.34,
    "validation_fraction": 0.17,
    "checkpoint_minutes": 0,
    "device": "cpu",
    "precision": "32-true",
    "backbone": {"name": "unet3d", "base_filters": 2, "levels": 2},
    "quiet": True,
}


def logged(folder: Path) -> Any:
    """Return what TensorBoard reads from a run's folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder / "tensorboard")).Reload()


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "followed"
    return finetune(**RUN, logger="tensorboard", out=out).folder


def test_scalars_the_learning_rate_and_pictures_are_in_the_log(followed: Path) -> None:
    log = logged(followed)
    names = set(log.Tags()["scalars"])
    assert {"train_loss", "learning_rate", "val_loss", "val_dice"} <= names
    rows = (followed / "metrics.csv").read_text().splitlines()
    header, last = rows[0].split(","), rows[-1].split(",")
    events = log.Scalars("val_dice")
    assert [event.step for event in events] == [
        row.split(",")[1] and int(row.split(",")[1]) for row in rows[1:]
    ]
    assert events[-1].value == pytest.approx(float(last[header.index("val_dice")]), rel=1e-4)
    pictures = log.Tags()["images"]
    assert len(pictures) == 1
    assert pictures[0].startswith("validation/phantom_")
    image = log.Images(pictures[0])[-1]
    assert (image.height, image.width) == (16, 3 * 16)  # the image, its label, the prediction


def test_a_resumed_run_goes_on_with_the_same_log(
    followed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_at(monkeypatch, 2)
    with pytest.raises(Killed):
        finetune(**RUN, logger="tensorboard", out=tmp_path / "killed")
    monkeypatch.undo()
    finetune(**RUN, logger="tensorboard", out=tmp_path / "killed", resume=True)
    whole, resumed = logged(followed), logged(tmp_path / "killed")
    for name in ("val_dice", "train_loss"):
        assert [(event.step, event.value) for event in resumed.Scalars(name)] == [
            (event.step, event.value) for event in whole.Scalars(name)
        ]


def test_following_changes_nothing_of_the_run(followed: Path, tmp_path: Path) -> None:
    alone = finetune(**RUN, logger="none", out=tmp_path / "alone").folder
    assert not (alone / "tensorboard").exists()
    for name in ("encoder.safetensors", "metrics.csv"):
        assert (alone / name).read_bytes() == (followed / name).read_bytes()


def test_pretraining_is_followed_too(tmp_path: Path) -> None:
    run = {**RUN, "epochs": 1, "watch": 1}
    folder = pretrain(**run, task="rotation3d", logger="tensorboard", out=tmp_path / "run").folder
    seen = {"watch_rank", "watch_spread", "watch_linear", "watch_knn"}
    assert {"train_loss", "learning_rate", *seen} <= set(logged(folder).Tags()["scalars"])


def test_tensorboard_is_the_default_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = FinetuneSettings(out=Path("run"))
    assert choose_logger(settings) == "tensorboard"
    monkeypatch.setattr(following, "find_spec", lambda name: None)
    assert choose_logger(settings) == "none"


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_library_that_is_named_and_not_there_is_an_error_that_names_the_extra(
    name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"ssl-registry\[{name}\]"):
        finetune(**RUN, logger=name, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_other_libraries_stay_on_the_machine(
    name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    folder = finetune(**{**RUN, "epochs": 1}, logger=name, out=tmp_path / "run").folder
    kept = {"wandb": "wandb/offline-run-*", "mlflow": "mlflow.db"}[name]
    assert list(folder.glob(kept))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
