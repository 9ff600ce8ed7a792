"""cases.csv of an experiment: every test case beside training from scratch."""

import csv
from pathlib import Path

from ssl_registry.experiments.statistics.case_differences import CASES, write_case_differences
from ssl_registry.training.files.run_result import read_result
from tests.experiments.runs import write_experiment, write_run
from tests.pictures import eyes, write_aptos


def read(out: Path) -> list[dict[str, str]]:
    with (out / CASES).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_case_of_every_run_stands_beside_scratch(tmp_path: Path) -> None:
    rows = write_experiment(
        tmp_path, {"scratch": 0.3, "rpl3d": 0.8}, fractions=(0.1, 0.5), seeds=(0, 1), size=16
    )
    write_case_differences(tmp_path, rows)
    found = read(tmp_path)
    results = {(r.line, r.fraction, r.seed): read_result(r.folder) or {} for r in rows}
    assert len(found) == sum(len(result["cases"]) for result in results.values())
    for row in found:
        key = float(row["fraction"]), int(row["seed"])
        own = results[(row["line"], *key)]["cases"][row["case"]]
        scratch = results[("scratch", *key)]["cases"][row["case"]]["dice"]
        assert float(row["dice"]) == own["dice"]
        assert float(row["scratch"]) == scratch
        assert float(row["difference"]) == own["dice"] - scratch
    means = [float(row["difference"]) for row in found if row["line"] == "rpl3d"]
    assert sum(means) / len(means) > 0.1


def test_grades_are_right_or_wrong(tmp_path: Path) -> None:
    data = str(write_aptos(tmp_path / "data", eyes(12, classes=3)))
    rows = write_experiment(
        tmp_path, {"scratch": 0.0, "any2d": 1.0}, data=data, downstream="classification2d",
        fractions=(0.5,), seeds=(0,), size=16,
    )  # fmt: skip
    write_case_differences(tmp_path, rows)
    for row in read(tmp_path):
        assert row["correct"] == str(int(row["predicted"] == row["reference"]))
        if row["line"] == "any2d":
            assert int(row["difference"]) == 1 - int(row["scratch"])


def test_a_run_without_its_partner_has_no_difference(tmp_path: Path) -> None:
    row = write_run(tmp_path / "run", "rpl3d", 0.5, 0, 0.9, size=16)
    write_case_differences(tmp_path, [row])
    for line in read(tmp_path):
        assert 0 < float(line["dice"]) < 1
        assert (line["scratch"], line["difference"]) == ("", "")
        assert line["patient"] == line["case"]
