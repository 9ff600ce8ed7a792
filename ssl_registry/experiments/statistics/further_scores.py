"""Which scores a downstream task gives beside its headline."""

from collections.abc import Sequence

from ssl_registry.experiments.statistics.rows import Row

PROBED = "_probe"
"""How scores of frozen features end, which a probe gave and not the task."""


def further_scores(rows: Sequence[Row]) -> list[str]:
    """Return the names of the scores over all classes, but for the headline, in their order."""
    return list(
        dict.fromkeys(name for row in rows for name in row.scores if _is_further(name, row))
    )


def _is_further(name: str, row: Row) -> bool:
    """Return whether a score is neither the headline, nor of one class or region, nor a probe's."""
    start = f"{row.headline}_"
    regions = (score.removeprefix(start) for score in row.scores if score.startswith(start))
    of_class = (
        name.rpartition("_")[2] in row.labels
        or name.startswith(start)
        or any(name.endswith(f"_{region}") for region in regions)
    )
    return name != row.headline and not of_class and not name.endswith(PROBED)
