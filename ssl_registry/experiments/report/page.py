"""The report of an experiment: a page that needs no network, its figures, and tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import jinja2
import yaml

from ssl_registry.data.sources.counted_unit import spell_labelled
from ssl_registry.errors import SslRegistryError
from ssl_registry.experiments.figures.report import draw_all
from ssl_registry.experiments.figures.styles import spell_line
from ssl_registry.experiments.files import write_text
from ssl_registry.experiments.grid.settings import EfficiencySettings
from ssl_registry.experiments.report.appendix_table import as_markdown
from ssl_registry.experiments.report.class_tables import classes_as_csv, classes_as_markdown
from ssl_registry.experiments.statistics.estimates import Estimate
from ssl_registry.experiments.statistics.further_scores import further_scores
from ssl_registry.experiments.statistics.opening import interval_of, spell_opening
from ssl_registry.experiments.statistics.rows import Failure, PretrainRow, Row
from ssl_registry.experiments.statistics.summary import Summary, as_csv, summarise
from ssl_registry.experiments.statistics.verdicts import (
    few_label_fractions,
    judge_lines,
    spell_tests,
)
from ssl_registry.experiments.statistics.wording import join, spell_estimate, spell_p, spell_share
from ssl_registry.training.files.encoder_summary import read_encoder_summary
from ssl_registry.training.files.seen_cases import declared_in

SUMMARY: Final = "summary.csv"
FOLDER: Final = "report"
PAGE: Final = "index.html"
TABLE: Final = "table.md"
CLASS_TABLE: Final = "classes.md"
CLASSES: Final = "classes.csv"

PROBES: Final[Mapping[str, str]] = {
    "linear_probe": "linear probe",
    "knn_probe": "nearest neighbours",
}
"""Scores of frozen features, and what they are called."""


def write_efficiency_report(
    settings: EfficiencySettings,
    rows: Sequence[Row],
    failures: Sequence[Failure],
    pretrained: Sequence[PretrainRow],
) -> Path:
    """Write `summary.csv`, `classes.csv` and the folder `report`; return the path of the page.

    Args:
        settings: of the experiment.
        rows: of all finished fine-tuning runs.
        failures: cells that failed.
        pretrained: all finished pretraining runs.
    """
    places = {label: place for place, label in enumerate(settings.labels)}
    rows = sorted(rows, key=lambda row: places.get(row.line, len(places)))
    folder = settings.out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    summaries = summarise(rows)
    pictures = None
    if rows:
        write_text(settings.out / SUMMARY, as_csv(summaries, rows[0].headline))
        table = as_markdown(summaries, rows[0].headline, _caption(settings, rows))
        write_text(folder / TABLE, table)
        if by_class := classes_as_markdown(rows):
            write_text(folder / CLASS_TABLE, by_class)
            write_text(settings.out / CLASSES, classes_as_csv(rows))
        pictures = draw_all(folder, rows, summaries, pretrained)
    verdicts = judge_lines(rows, summaries, pretrained, failures) if rows else []
    page = _render(
        opening=spell_opening(rows, summaries, verdicts) if rows else "",
        settings=yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False),
        caption=_caption(settings, rows) if rows else "",
        verdicts=verdicts,
        few=join([spell_share(share) for share in few_label_fractions(rows)]),
        test_sets=len({row.fold for row in rows}),
        tests=spell_tests(rows) if rows else "",
        table=_table(rows, summaries),
        probes=[name for key, name in PROBES.items() if any(key in row.scores for row in rows)],
        further=further_scores(rows),
        further_table=_further_table(rows, summaries),
        headline=rows[0].headline if rows else "",
        validated=any(row.validation for row in rows),
        pictures=pictures,
        undefined=sum(summary.missing for summary in summaries),
        failures=failures,
        makers=_makers(rows),
    )
    write_text(folder / PAGE, page)
    return folder / PAGE


def _caption(settings: EfficiencySettings, rows: Sequence[Row]) -> str:
    """Return what was measured on what, in a sentence."""
    repeats = sorted({(row.seed, row.fold) for row in rows})
    seeds, folds = (len({key[place] for key in repeats}) for place in (0, 1))
    many = f"{seeds} seed{'s' if seeds > 1 else ''}"
    if folds > 1:
        many += f" on each of {folds} folds"
    steps = ", ".join(str(steps) for steps in sorted({row.steps for row in rows}))
    return (
        f"Scores are {rows[0].headline} on {spell_tests(rows)} held-out test cases of "
        f"{settings.data}; "
        f"{many}; every run took {steps} optimiser steps, with augmentation "
        f"{settings.finetune.augment.spell()}.{_spell_kept(settings)}{_spell_encoders(settings)}"
    )


def _spell_kept(settings: EfficiencySettings) -> str:
    """Say where encoders are not those of the last epoch."""
    kept = [
        line.label for line in settings.tasks if settings.pretrain_budget(line).keep == "best-probe"
    ]
    if not kept:
        return ""
    return (
        f" The encoders of {', '.join(kept)} are those of the best probe on labelled training "
        "patients, not of the last epoch."
    )


def _spell_encoders(settings: EfficiencySettings) -> str:
    """Return what there is to know of encoders that existed before.

    That is what weights from elsewhere have seen, as whoever imported them declared it, and in what
    the images that an encoder saw were prepared otherwise.
    """
    sentences = ""
    for label, encoder in settings.starting_encoders.items():
        try:
            summary = read_encoder_summary(encoder)
        except SslRegistryError:  # its folder is gone, and its plugin may be: the rows are there
            continue
        if declared := declared_in(summary.data):
            sentences += f" The weights of {label} have seen, as declared, {declared}."
        if settings.preprocessing is not None:
            for difference in summary.image_recipe.differences(settings.preprocessing):
                sentences += f" The encoder of {label} {difference}."
    return sentences


@dataclass(frozen=True)
class TableRow:
    """A row of the page's table, in words."""

    share: str
    labelled: str
    line: str
    score: str
    runs: int
    difference: str
    p: str
    p_holm: str
    better: str
    factor: str
    lesson: str
    probes: tuple[str, ...]


def _table(rows: Sequence[Row], summaries: Sequence[Summary]) -> list[list[TableRow]]:
    """Return the rows of the table, those of one share of the labels together."""
    probes = {
        key: {(s.line, s.fraction): s.score for s in summarise(rows, key)}
        for key in PROBES
        if any(key in row.scores for row in rows)
    }
    return [
        [
            _table_row(rows, summary, [found[summary.line, share] for found in probes.values()])
            for summary in summaries
            if summary.fraction == share
        ]
        for share in sorted({summary.fraction for summary in summaries})
    ]


def _table_row(rows: Sequence[Row], summary: Summary, probes: Sequence[Estimate]) -> TableRow:
    comparison = summary.comparison
    gain = comparison.difference if comparison else Estimate.of([])
    known = comparison is not None and gain.count > 0
    return TableRow(
        share=spell_share(summary.fraction),
        labelled=spell_labelled(summary.labelled, summary.unit),
        line=spell_line(summary.line),
        score=spell_estimate(summary.score),
        runs=summary.score.count,
        difference=spell_estimate(gain, signed=True) if known else "",
        p=_bare(comparison.p) if comparison and gain.bounded else "",
        p_holm=_bare(comparison.p_holm) if comparison and gain.bounded else "",
        better=f"{comparison.better} of {gain.count}" if comparison and known else "",
        factor=_spell_factor(rows, summary),
        lesson=summary.learnt.spell(),
        probes=tuple(f"{probe.mean:.3f}" if probe.count else "" for probe in probes),
    )


def _spell_factor(rows: Sequence[Row], summary: Summary) -> str:
    if summary.shown_factor is None:
        return ""
    interval = interval_of(rows, summary)
    return f"{summary.shown_factor} ({interval})" if interval else str(summary.shown_factor)


@dataclass(frozen=True)
class FurtherRow:
    """A row of the page's table of scores beside the headline, in words."""

    share: str
    labelled: str
    line: str
    scores: tuple[str, ...]


def _further_table(rows: Sequence[Row], summaries: Sequence[Summary]) -> list[list[FurtherRow]]:
    """Return the rows of the table, those of one share of the labels together."""
    found = [
        {(s.line, s.fraction): s.score for s in summarise(rows, name)}
        for name in further_scores(rows)
    ]
    return [
        [
            FurtherRow(
                spell_share(share),
                spell_labelled(summary.labelled, summary.unit),
                spell_line(summary.line),
                tuple(spell_estimate(scores[summary.line, share]) for scores in found),
            )
            for summary in summaries
            if summary.fraction == share
        ]
        for share in sorted({summary.fraction for summary in summaries})
        if found
    ]


def _bare(p: float) -> str:
    return spell_p(p).removeprefix("p ").removeprefix("= ")


def _makers(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the versions that made the runs, and how many runs each of them made."""
    makers: dict[tuple[Any, ...], int] = {}
    for row in rows:
        key = (row.git, *sorted(row.versions.items()))
        makers[key] = makers.get(key, 0) + 1
    return [
        {"git": git, "versions": versions, "runs": runs}
        for (git, *versions), runs in makers.items()
    ]


def _render(**values: Any) -> str:
    template = files("ssl_registry.experiments.report").joinpath("page.html.jinja")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(template.read_text("utf-8")).render(**values)
