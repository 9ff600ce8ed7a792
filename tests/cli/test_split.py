"""`ssl-registry split`: today's division in a file that a run reads."""

import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ssl_registry.cli.app import app
from ssl_registry.errors import ConfigError, RunError
from tests.pictures import eyes, write_aptos


@pytest.fixture
def aptos(tmp_path: Path) -> Path:
    return write_aptos(tmp_path / "aptos", eyes(10))


def split(*words: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, ["split", *words])
    if isinstance(done.exception, Exception):
        raise done.exception
    assert done.exit_code == status, done.output
    return done.output


def parts(path: Path) -> dict[str, str]:
    with path.open() as file:
        return {row["case"]: row["part"] for row in csv.DictReader(file)}


def test_a_split_is_written_and_held_while_data_grow(aptos: Path, tmp_path: Path) -> None:
    out = tmp_path / "split.csv"
    said = split(str(aptos), "--out", str(out), "group_pattern=(.+)_", "test_fraction=0.3")
    assert "12 train, 2 validate, 6 test" in said
    before = parts(out)
    assert set(before) == set(eyes(10))
    assert sum(part == "test" for part in before.values()) == 6
    assert all(before[f"{n}_left"] == before[f"{n}_right"] for n in range(10))
    write_aptos(aptos, eyes(14))
    split(str(aptos), "--out", str(tmp_path / "new.csv"), f"split={out}", "group_pattern=(.+)_")
    after = parts(tmp_path / "new.csv")
    assert {name for name, part in after.items() if part == "test"} == {
        name for name, part in before.items() if part == "test"
    }
    assert len(after) == 28


def test_nothing_is_written_over_unasked(aptos: Path, tmp_path: Path) -> None:
    out = tmp_path / "split.csv"
    out.write_text("mine")
    with pytest.raises(RunError, match="is there already"):
        split(str(aptos), "--out", str(out))
    assert out.read_text() == "mine"
    split(str(aptos), "--out", str(out), "--overwrite")
    assert parts(out)


def test_wrong_words_are_refused(aptos: Path, tmp_path: Path) -> None:
    wrong = {"epochs=3": "epochs", "data=x": "named already", "fold=2": "fold=2"}
    for word, message in wrong.items():
        with pytest.raises(ConfigError, match=message):
            split(str(aptos), "--out", str(tmp_path / "split.csv"), word)
    assert not (tmp_path / "split.csv").exists()
