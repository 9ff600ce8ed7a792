"""Data of a run, checked before it starts; what cannot be used stops it or is left out."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from rich.console import Console

from ssl_registry.data.cache.identity import identify_cases
from ssl_registry.data.cache.kept_facts import KeptFacts
from ssl_registry.data.cache.kept_headers import KeptHeaders
from ssl_registry.data.cache.workers import WorkerCount
from ssl_registry.data.checks.leakage import check_parts
from ssl_registry.data.checks.report import check_headers
from ssl_registry.data.joined_groups import with_copies_joined, with_stated_patients
from ssl_registry.data.problems import Problem, problem_of, same_problems
from ssl_registry.data.sources.cases import Part, Source
from ssl_registry.data.sources.duplicates import Copies, same_images, shown_by
from ssl_registry.data.sources.opening import open_source
from ssl_registry.data.splits import Split
from ssl_registry.errors import DataError, spell
from ssl_registry.progress import ProgressBar
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.settings.data_settings import DataSettings

SKIPPED = "skipped.csv"
"""File of a run that lists what was left out: `file,case,reason`."""

SHOWN = 5
"""Problems that are listed one by one."""


def open_checked(
    settings: DataSettings, dims: Literal[2, 3] | None, console: Console, workers: WorkerCount = 0
) -> tuple[Source, list[Copies]]:
    """Return the source that the settings name, checked and known by content, and its copies.

    Patients of whom an image is the same, or a channel of it, are one patient. With
    `on_bad_data="skip"` the source lacks the bad cases and lists them in `skipped`.

    Raises:
        DataError: there is no such data, or a file cannot be used and `on_bad_data` is "stop".
    """
    facts = KeptFacts(verify=settings.verify)
    refused: list[Problem] = []
    try:
        source = open_source(
            settings.data,
            dims,
            on_bad_file=lambda error: refused.append(problem_of(error)),
            reading=settings.reading,
            slices=settings.across,
            facts=facts,
        )
    except DataError as error:
        raise DataError("\n".join([*_lines(refused), str(error)])) from error
    source = source.grouped(settings.group_column, settings.group_pattern)
    kept = KeptHeaders(source.cases, facts)
    problems, headers = check_headers(source, known=kept.known)
    source = _without(source, [*refused, *problems], settings, console)
    if settings.group_column is None and settings.group_pattern is None:
        source = with_stated_patients(source, headers)
    with ProgressBar(console) as bar:
        contents, wrong = identify_cases(
            source.cases, workers=workers, verify=settings.verify, done=bar.advance
        )
    found = [problem_of(error, error.case or "") for error in wrong]
    source = replace(_without(source, found, settings, console), contents=contents)
    kept.keep((case.name for case in source.cases), headers)
    copies = same_images((case, shown_by(contents[case.name])) for case in source.cases)
    joined = with_copies_joined(source, copies)
    if any(joined.group_of(case) != source.group_of(case) for case in source.cases):
        console.print(_describe_joined(source, joined))
    return joined, copies


def _describe_joined(source: Source, joined: Source) -> str:
    """Say which patients became one."""
    both = [
        f"{source.group_of(case)} with {joined.group_of(case)}"
        for case in source.cases
        if source.group_of(case) != joined.group_of(case)
    ]
    pairs = list(dict.fromkeys(both))
    more = f" and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else ""
    return (
        f"{source.name}: images, or channels, that are the same under several patients' names make "
        f"one patient of them: {spell(', '.join(pairs[:SHOWN]))}{more}"
    )


def check_division(
    source: Source,
    split: Split,
    copies: Sequence[Copies],
    settings: DataSettings,
    console: Console,
) -> tuple[Source, Split]:
    """Return the source and its split, once no patient and no image is in several parts.

    With `on_bad_data="skip"` their cases outside the test set are left out.

    Raises:
        DataError: there are such, and `on_bad_data` is "stop".
    """
    parts: dict[str, Part] = {case.name: "train" for case in split.train}
    parts |= {case.name: "validation" for case in split.validation}
    parts |= {case.name: "test" for case in split.test}
    source = _without(source, check_parts(source, copies, parts), settings, console)
    there = {case.name for case in source.cases}
    train, validation, test = (
        tuple(case for case in cases if case.name in there)
        for cases in (split.train, split.validation, split.test)
    )
    return source, Split(train, validation, test)


def _without(
    source: Source, problems: Sequence[Problem], settings: DataSettings, console: Console
) -> Source:
    """Tell the notes, and stop at the errors or leave out the cases that they concern."""
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors and settings.on_bad_data == "stop":
        raise DataError(_refusal(errors, settings.data))
    notes = same_problems(problem for problem in problems if problem.severity == "note")
    for note, others in notes[:SHOWN]:
        more = f" and {others} others" if others else ""
        console.print(f"{spell(note.file)}{more} {spell(note.problem)}")
    if len(notes) > SHOWN:
        console.print(f"`ssl-registry check {settings.data}` shows {len(notes) - SHOWN} more notes")
    if not errors:
        return source
    console.print(f"left out, and listed in {SKIPPED}:")
    for line in _lines(errors):
        console.print(f"  {line}")
    left = source.without({name for problem in errors for name in problem.cases})
    if not left.cases:
        raise DataError(f"data={settings.data}: no image is left once the bad files are out")
    return replace(left, skipped=(*source.skipped, *errors))


def _refusal(errors: Sequence[Problem], data: str) -> str:
    lines = "\n".join(_lines(errors))
    return (
        f"{lines}\ncorrect the data, or leave such files out with on_bad_data=skip; `ssl-registry "
        f"check {spell(data)}` shows all that is wrong"
    )


def _lines(errors: Sequence[Problem]) -> list[str]:
    lines = [f"{spell(error.file)} {error.reason}" for error in errors[:SHOWN]]
    if len(errors) > SHOWN:
        lines.append(f"and {len(errors) - SHOWN} more")
    return lines


def write_skipped(folder: RunFolder, skipped: Sequence[Problem]) -> None:
    """Write `skipped.csv`, where anything was left out."""
    if not skipped:
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "case", "reason"))
    for problem in skipped:
        for case in problem.cases or ("",):
            writer.writerow((spell(problem.file), spell(case), problem.reason))
    folder.write(SKIPPED, text.getvalue())
