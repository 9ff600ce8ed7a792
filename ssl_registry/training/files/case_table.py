"""`cases.csv` of a run: which cases it began with, in which part, and what each of them showed.

It is written before the first step. Whoever goes on with the run compares: the same cases wherever
they lie now, or a message that names every difference.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Final

from ssl_registry.data.sources.cases import CLASS, Part, Source
from ssl_registry.data.splits import Split
from ssl_registry.documents import MOST_JSON, brief, read_text
from ssl_registry.errors import RunError, spell
from ssl_registry.training.files.run_folder import CASES, RunFolder

SHOWN: Final = 10
"""Differences that are listed one by one."""


@dataclass(frozen=True)
class CaseRow:
    """A row of the table.

    Attributes:
        case: its name.
        part: `train`, `validation` or `test`; empty where no part takes it.
        group: its patient.
        content: hash of its voxels and their grid.
        label: hash of its label map, or its class; empty where it has none.
    """

    case: str
    part: Part | str
    group: str
    content: str
    label: str


COLUMNS: Final = tuple(column.name for column in fields(CaseRow))


def case_rows(source: Source, split: Split) -> list[CaseRow]:
    """Return the row of each case of a source that was read."""
    parts: dict[str, Part] = {case.name: "train" for case in split.train}
    parts |= {case.name: "validation" for case in split.validation}
    parts |= {case.name: "test" for case in split.test}
    return [
        CaseRow(
            case.name,
            parts.get(case.name, ""),
            source.group_of(case),
            source.contents[case.name].image,
            source.label_of(case),
        )
        for case in source.cases
    ]


def as_text(rows: Iterable[CaseRow]) -> str:
    """Return the text of `cases.csv`."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(map(astuple, rows))
    return text.getvalue()


def read_cases(folder: Path) -> list[CaseRow]:
    """Return the rows of a run's `cases.csv`.

    Raises:
        RunError: there is none, or it is damaged.
    """
    path = folder / CASES
    try:
        head, *rows = csv.reader(io.StringIO(read_text(path, RunError, MOST_JSON), newline=""))
    except (RunError, ValueError, csv.Error) as error:
        raise RunError(
            f"{spell(path)} cannot be read ({brief(str(error))}), so whether the data are "
            "those that the run began with are unknown: delete the run's folder and begin again"
        ) from error
    if tuple(head) != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
        raise RunError(
            f"{spell(path)} is damaged: expected the columns {','.join(COLUMNS)}; delete the run's "
            "folder and begin it again"
        )
    return [CaseRow(*row) for row in rows]


def check_cases(folder: RunFolder, now: Sequence[CaseRow]) -> None:
    """See that a run that goes on has the cases that it began with.

    Raises:
        RunError: it has not; the message names what is different.
    """
    found = list(case_changes(read_cases(folder.path), now))
    if found:
        raise RunError(
            f"the data are not those that the run in out={folder.path} began with: "
            f"{summarise_changes(found)}; put them back as they were, or begin a new run in "
            "another folder"
        )


def summarise_changes(found: Sequence[str]) -> str:
    """Return differences as one line."""
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(found[:SHOWN]) + more


def case_changes(
    before: Sequence[CaseRow], now: Sequence[CaseRow], *, labels: bool = True
) -> Iterator[str]:
    """Yield what is different, case by case; the order of the cases counts for nothing.

    Args:
        before: what a run began with.
        now: what there is.
        labels: whether labels count: nothing of them reaches pretraining.
    """
    old, new = ({row.case: row for row in rows} for rows in (before, now))
    gone = {name: row for name, row in old.items() if name not in new}
    added = {name: row for name, row in new.items() if name not in old}
    renamed = dict(_renamed(gone, added))
    for name in gone:
        yield (
            f"{spell(name)} is called {spell(renamed[name])} now"
            if name in renamed
            else f"{spell(name)} is gone"
        )
    yield from (f"{spell(name)} was added" for name in added if name not in renamed.values())
    for name in [name for name in old if name in new]:
        yield from _compare(old[name], new[name], labels)


def _renamed(
    gone: Mapping[str, CaseRow], added: Mapping[str, CaseRow]
) -> Iterator[tuple[str, str]]:
    """Yield the old and the new name of each image that is there under another one."""
    names = {row.content: name for name, row in added.items()}
    for name, row in gone.items():
        if row.content in names:
            yield name, names.pop(row.content)


def _compare(old: CaseRow, new: CaseRow, labels: bool) -> Iterator[str]:
    name = spell(old.case)
    if old.content != new.content:
        yield f"the image of {name} changed"
    if labels and old.label != new.label:
        yield f"the label of {name} changed{_spell_change(old.label, new.label)}"
    if old.group != new.group:
        yield f"{name} is of another patient ({spell(old.group)} before, {spell(new.group)} now)"
    if old.part != new.part:
        yield f"{name} moved from {old.part or 'no part'} to {new.part or 'no part'}"


def _spell_change(old: str, new: str) -> str:
    """Return the classes that a label was and is; hashes of label maps say nothing."""
    if not old or not new:
        return " (there is one now)" if new else " (there is none now)"
    if old.startswith(CLASS) and new.startswith(CLASS):
        return f" ({spell(old)} before, {spell(new)} now)"
    return ""
