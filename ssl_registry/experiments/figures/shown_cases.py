"""Samples: test cases to show, with what each line predicted for them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ssl_registry.data.cache.kept_facts import KeptFacts
from ssl_registry.data.cache.prepared import Prepared, prepare_case
from ssl_registry.data.label_classes import as_classes, as_values
from ssl_registry.data.preparing.scan_grid import labels_as_prepared
from ssl_registry.data.sources.counted_unit import spell_labelled
from ssl_registry.data.sources.opening import open_source
from ssl_registry.errors import DataError
from ssl_registry.experiments.statistics.rows import Row
from ssl_registry.experiments.statistics.summary import lines_of
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.files.run_result import read_result
from ssl_registry.training.finetuning.predictions_file import read_predictions
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.runs import FinetuneSettings

MASKS: Final = 3
"""Test cases shown of a segmentation."""
GRADED: Final = 8
"""Test cases shown of a classification."""


@dataclass(frozen=True)
class ShownCases:
    """The runs whose predictions are shown: one of each line, alike in all else."""

    fraction: float
    labelled: str
    seed: int
    fold: int
    runs: Mapping[str, Row]


@dataclass(frozen=True)
class Sample:
    """A test case.

    Attributes:
        name: of the case.
        image: `[C, *S]`, as it was prepared.
        target: label map `[*S]`, or class `[]`.
        predictions: likewise, by line.
        scores: headline score of the case alone, by line; NaN where it has none.
    """

    name: str
    image: Tensor
    target: npt.NDArray[np.int64]
    predictions: Mapping[str, npt.NDArray[np.int64]]
    scores: Mapping[str, float]


def choose_shown(rows: Sequence[Row]) -> ShownCases:
    """Return the runs with the fewest labels and the first seed and fold that all lines have.

    Where no such runs exist, because some failed, those that most lines have.
    """
    keys = sorted({(row.fraction, row.seed, row.fold) for row in rows})
    alike = {
        key: {row.line: row for row in rows if (row.fraction, row.seed, row.fold) == key}
        for key in keys
    }
    best = max(keys, key=lambda key: len(alike[key]))
    runs = {line: alike[best][line] for line in lines_of(rows) if line in alike[best]}
    first = next(iter(runs.values()))
    labelled = spell_labelled(first.labelled, first.unit, "labelled")
    return ShownCases(first.fraction, labelled, first.seed, first.fold, runs)


def read_samples(shown: ShownCases) -> list[Sample]:
    """Return the first test cases by name; of graded ones the first of each class, then more.

    Raises:
        DataError: the data is not there any more, or not usable.
    """
    first = next(iter(shown.runs.values()))
    settings = _settings(first)
    assert settings.preprocessing is not None and settings.size is not None  # noqa: PT018
    source = open_source(
        settings.data,
        settings.downstream.spatial_dims,
        reading=settings.reading,
        slices=settings.across,
        facts=KeptFacts(),
    )
    known = {case.name: case for case in source.labelled}
    cases = {line: _cases(row) for line, row in shown.runs.items()}
    names = sorted(name for name in cases[first.line] if name in known)
    chosen = _one_of_each({name: known[name].grade for name in names}) if source.graded else names
    chosen = chosen[: GRADED if source.graded else MASKS]
    predictions = {line: read_predictions(row.folder, chosen) for line, row in shown.runs.items()}
    samples = []
    for name in chosen:
        prepared = prepare_case(known[name], settings.preprocessing, settings.size, settings.across)
        samples.append(
            Sample(
                name=name,
                image=_in_order(prepared.image(), prepared),
                target=_in_order(_with_values(prepared), prepared).numpy().astype(np.int64),
                predictions=_as_shown(
                    {line: found[name] for line, found in predictions.items()}, prepared
                ),
                scores={
                    line: _number(found[name].get(first.headline)) for line, found in cases.items()
                },
            )
        )
    return samples


def _settings(row: Row) -> FinetuneSettings:
    fields = RunFolder(row.folder).settings()
    return read_settings(FinetuneSettings, fields, "finetune")


def _cases(row: Row) -> Mapping[str, Mapping[str, Any]]:
    cases: Mapping[str, Mapping[str, Any]] = (read_result(row.folder) or {})["cases"]
    return cases


def _with_values(case: Prepared) -> Tensor:
    """Return a prepared label map with the values of the data, or a class."""
    label = case.label()
    return label if case.case.grade is not None else as_values(label, case.case.label_values)


def _as_shown(
    predictions: Mapping[str, npt.NDArray[Any]], case: Prepared
) -> dict[str, npt.NDArray[np.int64]]:
    """Bring label maps from the grid of the scan to that of the prepared image, which is shown.

    Raises:
        DataError: a label map lies on another grid than the scan.
    """
    if case.case.grade is not None:
        return {line: labels.astype(np.int64) for line, labels in predictions.items()}
    scan, shown = case.case.read(), {}
    shape = tuple(scan.spatial_shape)
    own = shape if len(case.shape) == 3 else shape[:2]
    for line, labels in predictions.items():
        if labels.shape != own:
            raise DataError(
                f"{case.case.name}: {line} predicted {labels.shape} voxels for a scan of {own}"
            )
        whole = torch.from_numpy(labels.astype(np.int64)).reshape(shape)
        found = sorted(set(torch.unique(whole).tolist()) | {0})
        classes = labels_as_prepared(as_classes(whole, found), scan, case.shape, case.affine)
        moved = as_values(classes, found)
        shown[line] = _in_order(moved, case).numpy().astype(np.int64)
    return shown


def _in_order(array: Tensor, case: Prepared) -> Tensor:
    """Return an image or labels with their axes as those of a volume that is seen whole."""
    if case.across is None or array.ndim < 3:
        return array
    return array.movedim(-3, array.ndim - 3 + case.across)


def _one_of_each(grades: Mapping[str, int | None]) -> list[str]:
    """Return the names in turns through the classes, so that the first ones show each once."""
    turns: dict[int | None, int] = {}
    places = {}
    for name, grade in grades.items():
        turns[grade] = turns.get(grade, -1) + 1
        places[name] = (turns[grade], str(grade))
    return sorted(grades, key=lambda name: places[name])


def _number(value: float | None) -> float:
    return math.nan if value is None else value
