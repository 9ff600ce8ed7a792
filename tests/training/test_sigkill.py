"""SIGKILL at random moments: what is on disk is usable, and the end is the same bits."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console

from ssl_registry import load_encoder
from ssl_registry.training.engine.checkpoint import load_checkpoint
from ssl_registry.training.files.run_folder import RunFolder
from tests.cubes import write_decathlon

SMALL = [
    "backbone=unet3d", "backbone.base_filters=2", "backbone.levels=2", "data=phantoms:10",
    "size=16", "batch_size=2", "epochs=3", "validate_every=1", "checkpoint_minutes=0",
    "device=cpu",
]  # fmt: skip
COMMANDS = {
    "pretrain": ["pretrain", "task=rotation3d", *SMALL],
    "finetune": ["finetune", *SMALL],
}


def command(words: list[str], log: Path, cache: str | None) -> None:
    """Be `ssl-registry` with these words, in a process that has imported it already."""
    from ssl_registry.cli import main

    if cache is not None:
        os.environ["SSL_REGISTRY_CACHE"] = cache
    with log.open("w") as file:
        sys.argv, sys.stdout, sys.stderr = ["ssl-registry", *words], file, file
        main()


class Warm:
    """Starts commands in fresh processes that need not import torch again."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.context = multiprocessing.get_context("forkserver")
        parts = ("pretraining", "finetuning")
        heavy = [f"ssl_registry.training.{part}" for part in parts]
        self.context.set_forkserver_preload(
            [*heavy, "ssl_registry.experiments.efficiency", "ssl_registry.cli", __name__]
        )

    def run(self, words: list[str], seconds: float | None = None) -> bool:
        """Run a command to its end, or kill it after so many seconds; say if it was killed."""
        cache = os.environ.get("SSL_REGISTRY_CACHE")
        process = self.context.Process(target=command, args=(words, self.log, cache))
        process.start()
        process.join(seconds)
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), self.log.read_text()
        return process.exitcode != 0


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Warm:
    return Warm(tmp_path_factory.mktemp("logs") / "log.txt")


def see_that_all_is_usable(run: Path) -> None:
    """Read everything that a killed command left, as a user or the next command would."""
    for path in run.glob("[!.]*"):  # hidden files are what a writer was at when it was killed
        assert path.stat().st_size > 0
    if (run / "config.yaml").exists():
        assert yaml.safe_load((run / "config.yaml").read_text())["epochs"] == 3
    if (run / "metrics.csv").exists():
        assert (run / "metrics.csv").read_text().endswith("\n")
    if (run / "last.ckpt").exists():
        assert load_checkpoint(RunFolder(run), Console(quiet=True)) is not None
    if (run / "encoder.json").exists():
        load_encoder(run)


def contents(run: Path) -> dict[str, Any]:
    """Return what must not depend on kills: everything but the seconds that it took."""
    result = json.loads((run / "result.json").read_text())
    del result["seconds"]
    found: dict[str, Any] = {"result": result}
    for name in ("encoder.safetensors", "encoder.json", "metrics.csv"):
        found[name] = (run / name).read_bytes()
    if (run / "predictions.npz").exists():
        arrays = np.load(run / "predictions.npz", allow_pickle=False)
        found |= {name: arrays[name].tobytes() for name in arrays.files}
    return found


def end_in_spite_of_kills(
    tmp_path: Path, warm: Warm, words: list[str], kills: int, chance: random.Random
) -> list[Path]:
    """Kill a command at random moments, so many times; return the folders of the runs that ended.

    The first folder is that of a run that nobody killed.
    """
    started = time.monotonic()
    assert not warm.run([*words, f"out={tmp_path / 'whole'}"])
    seconds = time.monotonic() - started
    done, runs = 0, [tmp_path / "whole"]
    while done < kills or not (runs[-1] / "result.json").exists():
        if (runs[-1] / "result.json").exists():
            runs.append(tmp_path / f"run-{len(runs)}")
        resume = ["resume=true"] if (runs[-1] / "config.yaml").exists() else []
        # The first lives are short, and each moment of a run may be the last.
        moment = chance.uniform(0, seconds) if done < kills else None
        done += warm.run([*words, f"out={runs[-1]}", *resume], moment)
        see_that_all_is_usable(runs[-1])
    return runs


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "kills"),
    [("pretrain", 20), ("finetune", 20)],
)
def test_killed_at_random_moments_a_run_ends_with_the_same_bits(
    tmp_path: Path, warm: Warm, name: str, kills: int
) -> None:
    words = COMMANDS[name]
    warm.run([*words, "epochs=1", f"out={tmp_path / 'warm-up'}"])  # the cache is full from now on
    runs = end_in_spite_of_kills(tmp_path, warm, words, kills, random.Random(name))
    assert all(contents(run) == contents(runs[0]) for run in runs)


@pytest.mark.long
@pytest.mark.parametrize("kills", [20])
def test_killed_while_images_are_read_and_prepared_the_end_is_the_same(
    tmp_path: Path, warm: Warm, monkeypatch: pytest.MonkeyPatch, kills: int
) -> None:
    """Each life finds the cache and its index as the last one left them."""
    data = write_decathlon(tmp_path / "data", range(40))
    cold, chance = tmp_path / "cold", random.Random(kills)
    words = ["pretrain", "task=rotation3d", *SMALL, f"data={data}", "epochs=1"]
    monkeypatch.setenv("SSL_REGISTRY_CACHE", str(tmp_path / "other"))
    started = time.monotonic()
    warm.run([*words, f"out={tmp_path / 'whole'}"])
    seconds = time.monotonic() - started
    monkeypatch.setenv("SSL_REGISTRY_CACHE", str(cold))
    for life in range(kills):
        warm.run([*words, f"out={tmp_path / f'run-{life}'}"], chance.uniform(0, seconds))
        if life % 5 == 4:
            shutil.rmtree(cold, ignore_errors=True)  # and again from nothing
    warm.run([*words, f"out={tmp_path / 'last'}"])
    assert contents(tmp_path / "last") == contents(tmp_path / "whole")
    images = {
        path.name: path.read_bytes() for path in (tmp_path / "other" / "images").rglob("*.safet*")
    }
    kept = {path.name: path.read_bytes() for path in (cold / "images").rglob("*.safet*")}
    assert kept == images


@pytest.mark.long
@pytest.mark.parametrize("kills", [20])
def test_an_experiment_killed_at_random_moments_ends_with_the_same_bits(
    tmp_path: Path, warm: Warm, kills: int
) -> None:
    data = write_decathlon(tmp_path / "data", range(8))
    words = [
        "efficiency", "tasks=[rotation3d]", *SMALL[:3], f"data={data}", "size=16", "labelled=[2]",
        "seeds=[0]", "pretrain.epochs=2", "finetune.steps=10", "checkpoint_minutes=0", "device=cpu",
    ]  # fmt: skip
    chance, out = random.Random(kills), tmp_path / "out"
    started = time.monotonic()
    warm.run([*words, f"out={tmp_path / 'whole'}"])
    seconds = time.monotonic() - started
    for _ in range(kills):
        warm.run([*words, f"out={out}"], chance.uniform(0, seconds))
        if (out / "report" / "index.html").exists():
            shutil.rmtree(out)
    warm.run([*words, f"out={out}"])
    cells = sorted(path.parent.relative_to(out) for path in out.glob("*/*/*/result.json"))
    assert len(cells) == 3
    assert all(contents(out / cell) == contents(tmp_path / "whole" / cell) for cell in cells)
