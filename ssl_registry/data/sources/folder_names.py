"""What the names of folders mean: patients, classes, or neither."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from ssl_registry.data.formats.pictures import is_picture
from ssl_registry.data.formats.volumes import case_name, is_volume
from ssl_registry.data.sources.cases import Part
from ssl_registry.data.sources.grouping import PatientNote
from ssl_registry.data.sources.part_names import PARTS
from ssl_registry.errors import spell

SUBJECT: Final = re.compile(r"sub-[A-Za-z0-9]+")
"""How BIDS calls a subject."""

_NAMED: Final = re.compile(
    r"(sub-[A-Za-z0-9]+|(?:patient|subject|subj|pat)[-_ ]?\d+)(?=[-_ .]|$)", re.IGNORECASE
)
"""Beginnings of names that say which patient it is."""

_NO_PATIENT: Final = re.compile(
    r"(ses|session|visit|run|acq|scan|series|study|time|timepoint|tp|day|week|month|year|fold|t|phase"
    r"|site|cent(er|re)|hospital|batch|part|v|echo|b|class|grade|stage|level|label|score|category)"
    r"[-_ ]?\d+",
    re.IGNORECASE,
)
"""Names with a number that counts something other than patients."""

_GRADE: Final = re.compile(
    r"(class|grade|stage|level|label|score|category)[-_ ]?\d+", re.IGNORECASE
)
"""Names with a number that counts classes."""

_NO_CLASS: Final = re.compile(
    r"train(ing)?|val(id)?|validation|test(ing)?|(images|labels)t[rs]|images?|imgs?|labels?|masks?"
    r"|segs?|segmentations?|annotations|raw|data|dicom|dcm|nifti|nii|png|jpg|scans|volumes|anat|func"
    r"|dwi|fmap|perf|pet|derivatives|sourcedata|t1(w|c|ce)?|t2w?|flair|pd|adc|ct|mr|mri|mrt|us|xray"
    r"|left|right|o[ds]|baseline|follow[-_ ]?up|pre|post|before|after",
    re.IGNORECASE,
)
"""Names of parts of a data set, modalities, sides, visits: never of classes."""

_SCAN: Final = re.compile(rf"({_NO_CLASS.pattern}|scan)[-_ ]?\d*", re.IGNORECASE)
"""Names of one scan of a patient among others."""

_VIEW: Final = re.compile(
    r"t1(w|c|ce)?|t2w?|flair|pd|adc|dwi|ct|mr|mri|mrt|pet|us|xray|left|right|o[ds]|baseline"
    r"|follow[-_ ]?up|pre|post|before|after|(ses|session|visit|time|timepoint|tp)[-_ ]?\d+",
    re.IGNORECASE,
)
"""Names of folders that hold one scan of each of several patients."""

_FEW: Final = 4
"""Folders that may be classes although there are hardly more images than folders."""


def patients_of(names: Iterable[str]) -> dict[str, str]:
    """Return the patient of each image whose folders name one, by the image's path.

    It is the first folder on the way that BIDS would call a subject (`sub-01`), or else the
    subject in the file's name (`sub-01_T1w`), or else the first folder whose name holds a number
    and none that counts visits, series or centres; then folders beside those of patients are of
    patients, too. Where no image has one of these, it is the folder if `same_scans` finds that
    all folders hold the same, and none is called so itself; or the name in it, where the folders
    are a modality, a side or a visit each, and hold the same names.
    """
    names = list(names)
    found: dict[str, str] = {}
    depths: set[int] = set()
    for name in names:
        *folders, file = PurePosixPath(name).parts
        subjects = [folder for folder in folders if SUBJECT.fullmatch(folder)]
        subjects += [named.group() for named in [SUBJECT.match(file)] if named]
        numbered = [folder for folder in folders if _is_numbered(folder)]
        if subjects or numbered:
            found[name] = (subjects or numbered)[0]
        if numbered and not subjects:
            depths.add(folders.index(numbered[0]))
    if found:
        return found | _beside(found, names, depths)
    by_folder = classes_in(names)
    if len(by_folder) > 1 and all(map(_VIEW.fullmatch, by_folder)):
        return _in_several(names)
    if not same_scans(by_folder):
        return {}
    if any(_NO_CLASS.fullmatch(first) or _NO_PATIENT.fullmatch(first) for first in by_folder):
        return {}
    return {name: first for first, inside in by_folder.items() for name in inside}


def _beside(
    found: Mapping[str, str], names: Iterable[str], depths: Iterable[int]
) -> dict[str, str]:
    """Return the folder of each image whose folder lies beside those of patients.

    Where `9f8a7c/left` is a patient's, so is `deadbe/left`, although the name holds no number.
    """
    beside = {}
    for name in names:
        *folders, _ = PurePosixPath(name).parts
        there = [folders[depth] for depth in sorted(depths) if depth < len(folders)]
        fit = [one for one in there if not _NO_CLASS.fullmatch(one) and not _is_counted(one)]
        if fit and name not in found:
            beside[name] = fit[0]
    return beside


def _in_several(names: Iterable[str]) -> dict[str, str]:
    """Return what each image is called in its folder, if most are called so in another, too."""
    inside = {name: Path(PurePosixPath(name).parts[1]) for name in names if "/" in name}
    own = {
        name: case_name(path) if is_picture(path) or is_volume(path) else path.name
        for name, path in inside.items()
    }
    times = Counter(own.values())
    again = sum(times[one] > 1 for one in own.values())
    return own if 2 * again > len(own) else {}


def patients_of_listed(paths: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the patients of images that a list names by their paths, and a note on them.

    The folders say it as where there is no list; but one alone, which holds all images, is none.

    Args:
        paths: of the images, from the list on, by the names of the cases.
    """
    by_path = patients_of(paths.values())
    found = {name: by_path[path] for name, path in paths.items() if path in by_path}
    if len(set(found.values())) < 2:
        return {}, []
    first = spell(next(iter(found.values())))
    note = (
        f"{len(set(found.values()))} patients by the names of the folders ({first}, ...); "
        "group_pattern says otherwise"
    )
    return found, [PatientNote(note)]


def patients_in_names(names: Iterable[str]) -> dict[str, str]:
    """Return the patient that the file names of images begin with, by the images' paths.

    It is one where a name says so itself: `sub-01_T1w`, `patient007_frame01`, `subj_12-left`.
    """
    found = {}
    for name in names:
        said = _NAMED.match(PurePosixPath(name).name)
        if said is not None:
            found[name] = said.group(1)
    return found


def _is_numbered(folder: str) -> bool:
    return any(sign.isdecimal() for sign in folder) and not _is_counted(folder)


def _is_counted(folder: str) -> bool:
    """Whether a folder is one of several visits, series, centres or classes."""
    return _NO_PATIENT.fullmatch(folder) is not None


def classes_in(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the names of images by the first folder on their way; without those that have none."""
    found: dict[str, list[str]] = {}
    for name in names:
        first, _, rest = name.partition("/")
        if rest:
            found.setdefault(first, []).append(name)
    return found


def parts_of(names: Sequence[str]) -> dict[str, Part]:
    """Return the part of each image where the folders are those of a split: `train/`, `test/`.

    It is empty unless all images lie in such folders, and each of these holds folders that the
    others hold as well: classes, that is, and not patients.
    """
    folders = classes_in(names)
    parts = {folder: PARTS.get(folder.lower()) for folder in folders}
    inner = [frozenset(classes_in(inside_of(found))) for found in folders.values()]
    split = len(folders) > 1 and None not in parts.values() and len(set(inner)) == 1
    if not split or not inner[0] or sum(map(len, folders.values())) < len(names):
        return {}
    return {
        name: part for folder, part in parts.items() if part is not None for name in folders[folder]
    }


def inside_of(names: Iterable[str]) -> list[str]:
    """Return the paths of images without the first folder."""
    return [name.partition("/")[2] for name in names]


def same_scans(folders: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the names of the scans that each of several folders holds, as a patient's would.

    That is, they are called by a side, a modality or a visit (`left`, `flair`, `baseline`), and in
    all folders by the same. Images of a class are not.
    """
    files = {frozenset(inside_of(found)) for found in folders.values()}
    names = sorted(next(iter(files))) if len(folders) > 1 and len(files) == 1 else []
    return names if all(map(_SCAN.fullmatch, names)) else []


def why_no_classes(names: Sequence[str]) -> str | None:
    """Return why the folders of images are no classes for certain; None where they can be no else.

    Args:
        names: paths of the images within the data folder.
    """
    folders = classes_in(names)
    if sum(map(len, folders.values())) < len(names):
        return "images lie beside the folders"
    if len(folders) < 2:
        return "there is one folder alone"
    if any(name.count("/") > 1 for name in names):
        return "images lie in folders of folders"
    if same := same_scans(folders):
        return f"each holds the same names, such as {spell(same[0])}"
    parts = [folder for folder in folders if _NO_CLASS.fullmatch(folder)]
    if parts:
        return f"{spell(parts[0])} is no name of a class"
    return _why_no_grades(folders)


def _why_no_grades(folders: Mapping[str, Sequence[str]]) -> str | None:
    if all(map(_GRADE.fullmatch, folders)):
        return None
    if all(folder.isdecimal() for folder in folders):
        # Grades begin with 0, and nobody writes them 00; patients are counted from 1.
        plain = "0" in folders and not any(name[0] == "0" for name in folders if name != "0")
        return None if plain else "numbers may count patients"
    numbered = Counter(any(sign.isdecimal() for sign in folder) for folder in folders)
    if numbered[True] > numbered[False]:
        return "names with numbers may be patients"
    images = sum(map(len, folders.values()))
    if len(folders) > _FEW and images < 3 * len(folders):
        return f"there are {len(folders)} folders for {images} images"
    return None


def in_order(names: Iterable[str]) -> list[str]:
    """Return names by the alphabet, the numbers in them as numbers: 0, 1, 2, 10."""

    def key(name: str) -> tuple[list[tuple[int, str]], str]:
        # Of numbers without leading zeros the longer one is greater.
        parts = [(part.lstrip("0"), part) for part in re.split(r"(\d+)", name)]
        keys = [(len(bare) + 1, bare) if part.isdecimal() else (0, part) for bare, part in parts]
        return keys, name

    return sorted(names, key=key)
