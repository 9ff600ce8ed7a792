"""The report of a comparison: a page with figures and a table, and the scores as CSV."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import jinja2
import numpy as np

from ssl_registry.data.cache import prepare_case
from ssl_registry.data.sources import open_source
from ssl_registry.data.whole_files import write_whole
from ssl_registry.experiments.figures import Sample, draw_curves, draw_samples
from ssl_registry.experiments.results import ARMS, Arm, Point, Score, as_csv, curve
from ssl_registry.registry import registry
from ssl_registry.training.finetuning import PREDICTIONS
from ssl_registry.training.run_folder import read_result
from ssl_registry.training.settings import PretrainSettings

SAMPLES: Final = 3
"""Test cases shown as slices."""


def write_report(
    out: Path, run: PretrainSettings, scores: Sequence[Score], freeze_share: float
) -> Path:
    """Write `scores.csv`, `curves.png`, `samples.png` and `report.html`; return the last.

    Args:
        out: the comparison's folder.
        run: the pretraining run.
        scores: of all fine-tuning runs.
        freeze_share: share of the steps in which a pretrained encoder was frozen.
    """
    task = registry.entry_of(run.task).name
    tests, repeats = scores[0].tests, len({score.seed for score in scores})
    curves = {arm: curve(scores, arm) for arm in ARMS}
    caption = (
        f"{task} on {run.data}: mean and standard deviation of {repeats} seeds, {tests} test cases"
    )
    text = as_csv(scores)
    write_whole(out / "scores.csv", lambda beside: beside.write_text(text, encoding="utf-8"))
    draw_curves(out / "curves.png", curves, f"mean {scores[0].headline.capitalize()}", caption)
    _draw_samples(out / "samples.png", run, scores)
    page = _render(
        task=task,
        run=run,
        tests=tests,
        repeats=repeats,
        verdict=verdict(curves),
        curves=_rows(curves),
        parts=_parts(scores),
        most=max(score.labelled for score in scores),
        versions=registry.plugins(),
        shown=_shown_seed(scores),
        share=freeze_share,
    )
    write_whole(out / "report.html", lambda beside: beside.write_text(page, encoding="utf-8"))
    return out / "report.html"


def verdict(curves: Mapping[Arm, Sequence[Point]]) -> list[str]:
    """Return a sentence for each number of labelled cases: what pretraining was worth."""
    lines = []
    for with_it, without in zip(curves["pretrained"], curves["scratch"], strict=True):
        gain = with_it.mean - without.mean
        pairs = zip(with_it.values, without.values, strict=True)
        better = sum(one > other for one, other in pairs)
        lines.append(
            f"{with_it.labelled} labelled: {with_it.mean:.3f} pretrained against "
            f"{without.mean:.3f} from scratch ({gain:+.3f}); better in {better} of "
            f"{len(with_it.values)} seeds"
        )
    return lines


def _rows(curves: Mapping[Arm, Sequence[Point]]) -> list[dict[str, Any]]:
    return [
        {
            "pretrained": one,
            "scratch": other,
            "gain": one.mean - other.mean,
        }
        for one, other in zip(curves["pretrained"], curves["scratch"], strict=True)
    ]


def _parts(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Return the mean Dice of each class at the largest number of labelled cases."""
    most = max(score.labelled for score in scores)
    chosen = [score for score in scores if score.labelled == most]
    names = sorted(set.intersection(*(set(score.parts) for score in chosen)))
    rows = []
    for name in names:
        if name == chosen[0].headline:
            continue
        value = name.rpartition("_")[2]
        means: dict[str, float] = {arm: curve(chosen, arm, name)[0].mean for arm in ARMS}
        rows.append({"name": chosen[0].labels.get(value, name), **means})
    return rows


def _shown_seed(scores: Sequence[Score]) -> dict[str, int]:
    counts = sorted({score.labelled for score in scores})
    return {"labelled": counts[len(counts) // 2], "seed": min(score.seed for score in scores)}


def _draw_samples(path: Path, run: PretrainSettings, scores: Sequence[Score]) -> None:
    """Show the first test cases by name, of one seed at the middle number of labels."""
    shown = _shown_seed(scores)
    runs = {
        score.arm: score
        for score in scores
        if score.labelled == shown["labelled"] and score.seed == shown["seed"]
    }
    predictions = {
        arm: np.load(score.folder / PREDICTIONS, allow_pickle=False) for arm, score in runs.items()
    }
    cases = {arm: (read_result(score.folder) or {})["cases"] for arm, score in runs.items()}
    headline = scores[0].headline
    known = {case.name: case for case in open_source(run.data, run.task.spatial_dims).labelled}
    samples = []
    for name in sorted(cases["pretrained"])[:SAMPLES]:
        prepared = prepare_case(known[name], run.preprocessing, run.size)
        samples.append(
            Sample(
                name=name,
                scan=prepared.image()[0].numpy(),
                label=prepared.label().numpy().astype(np.uint8),
                predictions={arm: predictions[arm][name] for arm in ARMS},
                scores={arm: cases[arm][name][headline] for arm in ARMS},
            )
        )
    labels = {int(value): name for value, name in scores[0].labels.items()}
    caption = f"{shown['labelled']} labelled volumes, seed {shown['seed']}; coronal slices"
    draw_samples(path, samples, labels, caption)


def _render(**values: Any) -> str:
    template = files("ssl_registry.experiments").joinpath("report.html.jinja").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(template).render(**values)
