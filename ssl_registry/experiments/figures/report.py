"""The figures of a report: all that the runs allow, as files and as data to embed."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from matplotlib.image import imread

from ssl_registry.errors import DataError
from ssl_registry.experiments.figures.case_gains import draw_case_gains
from ssl_registry.experiments.figures.chosen_lines import choose_lines, spell_choice
from ssl_registry.experiments.figures.classes import draw_class_scores, draw_confusion
from ssl_registry.experiments.figures.curves import draw_curve, draw_differences
from ssl_registry.experiments.figures.pretext import draw_pretext
from ssl_registry.experiments.figures.samples import draw_graded, draw_masks
from ssl_registry.experiments.figures.shown_cases import ShownCases, choose_shown, read_samples
from ssl_registry.experiments.figures.styles import DPI, save
from ssl_registry.experiments.statistics.case_differences import case_gains
from ssl_registry.experiments.statistics.class_scores import class_scores, confusion
from ssl_registry.experiments.statistics.estimates import Estimate
from ssl_registry.experiments.statistics.rows import PretrainRow, Row
from ssl_registry.experiments.statistics.summary import Summary, lines_of
from ssl_registry.experiments.statistics.verdicts import few_label_fractions, spell_tests
from ssl_registry.experiments.statistics.wording import spell_share

MOST_CLASSES: Final = 20
"""Beyond these a confusion matrix cannot be read."""


@dataclass(frozen=True)
class Picture:
    """A figure in a report.

    Attributes:
        path: of the PNG file.
        alt: text alternative, which says what it shows.
    """

    path: Path
    alt: str

    @property
    def uri(self) -> str:
        """The file itself, as a data URI."""
        return f"data:image/png;base64,{base64.b64encode(self.path.read_bytes()).decode()}"

    @property
    def inches(self) -> float:
        """Its width."""
        return float(imread(self.path).shape[1] / DPI)


@dataclass(frozen=True)
class Pictures:
    """The figures of a report; None where the runs have nothing to draw.

    Attributes:
        choice: which of many lines all of them show beside scratch; nothing where they show all.
        trouble: why there are no samples, where they should be.
    """

    choice: str
    curve: Picture
    linear: Picture
    differences: Picture | None
    cases: Picture | None
    pretext: Picture | None
    classes: Picture | None
    confusion: Picture | None
    samples: Picture | None
    shown: ShownCases
    trouble: str


def draw_all(
    folder: Path,
    rows: Sequence[Row],
    summaries: Sequence[Summary],
    pretrained: Sequence[PretrainRow],
) -> Pictures:
    """Draw all figures into a folder, each of the same lines: few enough to be told apart."""
    choice, shown_lines = spell_choice(summaries), choose_lines(summaries)
    left_out = {summary.line for summary in summaries} - {*shown_lines}
    rows = [row for row in rows if row.line not in left_out]
    summaries = [summary for summary in summaries if summary.line not in left_out]
    pretrained = [run for run in pretrained if run.line not in left_out]
    shown = choose_shown(rows)
    samples, trouble = _samples(folder / "samples.png", shown)
    return Pictures(
        choice=choice,
        curve=_curve(folder / "curve.png", rows, summaries, choice, log=True),
        linear=_curve(folder / "curve-linear.png", rows, summaries, choice, log=False),
        differences=_differences(folder / "differences.png", rows, summaries, choice),
        cases=_cases(folder / "cases.png", rows),
        pretext=_pretext(folder / "pretext.png", pretrained, lines_of(rows)),
        classes=_classes(folder / "classes.png", rows),
        confusion=_confusion(folder / "confusion.png", rows, shown.fraction),
        samples=samples,
        shown=shown,
        trouble=trouble,
    )


def _curve(
    path: Path, rows: Sequence[Row], summaries: Sequence[Summary], choice: str, *, log: bool
) -> Picture:
    repeats = _repeats([s.score for s in summaries], "repeat")
    caption = _join(f"{spell_tests(rows)} test cases; {repeats} (dots)", choice)
    save(draw_curve(summaries, rows[0].headline, caption, log=log), path)
    axis = "logarithmic" if log else "linear"
    lines = ", ".join(lines_of(rows))
    return Picture(
        path,
        f"{rows[0].headline} against the number of labelled {rows[0].unit} ({axis} axis): {lines}",
    )


def _differences(
    path: Path, rows: Sequence[Row], summaries: Sequence[Summary], choice: str
) -> Picture | None:
    gains = [s.comparison.difference for s in summaries if s.comparison]
    if not any(gain.count for gain in gains):
        return None
    repeats = _repeats(gains, "pair of equal seed and fold", "pairs of equal seed and fold")
    save(draw_differences(summaries, rows[0].headline, _join(repeats, choice)), path)
    return Picture(path, "difference of each line to training from scratch, with its interval")


def _join(said: str, choice: str) -> str:
    return f"{said}; {choice}" if choice else said


def _cases(path: Path, rows: Sequence[Row]) -> Picture | None:
    """Draw the difference of each test case, at the smallest share of the labels that decides."""
    share = few_label_fractions(rows)[0]
    gains = case_gains(rows, share)
    if not gains:
        return None
    save(draw_case_gains(gains, rows[0].headline, spell_share(share)), path)
    return Picture(path, "difference of each test case to training from scratch, by line")


def _pretext(path: Path, pretrained: Sequence[PretrainRow], lines: Sequence[str]) -> Picture | None:
    figure = draw_pretext(pretrained, lines)
    if figure is None:
        return None
    save(figure, path)
    alt = "how pretext tasks were learnt and features formed over the epochs of pretraining"
    return Picture(path, alt)


def _classes(path: Path, rows: Sequence[Row]) -> Picture | None:
    fractions = sorted({row.fraction for row in rows})
    ends = dict.fromkeys([fractions[0], fractions[-1]])
    panels = {f"{spell_share(f)} of the labels": class_scores(rows, f) for f in ends}
    found = {title: scores for title, scores in panels.items() if scores is not None}
    if not found:
        return None
    save(draw_class_scores(found), path)
    return Picture(path, "score of each class, by line")


def _confusion(path: Path, rows: Sequence[Row], fraction: float) -> Picture | None:
    """Draw what was taken for what at one share of the labels, all repeats together."""
    alike = [row for row in rows if row.fraction == fraction]
    tables = {
        line: confusion([row for row in alike if row.line == line]) for line in lines_of(alike)
    }
    counted = [table for table in tables.values() if table.any()]
    if not counted or len(counted[0]) > MOST_CLASSES:
        return None
    caption = f"{spell_share(fraction)} of the labels; test cases of all repeats, counted together"
    save(draw_confusion(tables, rows[0].labels, caption), path)
    return Picture(path, "confusion matrices, one a line")


def _samples(path: Path, shown: ShownCases) -> tuple[Picture | None, str]:
    first = next(iter(shown.runs.values()))
    try:
        samples = read_samples(shown)
    except DataError as error:
        return None, str(error)
    if not samples:
        return None, "none of the test cases is among the data any more"
    if samples[0].target.ndim:
        save(draw_masks(samples, first.labels, first.headline), path)
        return Picture(path, "scan, label and predictions of some test cases"), ""
    save(draw_graded(samples, first.labels), path)
    return Picture(path, "test images with their true and their predicted classes"), ""


def _repeats(estimates: Sequence[Estimate], one: str, several: str = "") -> str:
    """Return how many repeats there are at most, and whether that makes intervals."""
    most = max(estimate.count for estimate in estimates)
    sets = max(len(estimate.test_sets) for estimate in estimates)
    bands = "95 % intervals" if any(e.bounded for e in estimates) else "no interval"
    over = f"{bands} over {most} {one if most == 1 else several or one + 's'}"
    return f"{over}, averaged on each of {sets} test sets" if sets else over
