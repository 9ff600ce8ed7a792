"""Channels and label maps by the pattern of their files' names: `{case}_t1.nii.gz`."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ssl_registry.data.formats.volumes import case_name
from ssl_registry.data.problems import OnBadFile
from ssl_registry.data.sources.cases import FileCase, Source
from ssl_registry.data.sources.file_facts import FileFacts, sound
from ssl_registry.data.sources.finding import dims_of, find_images, leave_out, leave_out_strangers
from ssl_registry.data.sources.folder_names import patients_of
from ssl_registry.data.sources.label_values import describe_labels, labels_of, with_labels
from ssl_registry.errors import BadFileError, ConfigError, DataError, spell

CASE: Final = "{case}"


def open_pattern(
    folder: Path,
    channels: Sequence[str],
    labels: str | None,
    on_bad_file: OnBadFile,
    facts: FileFacts,
) -> Source:
    """Return the images whose channels, and label map, are files of certain names.

    In a pattern, `{case}` stands for the name of the case, in which there is no `/`, and `*` for
    anything without a `/`. A pattern without `/` is of a file's name, in a folder of any depth,
    and all files of a case lie in that folder; one with `/` is of the path from the data folder.

    Args:
        folder: where the files are.
        channels: a pattern for each channel, in order.
        labels: the pattern of the label maps.
        on_bad_file: called with cases that lack a channel, which are left out.
        facts: reads the label maps.

    Raises:
        ConfigError: a pattern holds no `{case}`.
        DataError: no file fits.
    """
    found = find_images(folder, folder, on_bad_file)
    paths = {path.relative_to(folder).as_posix(): path for path in found.files.values()}
    stacks = [_fitting("channels", pattern, paths) for pattern in channels]
    maps = _fitting("label_maps", labels, paths) if labels is not None else {}
    names = list(dict.fromkeys(name for stack in stacks for name in stack))
    if not names:
        raise DataError(
            f"{spell(folder)} holds no file that fits channels={','.join(map(spell, channels))}"
        )
    maps = _of_names(maps, names)
    cases, values = _cases_of(names, stacks, channels, maps, on_bad_file, facts)
    named = labels_of(values, folder) if any(case.label for case in cases) else {}
    cases = [with_labels(case, values, named) for case in cases]
    used = {file for case in cases for file in (*case.images, case.label)}
    known = used | {path for stack in (*stacks, maps) for path in stack.values()}
    rest = [path for path in found.files.values() if path not in known]
    bare = sum(case.label is None for case in cases) if labels is not None else 0
    return Source(
        str(folder),
        tuple(cases),
        dims_of([case.image for case in cases], folder) if cases else 3,
        labels=named,
        groups=_patients(cases, folder),
        modalities=len(channels) if len(channels) > 1 else None,
        notes=tuple(_notes(len(cases), len(channels), bare, named)),
        layout="pattern",
        channel_names=tuple(map(_channel_name, channels)) if len(channels) > 1 else (),
        left_out=(
            *leave_out(rest, "fits no pattern, and left out"),
            *leave_out_strangers(found.others),
        ),
    )


def _cases_of(
    names: Sequence[str],
    stacks: Sequence[Mapping[str, Path]],
    channels: Sequence[str],
    maps: dict[str, Path],
    on_bad_file: OnBadFile,
    facts: FileFacts,
) -> tuple[list[FileCase], dict[Path, frozenset[int]]]:
    """Return the cases that are whole, and the values in their label maps.

    `on_bad_file` is called with the others, and with the maps that remain without an image; of
    `maps` only these are left.
    """
    holds = facts.labels(maps[name] for name in names if name in maps)
    values: dict[Path, frozenset[int]] = {}
    cases = []
    for name in names:
        try:
            files = _whole(name, stacks, channels)
            if label := maps.pop(name, None):
                values[label] = sound(holds[label]).values
        except BadFileError as error:
            on_bad_file(error)
        else:
            cases.append(FileCase(name, files[0], label, further=tuple(files[1:])))
    for label in maps.values():
        on_bad_file(
            BadFileError(label, "has no image of its name", "add the image, or remove the map")
        )
    return cases, values


def _notes(cases: int, channels: int, bare: int, labels: Mapping[int, str]) -> list[str]:
    notes = [f"{cases} images of {channels} channels, by the pattern of their names"]
    notes += describe_labels(labels)
    if bare:
        notes.append(f"{bare} images have no label map: for pretraining alone")
    return notes


def _patients(cases: Sequence[FileCase], folder: Path) -> dict[str, str]:
    """Return the patient of each case whose files lie in folders that name it."""
    paths = {case.name: case.image.relative_to(folder).as_posix() for case in cases}
    patients = patients_of(paths.values())
    return {name: patients[path] for name, path in paths.items() if path in patients}


def _of_names(maps: Mapping[str, Path], names: Sequence[str]) -> dict[str, Path]:
    """Return label maps by the names of their cases, of which some may lack the folder."""
    last: dict[str, list[str]] = {}
    for name in names:
        last.setdefault(name.rpartition("/")[2], []).append(name)
    known = set(names)
    return {
        case if case in known or len(last.get(case, ())) != 1 else last[case][0]: path
        for case, path in maps.items()
    }


def _fitting(setting: str, pattern: str, paths: Mapping[str, Path]) -> dict[str, Path]:
    """Return the files that fit a pattern, by the names of their cases.

    Raises:
        ConfigError: the pattern holds no `{case}`.
        DataError: two files are of one case.
    """
    if CASE not in pattern:
        raise ConfigError(
            f"{setting}={pattern!r} holds no {CASE}: say where in the name the case stands, as in "
            f"'{CASE}_t1.nii.gz'"
        )
    expression = _expression_of(pattern)
    found: dict[str, Path] = {}
    for name, path in paths.items():
        fit = expression.fullmatch(name)
        if fit is None:
            continue
        case = _case_of(fit)
        if case in found:
            raise DataError(
                f"{setting}={pattern!r} fits two files of {spell(case)}: {spell(found[case])} and "
                f"{spell(path)}"
            )
        found[case] = path
    return found


def _expression_of(pattern: str) -> re.Pattern[str]:
    """Return a pattern as a regular expression of paths from the data folder."""
    parts = re.split(r"(\{case\}|\*)", pattern.removeprefix("./"))
    words = {"*": "[^/]*"}
    made = ""
    for part in parts:
        if part == CASE:
            made += "(?P=case)" if "?P<case>" in made else "(?P<case>[^/]+?)"
        else:
            made += words.get(part, re.escape(part))
    return re.compile(made if "/" in pattern else f"(?P<folder>(?:.*/)?){made}")


def _case_of(fit: re.Match[str]) -> str:
    """Return the name of a case: with its folder, unless that has the case's name itself."""
    case, folder = fit["case"], fit.groupdict().get("folder", "").rstrip("/")
    if not folder or folder.rpartition("/")[2] == case:
        return folder or case
    return f"{folder}/{case}"


def _whole(name: str, stacks: Sequence[Mapping[str, Path]], channels: Sequence[str]) -> list[Path]:
    missing = [channels[n] for n, stack in enumerate(stacks) if name not in stack]
    if missing:
        there = next(stack[name] for stack in stacks if name in stack)
        lacking = ", ".join(pattern.replace(CASE, name.rpartition("/")[2]) for pattern in missing)
        raise BadFileError(
            there,
            f"belongs to the case {spell(name)}, which lacks {spell(lacking)}",
            "add the file, or take out the others of the case",
        )
    return [stack[name] for stack in stacks]


def _channel_name(pattern: str) -> str:
    """Return what a channel is called: the pattern without the case and the ending."""
    return case_name(Path(pattern.rpartition("/")[2].replace(CASE, ""))).strip("_-. *") or pattern
