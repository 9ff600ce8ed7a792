"""BIDS: `sub-*/[ses-*/]anat/*_T1w.nii.gz`, the subject as the patient, the suffix as the modality.

Reference: Gorgolewski et al. 2016 (doi:10.1038/sdata.2016.44), and the specification's "Magnetic
Resonance Imaging".
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from ssl_registry.data.places import entries_of
from ssl_registry.data.problems import OnBadFile, Problem
from ssl_registry.data.sources.cases import FileCase, Source
from ssl_registry.data.sources.finding import (
    FoundImages,
    find_images,
    leave_out,
    leave_out_strangers,
)
from ssl_registry.data.sources.folder_names import SUBJECT
from ssl_registry.errors import BadFileError, DataError, spell

DESCRIPTION: Final = "dataset_description.json"

SCANS: Final = "anat"
"""The kind of data that is read unless modalities are named: scans of the anatomy."""

_LABELS: Final = frozenset({"dseg", "mask", "probseg", "seg", "label", "roi", "lesion"})
"""Suffixes of label maps, which are no images."""

_BESIDE: Final = ("derivatives", "sourcedata", "code", "stimuli")
"""Folders beside those of the subjects."""

_FILE: Final = re.compile(r"(sub-[A-Za-z0-9]+(?:_[A-Za-z0-9]+-[A-Za-z0-9+]+)*)_([A-Za-z0-9]+)")
"""The name of a scan without its ending: entities such as `sub-01_ses-2_run-1`, and the suffix."""


class BidsScan(NamedTuple):
    """A scan of a BIDS folder, by what its path says."""

    path: Path
    kind: str
    entities: str
    modality: str

    @property
    def session(self) -> str:
        """Subject, session and run: what scans of one sitting have in common."""
        kept = ("sub-", "ses-", "run-")
        return "_".join(part for part in self.entities.split("_") if part.startswith(kept))

    @property
    def subject(self) -> str:
        """The subject: the patient."""
        return self.entities.split("_")[0]


def is_bids(folder: Path) -> bool:
    """Whether a folder is laid out as BIDS has it: `sub-*/anat` or `sub-*/ses-*/anat`."""
    for entry in entries_of(folder):
        if not (SUBJECT.fullmatch(entry.name) and entry.is_dir()):
            continue
        subject = Path(entry.path)
        sessions = (Path(e.path) for e in entries_of(subject) if e.name.startswith("ses-"))
        if any((place / SCANS).is_dir() for place in (subject, *sessions)):
            return True
    return False


def open_bids(folder: Path, channels: Sequence[str], on_bad_file: OnBadFile) -> Source:
    """Return the scans of a BIDS folder, without labels.

    Args:
        folder: the data set.
        channels: suffixes, such as `T1w`: those scans alone, and, of several, the scans of one
            session stacked as channels in this order. Without them every scan of the anatomy is an
            image of its own, whatever its modality.
        on_bad_file: called with images that cannot be used, which are left out.

    Raises:
        DataError: there is no such scan.
    """
    found = find_images(folder, folder, on_bad_file)
    scans, left_out = _scans_in(found, channels)
    if not scans:
        said = f" of the modalities {', '.join(map(spell, channels))}" if channels else ""
        raise DataError(
            f"{spell(folder)} holds no scan{said} called as BIDS has it, such as sub-*/anat/*_T1w"
            ".nii.gz: set layout=images for all images, however they are called"
        )
    if len(channels) > 1:
        cases = _stacked(scans, channels, on_bad_file)
    else:
        cases = {scan.path.name.partition(".")[0]: (scan,) for scan in scans}
    if not cases:
        raise DataError(f"{spell(folder)}: no session has all of {', '.join(map(spell, channels))}")
    return Source(
        str(folder),
        tuple(
            FileCase(name, first.path, further=tuple(scan.path for scan in further))
            for name, (first, *further) in cases.items()
        ),
        dims=3,
        groups={name: stack[0].subject for name, stack in cases.items()},
        modalities=len(channels) if len(channels) > 1 else None,
        notes=tuple(_notes(cases, scans, channels)),
        layout="bids",
        channel_names=tuple(channels),
        left_out=tuple(left_out),
    )


def _scans_in(found: FoundImages, channels: Sequence[str]) -> tuple[list[BidsScan], list[Problem]]:
    """Return the scans that are asked for, and notes on all other files."""
    scans, why = [], dict[str, list[Path]]()
    for name, path in found.files.items():
        scan = _scan_of(name, path)
        if scan is None:
            why.setdefault(_why_no_scan(name), []).append(path)
        elif scan.modality in _LABELS:
            why.setdefault("is a label map", []).append(path)
        elif channels and scan.modality not in channels:
            why.setdefault(f"is of another modality, {scan.modality}", []).append(path)
        elif not channels and scan.kind != SCANS:
            why.setdefault(
                f"lies in {scan.kind}, not in {SCANS} (channels={scan.modality} asks for it)", []
            ).append(path)
        else:
            scans.append(scan)
    problems = [
        p for reason, files in why.items() for p in leave_out(files, f"{reason}, and left out")
    ]
    strangers = [path for path in found.others if not _is_described(path)]
    return scans, [*problems, *leave_out_strangers(strangers)]


def _is_described(path: Path) -> bool:
    """Whether BIDS knows a file that is not an image: what describes the data and each scan."""
    return path.suffix in (".json", ".tsv") or path.stem in ("README", "CHANGES", "LICENSE")


def _scan_of(name: str, path: Path) -> BidsScan | None:
    """Return what a path says; None for what BIDS would not call so, or keeps elsewhere."""
    *folders, file = PurePosixPath(name).parts
    found = _FILE.fullmatch(file)
    if found is None or not folders or found.group(1).split("_")[0] != folders[0]:
        return None
    return BidsScan(path, folders[-1], *found.groups())


def _why_no_scan(name: str) -> str:
    """Return why an image is none of the raw scans of BIDS."""
    first = name.partition("/")[0]
    if first in _BESIDE:
        return f"lies in {first}, not among the raw scans (patterns take label maps from there)"
    return "is not called as BIDS has it"


def _stacked(
    scans: Iterable[BidsScan], channels: Sequence[str], on_bad_file: OnBadFile
) -> dict[str, tuple[BidsScan, ...]]:
    """Return the scans of each session by their modalities.

    `on_bad_file` is called with those that do not fit.
    """
    sessions: dict[str, dict[str, list[BidsScan]]] = {}
    for scan in scans:
        sessions.setdefault(scan.session, {}).setdefault(scan.modality, []).append(scan)
    whole = {}
    for session, by_modality in sessions.items():
        first = next(iter(by_modality.values()))[0].path
        missing = [channel for channel in channels if channel not in by_modality]
        double = [scan for several in by_modality.values() for scan in several[1:]]
        if missing:
            wrong = f"belongs to {session}, which has no {' and no '.join(missing)}"
            on_bad_file(
                BadFileError(first, wrong, "add the scan, or take out those of the session")
            )
        elif double:
            wrong = f"is a second {double[0].modality} of {session}"
            on_bad_file(
                BadFileError(double[0].path, wrong, "keep one, or give each a run of its own")
            )
        else:
            whole[session] = tuple(by_modality[channel][0] for channel in channels)
    return whole


def _notes(
    cases: Mapping[str, Sequence[BidsScan]], scans: Sequence[BidsScan], channels: Sequence[str]
) -> Iterable[str]:
    subjects = len({stack[0].subject for stack in cases.values()})
    yield f"{len(cases)} images of {subjects} subjects, by the layout of BIDS"
    counts = Counter(scan.modality for scan in scans)
    if len(counts) > 1 and not channels:
        shown = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        names = sorted(counts)
        yield (
            f"several modalities ({shown}), each scan an image of its own: channels={names[0]} "
            f"takes these alone, channels={','.join(names)} stacks those of a session"
        )
