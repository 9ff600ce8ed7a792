"""Numbers of the statistics in words and digits."""

from collections.abc import Sequence

from ssl_registry.experiments.statistics.estimates import Estimate
from ssl_registry.experiments.statistics.summary import DECIMALS, rounds_to_nothing


def spell_share(fraction: float) -> str:
    """Return a share as a person would say it."""
    return f"{100 * fraction:.3g} %"


def spell_p(p: float) -> str:
    """Return a p value with as many digits as mean something."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def spell_both_p(p: float, p_holm: float, lines: int) -> str:
    """Return a p value, and beside it that corrected for the number of lines, if several."""
    if lines < 2:
        return spell_p(p)
    corrected = spell_p(p_holm).removeprefix("p ").removeprefix("= ")
    return f"{spell_p(p)}; {corrected} corrected for {lines} lines"


def spell_gain(difference: float) -> str:
    """Return a difference with its sign, which 0.000 has not."""
    if rounds_to_nothing(difference):
        return f"{0:.{DECIMALS}f}"
    return f"{difference:+.{DECIMALS}f}"


def spell_scope(estimate: Estimate, tests: str) -> str:
    """Return what an interval covers: other patients, or repeats on the same ones.

    Args:
        estimate: with its observations.
        tests: how many test cases there are.
    """
    if not estimate.test_sets:
        return f"over {estimate.count} repeats on the same {tests} test cases"
    each = estimate.count / len(estimate.test_sets)
    several = f", each averaged over its {each:.3g} repeats" if each > 1 else ""
    return f"over {len(estimate.test_sets)} test sets{several}"


def spell_estimate(estimate: Estimate, *, signed: bool = False) -> str:
    """Return the mean and, where there is one, its interval; `-` where there is no value.

    Args:
        estimate: to be written.
        signed: whether it is of differences, whose sign is written.
    """
    if estimate.count == 0:
        return "-"
    low, mean, high = (
        spell_gain(value) if signed else f"{value:.{DECIMALS}f}"
        for value in (estimate.low, estimate.mean, estimate.high)
    )
    return f"{mean} ({low} to {high})" if estimate.bounded else mean


def join(words: Sequence[str]) -> str:
    """Return words as a list in a sentence."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
