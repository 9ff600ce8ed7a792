"""Files that hold a split while data grow: a table of cases and parts, or nnU-Net's folds."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from ssl_registry.data.atomic_files import write_whole
from ssl_registry.data.formats.pictures import is_picture
from ssl_registry.data.formats.volumes import case_name, is_volume
from ssl_registry.data.problems import Problem
from ssl_registry.data.sources.cases import Part, Parts, Source
from ssl_registry.data.sources.cells import tidy
from ssl_registry.data.sources.part_names import PARTS
from ssl_registry.data.sources.tables import MOST_BYTES, read_table
from ssl_registry.data.splits import HELD_OUT, Split
from ssl_registry.documents import brief, read_json, read_text
from ssl_registry.errors import DataError, spell

NAMES: Final = ("case", "id")
"""What the column of the cases may be called."""

SHOWN: Final = 20
"""Cases that a message names."""


def read_split(path: Path, source: Source, fold: int | None = None, folds: int = 1) -> Parts:
    """Return the parts that a file gives to the cases of a source.

    Args:
        path: a table with the columns `case` and `part` (train, validation, test), or
            nnU-Net's `splits_final.json`, whose `val` of a fold is the test set here: the
            cases that its score is of.
        source: whose cases they are.
        fold: which fold of a `splits_final.json`; None is the first.
        folds: how many are asked for; 1 takes as many as there are.

    Raises:
        DataError: it cannot be read, names cases that the source lacks, one of them twice, test
            or validation cases without labels, or cases of one patient for several parts.
    """
    said = _read(path, fold, folds)
    return _strict(f"split={spell(path)}", said, source)


def review_split(path: Path, source: Source) -> tuple[Parts, list[Problem]]:
    """Return the parts that a file gives to the cases of a source, and what is wrong with it.

    Patients in several parts are left to `check_parts`.

    Raises:
        DataError: it cannot be read, or names no case of the source at all.
    """
    parts, unknown = _known(_read(path, None, 1), source)
    if not parts:
        raise DataError(f"{spell(path)} names no case of {source.name}")
    bare = _bare(parts, source)
    problems = []
    if unknown:
        what = f"names cases that the data lack: {_spell(unknown)}"
        problems.append(Problem("error", path, what, "take them out, or bring the cases back"))
    if bare:
        what = f"holds out cases that have no label: {_spell(bare)}"
        problems.append(Problem("error", path, what, "take them out, or label them", tuple(bare)))
    left = [case.name for case in source.cases if case.name not in parts]
    if left:
        what = f"leaves {len(left)} cases in no part: {_spell(left)}"
        problems.append(
            Problem("note", path, what, "nothing: they train, but for held-out patients")
        )
    return parts, problems


def read_test_cases(path: Path, source: Source) -> Parts:
    """Return the cases that a file fixes as the test set: a name a line, or a column `case`.

    Raises:
        DataError: it cannot be read, or names cases that the source lacks or that have no label.
    """
    lines = [line.strip() for line in read_text(path, DataError, MOST_BYTES).splitlines()]
    names = [line for line in lines if line]
    if names and names[0].split(",")[0].strip().lower() in NAMES:
        columns, rows = read_table(path)
        names = [row[columns[0]].strip() for row in rows]
    if not names:
        raise DataError(f"test_cases={spell(path)} names no case")
    return _strict(f"test_cases={spell(path)}", [(name, "test") for name in names], source)


def write_split(path: Path, split: Split) -> None:
    """Write a split as a table with the columns `case` and `part`, which `read_split` reads.

    Raises:
        OSError: it cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("case", "part"))
    for part in ("train", "validation", "test"):
        table.writerows((case.name, part) for case in getattr(split, part))
    write_whole(path, lambda beside: beside.write_text(text.getvalue(), "utf-8"))


def _read_parts(path: Path) -> list[tuple[str, Part]]:
    columns, rows = read_table(path)
    known = {column.strip().lower(): column for column in columns}
    named = next((known[name] for name in NAMES if name in known), None)
    if named is None or "part" not in known:
        raise DataError(f"{spell(path)} has the columns {brief(columns)}; expected case,part")
    said = []
    for line, row in enumerate(rows, start=2):
        part = PARTS.get(tidy(row[known["part"]]).lower())
        if part is None:
            raise DataError(
                f"{spell(path)}: row {line} names the part {brief(row[known['part']])}; expected "
                "train, validation or test"
            )
        said.append((row[named].strip(), part))
    return said


def _read_folds(path: Path, fold: int, folds: int) -> list[tuple[str, Part]]:
    """Return what a fold of nnU-Net's `splits_final.json` says."""
    found = read_json(path, DataError)
    if not isinstance(found, list) or not found or not all(map(_is_fold, found)):
        raise DataError(
            f'{spell(path)}: expected a list of folds, {{"train": [...], "val": [...]}}, as in '
            "nnU-Net's splits_final.json"
        )
    if folds not in (1, len(found)):
        raise DataError(f"folds={folds}, but {spell(path)} has {len(found)}: say as many, or none")
    if fold >= len(found):
        raise DataError(f"fold={fold}, but {spell(path)} has {len(found)} folds, counted from 0")
    rows: dict[str, list[str]] = found[fold]
    return [*((name, "train") for name in rows["train"]), *((name, "test") for name in rows["val"])]


def _is_fold(said: Any) -> bool:
    parts = [said.get(part) for part in ("train", "val")] if isinstance(said, dict) else [None]
    return all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in parts
    )


def _read(path: Path, fold: int | None, folds: int) -> list[tuple[str, Part]]:
    """Return the names of a file and their parts."""
    if path.suffix.lower() == ".json":
        return _read_folds(path, fold or 0, folds)
    if folds > 1:
        raise DataError(
            f"split={spell(path)} fixes one test set, but folds={folds} asks for several: leave "
            "folds out, or name a splits_final.json of as many folds"
        )
    return _read_parts(path)


def _strict(what: str, said: Sequence[tuple[str, Part]], source: Source) -> Parts:
    """Return the parts by the names of the source's cases, once all can be as they are said."""
    parts, unknown = _known(said, source)
    if unknown:
        there = _spell(case.name for case in source.cases)
        raise DataError(
            f"{what} names cases that data={spell(source.name)} lacks: {_spell(unknown)} (its "
            f"cases are called {there})"
        )
    if bare := _bare(parts, source):
        raise DataError(f"{what} holds out cases that have no label: {_spell(bare)}")
    _check_patients(what, parts, source)
    return parts


def _known(said: Sequence[tuple[str, Part]], source: Source) -> tuple[dict[str, Part], list[str]]:
    """Return the parts by the names of the cases, and the names that no case has.

    Raises:
        DataError: a case is named for two parts.
    """
    cases = {case.name for case in source.cases}
    # What was left out as bad (on_bad_data=skip) is no mistake of the file.
    skipped = {name for problem in source.skipped for name in _names_of(problem)}
    parts: dict[str, Part] = {}
    unknown: list[str] = []
    for name, part in said:
        known = name if name in cases else _without_suffix(name)
        if known not in cases:
            unknown += [] if known in skipped else [name]
        elif parts.setdefault(known, part) != part:
            raise DataError(
                f"{brief(known)} is named for {parts[known]} and for {part}: name it once"
            )
    return parts, unknown


def _names_of(problem: Problem) -> tuple[str, ...]:
    """Return the cases of a problem; a file that made none stands for the case of its name."""
    return problem.cases or (case_name(Path(problem.file)),)


def _bare(parts: Parts, source: Source) -> list[str]:
    held_out = (case for case in source.cases if parts.get(case.name) in HELD_OUT)
    return [case.name for case in held_out if not case.labelled]


def _check_patients(what: str, parts: Parts, source: Source) -> None:
    """See that no patient is in several parts of the split."""
    patients: dict[str, dict[Part, str]] = defaultdict(dict)
    for case in source.cases:
        if case.name in parts:
            patients[source.group_of(case)].setdefault(parts[case.name], case.name)
    torn = [torn_parts for torn_parts in patients.values() if len(torn_parts) > 1]
    if torn:
        shown = "; ".join(
            " and ".join(f"{spell(name)} ({part})" for part, name in torn_parts.items())
            for torn_parts in torn[:SHOWN]
        )
        more = f"; and {len(torn) - SHOWN} patients more" if len(torn) > SHOWN else ""
        raise DataError(
            f"{what} has cases of one patient, or equal images, in several parts: {shown}{more}; "
            "keep each patient in one part"
        )


def _without_suffix(name: str) -> str:
    """Return the name of the case that is meant where somebody wrote that of its file."""
    path = Path(name)
    if not (is_picture(path) or is_volume(path)):
        return name
    return path.with_name(case_name(path)).as_posix()


def _spell(names: Iterable[str]) -> str:
    """Return names for a message, at most so many as one reads."""
    first = list(islice(map(spell, names), SHOWN + 1))
    return ", ".join(first if len(first) <= SHOWN else [*first[:SHOWN], "..."])
