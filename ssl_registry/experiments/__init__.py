"""Comparisons: plan, run, results, figures, report.

    from ssl_registry.experiments import EfficiencySettings, run_efficiency

Loaded on first use, as the public names of the library are.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ssl_registry.experiments.efficiency import run_efficiency as run_efficiency
    from ssl_registry.experiments.efficiency import show_grid as show_grid
    from ssl_registry.experiments.grid.settings import EfficiencySettings as EfficiencySettings
    from ssl_registry.experiments.statistics.rows import Row as Row
    from ssl_registry.experiments.statistics.rows import read_rows as read_rows

_HOMES: Final = {
    "EfficiencySettings": "grid.settings",
    "Row": "statistics.rows",
    "read_rows": "statistics.rows",
    "run_efficiency": "efficiency",
    "show_grid": "efficiency",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
