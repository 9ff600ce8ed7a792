"""The page of an evaluation: scores with intervals, classes, the worst cases, in one file."""

import csv
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import jinja2
import numpy as np
from matplotlib.figure import Figure

from ssl_registry.data.label_classes import as_values
from ssl_registry.data.preparing.scan_grid import labels_as_prepared
from ssl_registry.data.sources.cases import Case
from ssl_registry.experiments.figures.classes import draw_confusion
from ssl_registry.experiments.figures.report import MOST_CLASSES, Picture
from ssl_registry.experiments.figures.samples import draw_graded, draw_masks
from ssl_registry.experiments.figures.shown_cases import Sample
from ssl_registry.experiments.figures.styles import COLOURS, WIDTH, plain, save
from ssl_registry.experiments.files import write_text
from ssl_registry.training.ensemble import Ensemble
from ssl_registry.training.finetuning.held_out_scores import HeldOutAnswers

PAGE: Final = "index.html"

WORST: Final = 4
"""Cases with the lowest scores that are shown."""


def write_evaluation_report(
    folder: Path,
    ensemble: Ensemble,
    result: Mapping[str, Any],
    classes: str,
    cases: Sequence[Case],
    answers: HeldOutAnswers,
) -> Path:
    """Write the page and its pictures; return the page.

    Args:
        folder: that there is.
        ensemble: that answered.
        result: what `result.json` says.
        classes: the table of classes as CSV.
        cases: that were scored.
        answers: for them.
    """
    graded = ensemble.summary.downstream.target_kind == "class"
    figures: dict[str, tuple[Figure, str]] = {}
    if graded:
        figures |= _of_grades(result, ensemble.summary.labels)
    worst = _worst(ensemble, result, cases, answers)
    if worst:
        draw = draw_graded if graded else None
        labels = result["labels"]
        figure = draw(worst, labels) if draw else draw_masks(worst, labels, result["headline"])
        figures["worst"] = (figure, "the cases with the lowest scores, beside what is true")
    pictures = {}
    for name, (figure, alt) in figures.items():
        save(figure, folder / f"{name}.png")
        pictures[name] = Picture(folder / f"{name}.png", alt)
    template = files("ssl_registry.experiments.evaluation").joinpath("page.html.jinja")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    header, *rows = csv.reader(classes.splitlines())
    page = environment.from_string(template.read_text("utf-8")).render(
        result=result, header=header, rows=rows, pictures=pictures,
        patients=len(set(result["patients"].values())),
    )  # fmt: skip
    write_text(folder / PAGE, page)
    return folder / PAGE


def _of_grades(
    result: Mapping[str, Any], labels: Mapping[int, str]
) -> dict[str, tuple[Figure, str]]:
    """Return the confusion matrix, and the receiver operating characteristic of each class."""
    said = list(result["cases"].values())
    pairs = [(int(case["reference"]), int(case["predicted"])) for case in said]
    count = len(labels)
    figures = {}
    if count <= MOST_CLASSES:
        table = np.zeros((count, count), dtype=np.int64)
        for reference, predicted in pairs:
            table[reference, predicted] += 1
        named = {str(value): name for value, name in labels.items()}
        figure = draw_confusion({"model": table}, named, f"{len(said)} cases")
        figures["confusion"] = (figure, "which class was taken for which")
    if said and all("p_0" in case for case in said):
        figures["roc"] = (_draw_roc(said, labels), "true against false positives, of each class")
    return figures


def _draw_roc(cases: Sequence[Mapping[str, float]], labels: Mapping[int, str]) -> Figure:
    """Return the receiver operating characteristic of each class against the rest."""
    from sklearn.metrics import roc_curve  # type: ignore[import-untyped]

    figure = Figure(figsize=(WIDTH, WIDTH), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
    shown = [value for value in labels if len(labels) > 2 or value == max(labels)]
    for number, value in enumerate(shown):
        truth = [int(case["reference"]) == value for case in cases]
        if 0 < sum(truth) < len(truth):
            false, true, _ = roc_curve(truth, [case[f"p_{value}"] for case in cases])
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(false, true, color=colour, linewidth=1.3, label=plain(labels[value]))
    axes.set_xlabel("share of the others that is taken for it", fontsize=9)
    axes.set_ylabel("share of the class that is found", fontsize=9)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def _worst(
    ensemble: Ensemble,
    result: Mapping[str, Any],
    cases: Sequence[Case],
    answers: HeldOutAnswers,
) -> list[Sample]:
    """Return the cases with the lowest scores, as they are shown; right answers are none."""
    said = list(result["cases"].values())
    graded = ensemble.summary.downstream.target_kind == "class"
    badness = [_badness(case, result["headline"], graded) for case in said]
    order = sorted(range(len(cases)), key=lambda place: -badness[place])
    chosen = [place for place in order if badness[place] > 0][:WORST]
    return [
        _sample(ensemble, cases[place], place, answers, said[place], result) for place in chosen
    ]


def _badness(case: Mapping[str, float], headline: str, graded: bool) -> float:
    """Return how wrong an answer is; nothing or less where it is right, or cannot be judged."""
    if graded:
        wrong = case["predicted"] != case["reference"]
        return case.get(f"p_{int(case['predicted'])}", 1.0) if wrong else 0.0
    value = case.get(headline, math.nan)
    return 0.0 if math.isnan(value) else 1 - value


def _sample(
    ensemble: Ensemble,
    case: Case,
    place: int,
    answers: HeldOutAnswers,
    said: Mapping[str, float],
    result: Mapping[str, Any],
) -> Sample:
    scan = case.read()
    placed = ensemble.members[0].place(scan, case.name)
    image = placed.image
    predicted, target = answers.predictions[place], answers.targets[place]
    if ensemble.summary.slices is not None:
        middle = image.shape[1] // 2
        image = image[:, middle]
    if predicted.ndim:
        if ensemble.summary.slices is not None:
            image = scan["image"].data.float()
            shape, affine = tuple(scan.spatial_shape), scan["image"].affine
        else:
            shape, affine = tuple(image.shape[1:]), placed.affine
        whole = [one[..., None] if one.ndim == 2 else one for one in (predicted, target)]
        values = ensemble.summary.label_values
        predicted, target = (
            as_values(labels_as_prepared(one, scan, shape, affine), values) for one in whole
        )
    score = said.get(result["headline"], math.nan)
    return Sample(
        case.name,
        image,
        target.numpy().astype(np.int64),
        {"model": predicted.numpy().astype(np.int64)},
        {"model": score},
    )
