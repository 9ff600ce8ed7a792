"""Write docs/reference/conformance.md from the docstrings of the checks.

python scripts/write_conformance_page.py
"""

from collections.abc import Callable, Sequence
from inspect import getdoc
from pathlib import Path
from typing import Any, Final

from ssl_registry.testing.backbone_checks import BACKBONE_CHECKS
from ssl_registry.testing.batch_checks import BATCH_CHECKS
from ssl_registry.testing.component_checks import COMPONENT_CHECKS
from ssl_registry.testing.downstream_checks import DOWNSTREAM_CHECKS
from ssl_registry.testing.learning_checks import LEARNING_CHECKS
from ssl_registry.testing.model_checks import MODEL_CHECKS
from ssl_registry.testing.plugin_checks import PLUGIN_CHECKS

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "conformance.md"

INTRODUCTION: Final = """\
# Conformance checks

What the library relies on, check by check. An author of a plugin runs them as tests, each
under its own name:

```python
from ssl_registry import registry
from ssl_registry.testing import Check, parametrize_with_checks

Rotation2d = registry.get("rotation2d")


@parametrize_with_checks([Rotation2d, "ssl-registry-rotation"])
def test_it_keeps_the_contract(check: Check) -> None:
    check()
```

The list takes components (`MyTask(tiles=3)`), classes, which stand for their default fields,
and names of installed distributions, for their entry points. Without pytest,
`checks_of(MyTask)` returns the same checks to loop over; `check_pretext_task`,
`check_backbone` and `check_downstream_task` run all those of a component at once, and take
the shape of the images, the numbers of channels, and a backbone to try it on. For
everything that a distribution offers, as a table:

```bash
ssl-registry check-plugin ssl-registry-rotation
```

A check that does not hold raises a `ConformanceError`, an `AssertionError` that says what was
expected, what came, and which section of this page explains it. None takes longer than
seconds: networks are small, and images are 64 pixels or 32 voxels a side.

This page is written by `scripts/write_conformance_page.py` from the checks themselves.
"""

SECTIONS: Final[dict[str, tuple[str, Sequence[Callable[[Any], None]]]]] = {
    "Every component": ("A component is a value, made of its fields.", COMPONENT_CHECKS),
    "Pretext tasks: batches": ("What `make_batch` promises.", BATCH_CHECKS),
    "Pretext tasks: heads and metrics": ("What `PretextModel` relies on.", MODEL_CHECKS),
    "Backbones": ("What `build` and the encoders promise.", BACKBONE_CHECKS),
    "Downstream tasks": ("What heads, predictions and scores promise.", DOWNSTREAM_CHECKS),
    "Everything that learns": (
        "For pretext tasks the network is the encoder with the task's head; for backbones the "
        "encoder; for downstream tasks the encoder with the task's head.",
        LEARNING_CHECKS,
    ),
    "Distributions": ("What an installed plugin promises.", PLUGIN_CHECKS),
}


def page() -> str:
    """Return the whole page."""
    parts = [INTRODUCTION]
    for title, (what, checks) in SECTIONS.items():
        parts.append(f"## {title}\n\n{what}\n")
        parts += [f"### {check.__name__}\n\n{getdoc(check)}\n" for check in checks]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
