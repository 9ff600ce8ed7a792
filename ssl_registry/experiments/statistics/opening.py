"""The sentence a report opens with: so many labels by pretraining equal so many from scratch."""

from collections.abc import Sequence

from ssl_registry.data.sources.counted_unit import spell_labelled
from ssl_registry.experiments.scratch import SCRATCH
from ssl_registry.experiments.statistics.factor_interval import FactorInterval, factor_interval
from ssl_registry.experiments.statistics.rows import Row
from ssl_registry.experiments.statistics.summary import Summary, repeats
from ssl_registry.experiments.statistics.verdicts import Effect, Verdict
from ssl_registry.experiments.statistics.wording import join


def spell_opening(
    rows: Sequence[Row], summaries: Sequence[Summary], verdicts: Sequence[Verdict]
) -> str:
    """Return what a visitor wants to know, in a sentence.

    Of the lines that helped it speaks of the one that saved most labels, where few decide.

    Args:
        rows: of all finished fine-tuning runs, one at least.
        summaries: of these.
        verdicts: on all lines but scratch.
    """
    helped = [verdict.line for verdict in verdicts if verdict.outcome is Effect.HELPED]
    found = [
        summary
        for summary in summaries
        if summary.line in helped and summary.shown_factor and summary.shown_factor.value > 1
    ]
    if found:
        best = max(found, key=lambda summary: (_factor_of(summary), -summary.labelled))
        return _spell_best(rows, best)
    if helped:
        return f"{join(helped)} helped where labels are few; how many labels it saved is unclear."
    if not verdicts:
        return "There is nothing to compare with training from scratch yet."
    if all(verdict.outcome is Effect.WORSE for verdict in verdicts):
        return "Training from scratch did better than every line here."
    many = "the line" if len(verdicts) == 1 else f"any of the {len(verdicts)} lines"
    return f"From these repeats it is unclear whether {many} helps where labels are few."


def _factor_of(summary: Summary) -> float:
    factor = summary.shown_factor
    return factor.value if factor else 0.0


def _spell_best(rows: Sequence[Row], best: Summary) -> str:
    factor = best.shown_factor
    assert factor is not None
    own = spell_labelled(best.labelled, best.unit, "labelled")
    own += " was" if best.labelled == 1 else " were"
    if factor.bound:  # ">" alone, for a factor of less than one saves nothing
        most = round(best.labelled * factor.value)
        return f"After {best.line}, {own} worth more than {most} from scratch, the most tried."
    equal = best.labelled * factor.value
    count = f"{equal:.0f}" if equal >= 10 else f"{equal:.2g}"
    interval = interval_of(rows, best)
    ends = f" (95 % interval {interval}, by bootstrap over the repeats)" if interval else ""
    return (
        f"After {best.line}, {own} worth as much as {count} from scratch: {factor} times the "
        f"labels{ends}."
    )


def interval_of(rows: Sequence[Row], summary: Summary) -> FactorInterval | None:
    """Return the interval of the label-efficiency factor of a line at a share of the labels."""
    counts = {row.fraction: float(row.labelled) for row in rows if row.line == SCRATCH}
    scratch = {count: repeats(rows, SCRATCH, fraction) for fraction, count in counts.items()}
    return factor_interval(summary.labelled, repeats(rows, summary.line, summary.fraction), scratch)
