"""Checks of a source: the headers of all files, one against the other, and every voxel if asked.

Nothing here changes data or decides what to do about them: it reports.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

from ssl_registry.data.cache.identity import recall_contents
from ssl_registry.data.cache.kept_facts import KeptFacts
from ssl_registry.data.cache.kept_headers import KeptHeaders
from ssl_registry.data.checks.classes import class_notes
from ssl_registry.data.checks.fitted import fitting_notes
from ssl_registry.data.checks.grids import channel_problems, grid_notes
from ssl_registry.data.checks.leakage import check_parts
from ssl_registry.data.formats.headers import Header
from ssl_registry.data.formats.label_maps import check_channel, check_grid
from ssl_registry.data.formats.pictures import is_picture
from ssl_registry.data.formats.volumes import read_header
from ssl_registry.data.joined_groups import with_copies_joined, with_stated_patients
from ssl_registry.data.preparing.sizes import Size, sides_of
from ssl_registry.data.preparing.slice_axes import SliceAxis, count_slices
from ssl_registry.data.problems import Problem, problem_of, refusal_of
from ssl_registry.data.sources.cases import Case, FileCase, Source
from ssl_registry.data.sources.contents import Contents, contents_of
from ssl_registry.data.sources.duplicates import Copies, same_files, same_images, shown_by
from ssl_registry.data.sources.layouts import AS_FOUND, Reading
from ssl_registry.data.sources.opening import open_source
from ssl_registry.data.split_files import review_split
from ssl_registry.errors import BadFileError, DataError

Done: TypeAlias = Callable[[int, int], None]
"""Called with how many images are checked, and of how many."""


def _silent(_: int, __: int) -> None: ...


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        data: what was checked.
        images: how many there are, bad ones included.
        deep: whether every voxel was read.
        problems: errors first.
        source: what was understood; None where the data cannot be opened at all.
        slices: how many slices the volumes have across each axis, where they are seen by them.
    """

    data: str
    images: int
    deep: bool
    problems: tuple[Problem, ...]
    source: Source | None = None
    slices: Mapping[str, int] | None = None

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What would stop training or make its score wrong."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def notes(self) -> tuple[Problem, ...]:
        """What is dealt with, and good to know."""
        return tuple(problem for problem in self.problems if problem.severity == "note")


def check_data(
    data: str,
    dims: Literal[2, 3] | None = None,
    *,
    reading: Reading = AS_FOUND,
    group_column: str | None = None,
    group_pattern: str | None = None,
    split: Path | None = None,
    deep: bool = False,
    size: Size | None = None,
    usual_sizes: Mapping[int, int] = MappingProxyType({}),
    verify: bool = False,
    slices: SliceAxis | None = None,
    done: Done = _silent,
) -> Report:
    """Open data and check them, whatever is wrong with them.

    Args:
        data: what `open_source` takes.
        dims: what the images have to be.
        reading: what is said of the layout.
        group_column: column of the table that names the patient.
        group_pattern: the same from the names of the cases.
        split: a division to check: a table of the columns `case,part`, or a `splits_final.json`.
        deep: whether to read every voxel, not only the headers.
        size: of the prepared images; read every image, and report components of labels that
            resampling to it would erase, and by how much images would be stretched.
        usual_sizes: the side where none is given, by the dimensions of the images; empty leaves
            such components out.
        verify: read the headers of all files, though they are untouched since they were read.
        slices: across which axis volumes are to be seen by their slices.
        done: called with how many images are checked.

    Raises:
        DataError: there is no such data, column, pattern or split: the call is wrong, not the
            data.
    """
    problems: list[Problem] = []
    facts = KeptFacts(verify=verify, needed=False)
    try:
        source = open_source(
            data,
            dims,
            on_bad_file=lambda error: problems.append(problem_of(error)),
            reading=reading,
            facts=facts,
            slices=slices,
        )
    except DataError as error:
        if not Path(data).expanduser().exists():
            raise
        whole = problem_of(error) if isinstance(error, BadFileError) else refusal_of(data, error)
        return _report(data, len(problems), deep, [*problems, whole])
    source = source.grouped(group_column, group_pattern)
    files = check_files(source, deep=deep, verify=verify, done=done)
    found, source = list(files.problems), replace(source, contents=files.contents)
    if group_column is None and group_pattern is None:
        source = with_stated_patients(source, files.headers)
    parts, reviewed = review_split(split, source) if split else (source.parts, [])
    dims = 2 if slices else source.dims
    size = usual_sizes.get(dims) if size is None else size
    if size is not None:
        sides_of(size, dims)
        bad = {name for problem in found for name in problem.cases}
        sound = [case for case in source.cases if case.name not in bad]
        found += fitting_notes(sound, size, source.labels, slices)
    images = len(source.cases) + len(problems)
    leaks = check_parts(source, files.copies, parts)
    classes = class_notes(source, parts)
    every = [*problems, *reviewed, *found, *leaks, *classes, *source.left_out]
    understood = with_copies_joined(source, files.copies) if source.groups else source
    report = replace(_report(data, images, deep, every), source=understood)
    if slices is None:
        return report
    return replace(report, slices=count_slices(files.headers.values(), slices))


def _report(data: str, images: int, deep: bool, problems: list[Problem]) -> Report:
    order = sorted(problems, key=lambda problem: problem.severity)
    return Report(data, images, deep, tuple(order))


def channels_of(source: Source) -> int | None:
    """Return how many channels the images of a source have; None where that is unknown."""
    if source.channel_names or source.modalities:
        return len(source.channel_names) or source.modalities
    for case in source.cases:
        if not isinstance(case, FileCase):
            return None
        if is_picture(case.image):
            return len(case.images) if case.further else case.channels
        known = KeptHeaders([case], KeptFacts(needed=False)).known
        try:
            return (known.get(case.name) or _check_headers(case)).channels
        except BadFileError:
            continue
    return None


class FileFindings(NamedTuple):
    """What was found in the files of a source.

    Attributes:
        problems: what is wrong with them.
        copies: images that are the same.
        headers: of volumes, by the cases' names, as far as they could be read.
        contents: what the cases show whose voxels were read, now or before.
    """

    problems: Sequence[Problem]
    copies: Sequence[Copies]
    headers: Mapping[str, Header]
    contents: Mapping[str, Contents]


def check_files(
    source: Source, *, deep: bool = False, verify: bool = False, done: Done = _silent
) -> FileFindings:
    """Return what is wrong with the files of a source, and which images are the same.

    Without `deep` no voxel is read: of pictures and archives, opening the source has read
    all headers, so this looks at those of volumes.

    Args:
        source: what `open_source` returned.
        deep: whether to read every voxel as well.
        verify: whether to read headers that are known, too.
        done: called with how many images are checked.
    """
    kept = KeptHeaders(source.cases, KeptFacts(verify=verify, needed=False))
    problems, headers = check_headers(source, done, kept.known)
    bad = {name for problem in problems for name in problem.cases}
    sound = [case for case in source.cases if case.name not in bad]
    kept.keep((case.name for case in sound), headers)
    if not deep:
        known = {} if verify else _known_contents(sound)
        same = _same_voxels(sound, known) if known else same_files(sound)
        return FileFindings(problems, same, headers, known)
    contents, found = _read_voxels(sound, done)
    problems += [*found, *_label_notes(source, contents)]
    return FileFindings(problems, _same_voxels(sound, contents), headers, contents)


def _same_voxels(cases: Iterable[Case], contents: Mapping[str, Contents]) -> list[Copies]:
    return same_images((c, shown_by(contents[c.name])) for c in cases if c.name in contents)


def _known_contents(cases: Sequence[Case]) -> dict[str, Contents]:
    """Return what cases show, if all of them were decoded before."""
    try:
        known = recall_contents(cases)
    except DataError:  # nothing is kept, or a file is gone, which its own check says
        return {}
    return known if len(known) == len(cases) else {}


def check_headers(
    source: Source, done: Done = _silent, known: Mapping[str, Header] = MappingProxyType({})
) -> tuple[list[Problem], dict[str, Header]]:
    """Return what is wrong with the headers of volumes, each alone and one against the other.

    With it come the headers that could be read, by the cases' names.

    Args:
        source: what `open_source` returned.
        done: called with how many images are checked.
        known: headers of cases whose files were found sound before; they are not read again.
    """
    headers, problems = _read_headers(source, done, known)
    problems += channel_problems(headers, source.modalities)
    return [*problems, *grid_notes(headers)], headers


def _read_headers(
    source: Source, done: Done, known: Mapping[str, Header]
) -> tuple[dict[str, Header], list[Problem]]:
    """Return the headers of volumes by the cases' names, and what is wrong with the others."""
    headers: dict[str, Header] = {}
    problems: list[Problem] = []
    for number, case in enumerate(source.cases, start=1):
        if case.name in known:
            headers[case.name] = known[case.name]
        elif isinstance(case, FileCase) and not is_picture(case.image):
            try:
                headers[case.name] = _check_headers(case)
            except BadFileError as error:
                problems.append(problem_of(error, case.name))
        done(number, len(source.cases))
    return headers, problems


def _check_headers(case: FileCase) -> Header:
    header = read_header(case.image)
    for file in case.further:
        check_channel(read_header(file), header)
    if case.label is not None:
        check_grid(read_header(case.label), header)
    return replace(header, channels=header.channels + len(case.further))


def _read_voxels(cases: list[Case], done: Done) -> tuple[dict[str, Contents], list[Problem]]:
    contents: dict[str, Contents] = {}
    problems: list[Problem] = []
    for number, case in enumerate(cases, start=1):
        try:
            contents[case.name] = contents_of(case.read())
        except BadFileError as error:
            problems.append(problem_of(error, case.name))
        done(number, len(cases))
    return contents, problems


def _label_notes(source: Source, contents: Mapping[str, Contents]) -> Iterator[Problem]:
    """Yield notes on label maps that mark nothing, and on labels that no map holds."""
    marked = {name: seen.values for name, seen in contents.items() if seen.values}
    for case in source.cases:
        empty = marked.get(case.name) == frozenset({0})
        if empty and isinstance(case, FileCase) and case.label is not None:
            yield Problem("note", case.label, "marks nothing but background", "look at it")
    unused = sorted(set(source.labels) - frozenset[int]().union(*marked.values()))
    if marked and unused:
        names = ", ".join(f"{value} ({source.labels[value]})" for value in unused[:5])
        yield Problem("note", source.name, f"names labels that no map holds: {names}", "look at it")
