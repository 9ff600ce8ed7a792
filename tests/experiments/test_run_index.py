"""The index beside the runs: what it saves, what it notices, and that it can be made again."""

import json
import os
from pathlib import Path

import pytest

from ssl_registry.errors import RunError
from ssl_registry.experiments.grid import going_on
from ssl_registry.experiments.grid import index as index_module
from ssl_registry.experiments.grid.cells import Grid, make_grid
from ssl_registry.experiments.grid.going_on import check_unchanged, keep_settings
from ssl_registry.experiments.grid.index import INDEX
from ssl_registry.experiments.grid.pace import Pace
from ssl_registry.experiments.grid.results import pretrain_rows_of, rows_of
from ssl_registry.experiments.statistics.rows import Row
from ssl_registry.training.files.run_result import RESULT
from ssl_registry.training.preparation.cases import quiet_or_loud
from tests.experiments.large import large_settings, make_up


@pytest.fixture
def made(tmp_path: Path) -> Grid:
    grid = make_up(large_settings(tmp_path / "out", seeds=1))
    keep_settings(grid)
    return grid


def look(grid: Grid) -> list[Row]:
    """Look at all runs as a second call does, and write the index."""
    check_unchanged(grid)
    Pace(grid, 1)
    rows = rows_of(grid)
    pretrain_rows_of(grid)
    grid.index.append()
    return rows


def again(grid: Grid) -> Grid:
    return make_grid(grid.settings, quiet_or_loud(quiet=True))


def test_what_was_read_once_is_not_read_again(made: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = look(made)
    assert len(rows) == 36

    def read_anew(*_: object) -> None:
        raise AssertionError("a file of a run was read again")

    monkeypatch.setattr(index_module, "read_result", read_anew)
    monkeypatch.setattr(going_on, "check_same_settings", read_anew)
    assert look(again(made)) == rows


def test_without_its_file_the_index_is_made_again_from_the_runs(made: Grid) -> None:
    rows, path = look(made), made.settings.out / INDEX
    whole = path.read_text()
    path.unlink()
    assert look(again(made)) == rows
    assert sorted(path.read_text().split()) == sorted(whole.split())


def test_lines_are_appended_and_one_that_was_cut_off_costs_itself_alone(made: Grid) -> None:
    rows, path = look(made), made.settings.out / INDEX
    before = path.read_text()
    look(again(made))
    assert path.read_text() == before
    path.write_text(before[:-40])
    assert look(again(made)) == rows
    assert path.read_text().startswith(before[:-40])
    assert look(again(made)) == rows
    path.write_text("what is this?\n[1, 2]\n" + before)
    assert look(again(made)) == rows


def test_a_result_that_changed_is_read_anew(made: Grid) -> None:
    rows = look(made)
    folder = made.finetuning[0].settings.out
    said = json.loads((folder / RESULT).read_text())
    said["score"]["dice"] = 0.123456
    (folder / RESULT).write_text(json.dumps(said))
    os.utime(folder / RESULT, (1, 1))
    now = look(again(made))
    assert now[0].score == 0.123456
    assert now[1:] == rows[1:]


def test_a_changed_setting_is_noticed_in_spite_of_the_index(made: Grid) -> None:
    look(made)
    folder = made.finetuning[3].settings.out
    said = json.loads((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(json.dumps({**said, "learning_rate": 0.5}))
    with pytest.raises(RunError, match=r"learning_rate=0\.5"):
        check_unchanged(again(made))


def test_a_run_that_is_gone_is_missing(made: Grid) -> None:
    look(made)
    (made.finetuning[0].settings.out / RESULT).unlink()
    grid = again(made)
    assert len(look(grid)) == 35
    assert Pace(grid, 1).missing == 1
