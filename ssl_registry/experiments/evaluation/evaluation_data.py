"""The data that a model is evaluated on, once it is seen that it can answer for them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ssl_registry.data.sources.cases import Case, Source
from ssl_registry.errors import ConfigError, DataError, RunError
from ssl_registry.experiments.evaluation.matched_labels import match_labels
from ssl_registry.training.ensemble import Ensemble
from ssl_registry.training.files.channel_names import check_channels, learned_channels
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.preparation.cases import open_split
from ssl_registry.training.preparation.checked_data import open_checked
from ssl_registry.training.settings.data_settings import SplitSettings
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.stored import CONFIG


def open_evaluation_data(
    ensemble: Ensemble,
    run: str | Path,
    data: str | Path,
    part: str,
    said: Mapping[str, Any],
    console: Console,
) -> tuple[Source, list[Case]]:
    """Return the data and the cases to score."""
    summary = ensemble.summary
    before: dict[str, Any] = {}
    if part == "test":
        before = _division_of(Path(run).expanduser())
    elif part != "all":
        raise ConfigError(f"part={part}: say all, or test")
    slices = {"slices": summary.slices} if summary.slices is not None else {}
    chosen = read_settings(
        SplitSettings, {**before, **slices, "data": str(data), **said}, "evaluate"
    )
    dims: Any = summary.image_dims
    if part == "test" or chosen.split is not None or chosen.test_cases is not None:
        source, split = open_split(chosen, dims, console)
        return source, list(split.test)
    source, _ = open_checked(chosen, dims, console, chosen.workers)
    for note in source.notes:
        console.print(f"{source.name}: {note}")
    return source, list(source.labelled)


def _division_of(run: Path) -> dict[str, Any]:
    """Return how a run divided its data, and recognised patients."""
    if not (run / CONFIG).is_file():
        raise RunError(f"part=test: {run} holds no {CONFIG} that says how its data were divided")
    stored = RunFolder(run).settings()
    names = set(SplitSettings.model_fields) - {"data", "workers", "verify"}
    return {name: value for name, value in stored.items() if name in names}


def match_data(
    ensemble: Ensemble, source: Source, cases: Sequence[Case], console: Console
) -> dict[int, int]:
    """See that the data can be scored by these models; return their classes for its labels."""
    task = ensemble.summary.downstream
    if not cases:
        raise DataError(f"data={source.name} holds no labelled case to score")
    there = "class" if source.graded else "mask"
    if task.target_kind != there:
        words = {"class": "one class for each image", "mask": "label maps"}
        raise DataError(
            f"the model gives {words[task.target_kind]}, but data={source.name} has {words[there]}"
        )
    learned = learned_channels(ensemble.summary.data)
    for note in check_channels("the model", learned, source.name, source.channel_names):
        console.print(note)
    return match_labels(ensemble.summary.labels, source, cases, task.target_kind)
