"""The file of a plan: YAML that says beside each setting why it is so."""

import math
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import yaml

from ssl_registry.data.atomic_files import write_whole
from ssl_registry.data.sources.opening import open_source
from ssl_registry.errors import RunError
from ssl_registry.training.planning.call import check_new_file
from ssl_registry.training.planning.fingerprint import DatasetFingerprint, take_fingerprint
from ssl_registry.training.planning.machine import Machine, this_machine
from ssl_registry.training.planning.rules import Planned, TrainingPlan, plan_training
from ssl_registry.training.settings.data_settings import DataSettings
from ssl_registry.training.settings.paths import absolute_paths
from ssl_registry.training.settings.reading import read_settings

WIDTH: Final = 96


def write_plan(
    out: str | Path,
    data: str | Path,
    dims: Literal[2, 3] | None = None,
    *,
    machine: Machine | None = None,
    overwrite: bool = False,
    **settings: Any,
) -> TrainingPlan:
    """Look at data and write settings for them, as YAML that runs and experiments take.

    Args:
        out: the file.
        data: what `data=` of a run may name.
        dims: 2 for pictures, 3 for volumes; None takes both.
        machine: that it is for; the one at hand where nothing is said.
        overwrite: whether a file that is there already may be replaced.
        **settings: of the data, as in a run: `layout`, `slices`, `group_pattern`, ...

    Raises:
        DataError: the data cannot be used.
        ConfigError: a setting is unknown or wrong.
        RunError: the file is there already, is a folder, or cannot be written.
    """
    path = Path(out).expanduser()
    check_new_file(path, overwrite)
    said = {"data": str(data), **settings}
    chosen = read_settings(DataSettings, said, "plan")
    asked: Literal[2, 3] | None = 2 if chosen.across else dims
    source = open_source(chosen.data, asked, reading=chosen.reading, slices=chosen.across)
    source = source.grouped(chosen.group_column, chosen.group_pattern)
    seen = take_fingerprint(source, chosen.across)
    plan = plan_training(seen, machine or this_machine())
    kept = absolute_paths({**chosen.model_dump(mode="json", include=set(said)), "slices": None})
    text = "\n".join(_lines(plan, seen, {k: v for k, v in kept.items() if v is not None}))
    try:
        write_whole(path, lambda beside: beside.write_text(text + "\n", encoding="utf-8"))
    except OSError as error:
        raise RunError(f"out={path} cannot be written: {error.strerror or error}") from error
    return plan


def _lines(plan: TrainingPlan, seen: DatasetFingerprint, data: Mapping[str, Any]) -> Iterator[str]:
    yield "# Settings for pretrain, finetune and efficiency, which all take this file:"
    yield "#     ssl-registry pretrain FILE task=... out=..."
    yield "#     ssl-registry finetune FILE encoder=... out=..."
    yield "# Settings without a section hold for all; words on the command line win over the file."
    yield from _comment(_describe(seen))
    for note in seen.notes:
        yield from _comment(f"Found: {note}.")
    for warning in plan.warnings:
        yield from _comment(f"Mind: {warning}.")
    yield ""
    for name, value in data.items():
        yield from _yaml(name, value)
    yield from _settings(plan.shared)
    for name, section in (("pretrain", plan.pretrain), ("finetune", plan.finetune)):
        if section:
            yield ""
            yield f"{name}:"
            yield from (f"  {line}" for line in _settings(section))


def _settings(settings: Mapping[str, Planned]) -> Iterator[str]:
    for name, planned in settings.items():
        yield from _comment(planned.why)
        yield from _yaml(name, planned.value)


def _yaml(name: str, value: Any) -> Iterator[str]:
    """Yield the lines of a setting: fields of a mapping below each other, lists on one line."""
    if isinstance(value, Mapping):
        yield f"{name}:"
        yield from (f"  {field}: {_flow(inner)}" for field, inner in value.items())
    else:
        yield f"{name}: {_flow(value)}"


def _flow(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=math.inf)
    return text.removesuffix("...\n").strip()


def _comment(text: str) -> Iterator[str]:
    yield from (f"# {line}" for line in textwrap.wrap(text, WIDTH))


def _describe(seen: DatasetFingerprint) -> str:
    """Return in words what was seen."""
    kind = "picture" if seen.spacings is None else "volume"
    kind += "s" if seen.cases != 1 else ""
    labels = {
        "mask": f"{seen.labelled} with label maps of {seen.classes} values",
        "class": f"{seen.labelled} of {seen.classes} classes",
        None: "none with labels",
    }[seen.target_kind]
    channels = f"{seen.channels} channel{'s' if seen.channels > 1 else ''}"
    said = f"Seen: {seen.cases} {kind} of {channels}, {labels}"
    if seen.spacings is not None:
        spacing = " x ".join(f"{along:.3g}" for along in np.median(seen.spacings, axis=0))
        where = " in the plane" if seen.across else ""
        said += f"; median spacing {spacing} mm{where}"
    return f"{said}."
