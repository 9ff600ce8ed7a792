"""A report of many lines draws a few, says which, and lists all of them."""

from pathlib import Path

import pytest
from matplotlib.image import imread

from ssl_registry.experiments.figures import chosen_lines
from ssl_registry.experiments.figures.chosen_lines import MOST_LINES, choose_lines, spell_choice
from ssl_registry.experiments.figures.report import draw_all
from ssl_registry.experiments.grid.settings import EfficiencySettings
from ssl_registry.experiments.report.page import write_efficiency_report
from ssl_registry.experiments.statistics.summary import Summary, summarise
from tests.experiments.rows import make_rows
from tests.experiments.runs import write_experiment, write_pretraining
from tests.pictures import eyes, write_aptos

SCRATCH = [0.1, 0.2]


def lines(count: int) -> dict[str, dict[float, list[float]]]:
    """Scratch, the worst, and lines of which every further one is better."""
    others = {f"line-{number}": [0.3 + 0.01 * number] * 2 for number in range(count)}
    return {line: {0.1: scores} for line, scores in {"scratch": SCRATCH, **others}.items()}


def summaries(count: int) -> list[Summary]:
    return summarise(make_rows(lines(count)))


def test_few_lines_are_all_drawn_and_nothing_is_said() -> None:
    given = summaries(MOST_LINES)
    assert choose_lines(given) == list(lines(MOST_LINES))
    assert spell_choice(given) == ""


def test_of_many_lines_scratch_and_the_best_are_drawn_in_their_order() -> None:
    given = summaries(MOST_LINES + 3)
    assert choose_lines(given) == ["scratch", *(f"line-{n}" for n in range(3, MOST_LINES + 3))]
    assert spell_choice(given) == "the 8 of 11 lines with the highest mean score, the table has all"


def test_every_figure_of_many_lines_is_that_of_the_chosen_ones_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chosen_lines, "MOST_LINES", 2)
    many = {"scratch": 0.1, "line-0": 0.2, "line-1": 0.5, "line-2": 0.8}
    data = str(write_aptos(tmp_path / "data", eyes(30, classes=3)))
    rows = write_experiment(
        tmp_path / "out", many, fractions=(0.5,), seeds=(0,), data=data, size=16,
        downstream="classification2d",
    )  # fmt: skip
    pretrained = [
        write_pretraining(tmp_path / "pretrain" / line, line, 0, [0.1, 0.5])
        for line in many
        if line != "scratch"
    ]
    few, runs = ([one for one in kind if one.line != "line-0"] for kind in (rows, pretrained))
    settings = EfficiencySettings.read(data=data, out=tmp_path / "out", tasks=["rotation2d"])
    page = write_efficiency_report(settings, rows, [], pretrained)
    draw_all(tmp_path, few, summarise(few), runs)
    assert page.read_text(encoding="utf-8").count("Every figure shows training from scratch") == 1
    names = {"cases", "classes", "confusion", "pretext", "samples"}
    for name in names | {"curve", "curve-linear", "differences"}:
        drawn, alone = page.with_name(f"{name}.png"), tmp_path / f"{name}.png"
        assert imread(drawn).shape == imread(alone).shape, name
        if name in names:  # the others say that lines were left out
            assert drawn.read_bytes() == alone.read_bytes(), name
