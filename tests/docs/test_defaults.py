"""The defaults that pages name are those of the settings."""

import re
from pathlib import Path

import pytest

from ssl_registry.experiments.grid.budgets import FinetuneBudget, PretrainBudget
from ssl_registry.training.settings.optimisation import OptimisationSettings, decay_of

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_on_optimising_has_the_defaults() -> None:
    page = (DOCS / "explanation" / "how-training-optimises.md").read_text(encoding="utf-8")
    table = page[page.index("| setting |") : page.index("`ssl-registry show pretrain`")]
    said = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", table, re.MULTILINE))
    defaults = {name: field.default for name, field in OptimisationSettings.model_fields.items()}
    assert said.pop("weight_decay") == f"{decay_of('adamw', None):g} by `adamw`, else 0"
    assert decay_of("adam", None) == decay_of("sgd", None) == 0
    assert defaults.pop("weight_decay") is None
    spelt = {
        name: f"`{value}`" if isinstance(value, str) else f"{value:g}"
        for name, value in defaults.items()
    }
    assert said == spelt


@pytest.mark.parametrize(
    ("budget", "names"),
    [
        (PretrainBudget, ("epochs", "batch_size", "learning_rate")),
        (FinetuneBudget, ("steps", "batch_size", "learning_rate", "freeze_share")),
    ],
)
def test_the_page_on_the_curve_has_the_defaults_of_its_budgets(
    budget: type[PretrainBudget | FinetuneBudget], names: tuple[str, ...]
) -> None:
    page = (DOCS / "how-to" / "data-efficiency.md").read_text(encoding="utf-8")
    which = "pretrain" if budget is PretrainBudget else "finetune"
    first, *others = names
    row = ", ".join([f"`{which}.{first}`", *(f"`.{name}`" for name in others)])
    defaults = ", ".join(f"{budget.model_fields[name].default:g}" for name in names)
    assert f"| {row} | {defaults} |" in page
