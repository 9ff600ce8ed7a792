"""List the commands behind `docs/results.md`, and how long each took: `make results`.

Run it from the root of the repository. Nothing is trained.
"""

import csv
import sys
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "docs" / "results"
PART_OF = {"levels": "supervised"}
"""Rows that another file's command gives with other settings, as the page says."""

OWN = {"from-scratch": "python scripts/measure_from_scratch.py"}
"""Rows that are no experiment's, and the command that writes them."""


def settings_of(rows: Path) -> Path:
    """Return the file of settings that rows were made with."""
    return RESULTS / f"{PART_OF.get(rows.stem, rows.stem)}.yaml"


def hours(rows: Path) -> float:
    """Return the hours of the fine-tuning runs behind a table, on the cores they ran on."""
    with rows.open(encoding="utf-8", newline="") as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file)) / 3600


def main() -> None:
    """Print a line for each table: its rows, the command, the hours."""
    for rows in sorted(RESULTS.glob("*.csv"), key=lambda file: file.stem):
        settings = settings_of(rows).relative_to(RESULTS.parents[1])
        command = OWN.get(rows.stem, f"ssl-registry efficiency {settings}")
        more = "" if rows.stem in OWN else "; pretraining comes on top"
        sys.stdout.write(f"{rows.name}: {command}  # {hours(rows):.1f} h of fine-tuning{more}\n")


if __name__ == "__main__":
    main()
