"""The checks that the author of a plugin runs, under any test runner.

    from ssl_registry.testing import Check, parametrize_with_checks

    @parametrize_with_checks([MyTask, MyTask(tiles=3), "my-distribution"])
    def test_it_keeps_the_contract(check: Check) -> None:
        check()

Each check raises a `ConformanceError`, an `AssertionError` that says what was expected, what
came, and where it is documented. `ssl-registry check-plugin my-distribution` runs them
all and prints a table.
"""

from ssl_registry.testing.check import Check, ConformanceError
from ssl_registry.testing.suites import (
    check_backbone,
    check_downstream_task,
    check_pretext_task,
    checks_of,
    checks_of_backbone,
    checks_of_downstream_task,
    checks_of_pretext_task,
    parametrize_with_checks,
)

__all__ = [
    "Check",
    "ConformanceError",
    "check_backbone",
    "check_downstream_task",
    "check_pretext_task",
    "checks_of",
    "checks_of_backbone",
    "checks_of_downstream_task",
    "checks_of_pretext_task",
    "parametrize_with_checks",
]
