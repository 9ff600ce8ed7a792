"""The scores of single classes with their intervals, as CSV and as markdown."""

import csv
import io
import math
from collections.abc import Sequence

from ssl_registry.data.sources.counted_unit import spell_labelled
from ssl_registry.errors import printable
from ssl_registry.experiments.figures.styles import spell_line
from ssl_registry.experiments.report.appendix_table import EMPTY
from ssl_registry.experiments.statistics.class_scores import ClassScores, class_scores
from ssl_registry.experiments.statistics.estimates import Estimate
from ssl_registry.experiments.statistics.rows import Row
from ssl_registry.experiments.statistics.summary import lines_of
from ssl_registry.experiments.statistics.wording import spell_estimate, spell_share


def scores_by_share(rows: Sequence[Row]) -> dict[float, ClassScores]:
    """Return the scores of each class at each share of the labels; nothing where there are none."""
    found = {f: class_scores(rows, f) for f in sorted({row.fraction for row in rows})}
    return {fraction: scores for fraction, scores in found.items() if scores is not None}


def classes_as_csv(rows: Sequence[Row]) -> str:
    """Return `fraction,labelled,line,class,score,mean,sd,low,high,runs` as CSV."""
    labelled = {row.fraction: row.labelled for row in rows}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(
        ["fraction", "labelled", "line", "class", "score", "mean", "sd", "low", "high", "runs"]
    )
    for fraction, scores in scores_by_share(rows).items():
        for name, lines in scores.classes.items():
            for line, one in lines.items():
                numbers = map(_spell, (one.mean, one.sd, one.low, one.high))
                table.writerow(
                    [
                        f"{fraction:g}",
                        labelled[fraction],
                        line,
                        printable(name),
                        scores.score,
                        *numbers,
                        one.count,
                    ]
                )
    return text.getvalue()


def classes_as_markdown(rows: Sequence[Row]) -> str:
    """Return a table for each share of the labels: a row a class, a column a line."""
    parts: list[str] = []
    for fraction, scores in scores_by_share(rows).items():
        first = next(row for row in rows if row.fraction == fraction)
        lines = [line for line in lines_of(rows) if any(line in c for c in scores.classes.values())]
        heads = [scores.score, *map(spell_line, lines)]
        body = [
            [printable(name).replace("|", "\\|"), *(_cell(found.get(line)) for line in lines)]
            for name, found in scores.classes.items()
        ]
        table = [heads, ["---", *("---:" for _ in lines)], *body]
        parts += [
            f"{spell_share(fraction)} ({spell_labelled(first.labelled, first.unit)}), mean and 95 "
            "% interval over the repeats:",
            "",
            *(f"| {' | '.join(row)} |" for row in table),
            "",
        ]
    return "\n".join(parts)


def _cell(estimate: Estimate | None) -> str:
    return EMPTY if estimate is None or not estimate.count else spell_estimate(estimate)


def _spell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
