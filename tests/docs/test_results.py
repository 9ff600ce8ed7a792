"""The published tables are what the code makes of the published rows."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_site"))

from evidence import HEADLINES, evidence_pictures, rows_of, table_of  # noqa: E402

from ssl_registry.experiments.scratch import SCRATCH  # noqa: E402

NAMES = sorted(HEADLINES)
IN_SPACE = ("rotation3d", "rpl3d", "jigsaw3d", "exemplar3d")
LINES = {
    "hippocampus": IN_SPACE,
    "few-labels": IN_SPACE,
    "supervised": ("supervised",),
    "two-levels": IN_SPACE,
    "levels": ("finest-1", "finest-2", "finest-3"),
    "fundus": ("rotation2d", "rpl2d", "jigsaw2d", "exemplar2d"),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_tables_of_the_page_are_those_of_the_rows(name: str) -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert table_of(name).strip() in page, f"paste this:\n{table_of(name)}"


@pytest.mark.parametrize("name", NAMES)
def test_every_line_has_the_same_repeats(name: str) -> None:
    rows = rows_of(name)
    repeats = {
        line: {(row.seed, row.labelled) for row in rows if row.line == line}
        for line in {row.line for row in rows}
    }
    assert set(repeats) == {SCRATCH, *LINES[name]}
    assert all(repeats[line] == repeats[SCRATCH] for line in repeats)
    assert len({row.seed for row in rows}) >= 3


def test_each_experiment_has_a_curve_and_its_differences() -> None:
    pictures = evidence_pictures()
    assert set(pictures) == {
        f"pictures/{name}-{kind}.png" for name in NAMES for kind in ("curve", "differences")
    }
    assert all(content.startswith(b"\x89PNG") for content in pictures.values())
