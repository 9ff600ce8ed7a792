"""Sources of images: what `data=...` may name, and which layout it is."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from ssl_registry.data.formats.scans import Scan
from ssl_registry.data.formats.volumes import has_text_header
from ssl_registry.data.preparing.slice_axes import SliceAxis
from ssl_registry.data.problems import OnBadFile, Problem, stop
from ssl_registry.data.sources import phantoms
from ssl_registry.data.sources.bids import is_bids, open_bids
from ssl_registry.data.sources.cases import Case, FileCase, Source
from ssl_registry.data.sources.decathlon import SUMMARY, open_decathlon
from ssl_registry.data.sources.file_facts import READ_ANEW, FileFacts
from ssl_registry.data.sources.folder_names import patients_in_names
from ssl_registry.data.sources.folders import Dims, open_classes, open_folders, open_image_folder
from ssl_registry.data.sources.grouping import PatientNote
from ssl_registry.data.sources.image_table import is_readable_table
from ssl_registry.data.sources.layouts import (
    AS_FOUND,
    PHANTOMS,
    SPELLED,
    LayoutName,
    Reading,
    no_such_data,
)
from ssl_registry.data.sources.listed_images import open_table
from ssl_registry.data.sources.masks import has_masks, open_masks
from ssl_registry.data.sources.medmnist import open_archive
from ssl_registry.data.sources.nnunet import open_nnunet
from ssl_registry.data.sources.nnunet_dataset import is_nnunet
from ssl_registry.data.sources.patterns import CASE, open_pattern
from ssl_registry.data.sources.tables import find_table
from ssl_registry.errors import BadFileError, ConfigError, DataError, spell

POPULATION: Final = 100
"""How many phantoms `data=phantoms` means."""

LONGEST: Final = 300
"""Characters of a path, or of what the system says of it, that a message shows."""

PHANTOM_SIDE: Final = 64
"""Voxels a side at which phantoms are scanned."""


@dataclass(frozen=True)
class PhantomCase(Case):
    """A member of the embedded population: the volume, or a slice of it."""

    index: int
    dims: Literal[2, 3] = 3
    grade = None

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name that `write_phantoms` gives it."""
        return f"phantom_{self.index:03}"

    @property
    def labelled(self) -> bool:  # noqa: D102
        return True

    @property
    def files(self) -> tuple[Path, ...]:  # noqa: D102
        return ()

    @property
    def identity(self) -> str:  # noqa: D102
        sides = f"{PHANTOM_SIDE}" if self.dims == 3 else f"{PHANTOM_SIDE}:slice"
        return f"phantom:{phantoms.POPULATION_SEED}:{self.index}:{sides}"

    @property
    def bytes_on_disk(self) -> int:  # noqa: D102
        return 0

    def _read(self) -> Scan:
        make = phantoms.phantom if self.dims == 3 else phantoms.phantom_slice
        return make(self.index, PHANTOM_SIDE).scan()


def open_source(
    data: str | Path,
    dims: Dims = None,
    on_bad_file: OnBadFile = stop,
    reading: Reading = AS_FOUND,
    slices: SliceAxis | None = None,
    facts: FileFacts = READ_ANEW,
) -> Source:
    """Return the source that `data` names; reads no voxel of a volume whose labels are listed.

    Args:
        data: `"phantoms"` or `"phantoms:N"`; a MedMNIST archive (`.npz`); a table (`.csv`) or
            a folder with one; a folder in the layout of the Decathlon, of nnU-Net or of BIDS; a
            folder of class folders; one with `images` and `masks`; or a folder of images, at any
            depth, without labels.
        dims: what the images have to be: 2 for pictures, 3 for volumes; None takes both.
            Phantoms are volumes, or slices of them where 2 is asked for.
        on_bad_file: called with each file that cannot be used, which is then left out; unless said
            otherwise, the first one is raised.
        reading: what the user says of the layout.
        slices: take volumes, to be seen by their slices, where `dims` asks for pictures.
        facts: reads the headers of pictures and the label maps whose values nobody lists.

    Raises:
        DataError: there is no such data, it holds no images or those of other dimensions, or
            its lists and labels are wrong.
        ConfigError: what is said of the layout does not go together.
    """
    asked, dims = dims, 3 if slices is not None else dims
    match = PHANTOMS.fullmatch(str(data))
    if match:
        source = _phantoms(str(data), match, dims or 3)
    else:
        try:
            source = _open(Path(data).expanduser(), dims, on_bad_file, reading, facts)
        except (OSError, RuntimeError) as error:  # RuntimeError: ~nobody
            shown = spell(str(error))[:LONGEST]
            raise DataError(f"data={spell(data)} cannot be opened: {shown}") from error
    if dims is not None and source.dims != dims:
        raise DataError(_refuse_dims(spell(data), source.dims, asked, slices))
    source = _with_named_patients(source)
    source = _with_voxel_files(source.with_patients(source.groups), facts)
    return replace(source, notes=(*source.notes, *_describe_left_out(source)))


def _refuse_dims(data: str, there: int, asked: Dims, slices: SliceAxis | None) -> str:
    """Return what is wrong with data of other dimensions than are asked for, and what to do."""
    if slices is not None:
        return (
            f"slices={slices} takes volumes by their slices, but data={data} holds pictures (2D): "
            "leave it out, or set slices=none where an encoder brings it"
        )
    kinds = {2: "pictures (2D)", 3: "volumes (3D)"}
    by_slices = (
        "set slices=thick to take them by their slices (or x, y, z: the axis across them), "
        if there == 3
        else ""
    )
    return (
        f"data={data} holds {kinds[there]}, but {kinds[asked or 3]} are asked for: {by_slices}"
        f"choose components for {there}D (`ssl-registry list` shows them), or other data"
    )


def _with_voxel_files(source: Source, facts: FileFacts) -> Source:
    """Return the source with the files of volumes whose headers say where their voxels are."""
    files = {
        case.name: [*case.images, *([case.label] if case.label else [])]
        for case in source.cases
        if isinstance(case, FileCase)
    }
    headers = [file for several in files.values() for file in several if has_text_header(file)]
    known = {
        file: some
        for file, some in facts.files_of_images(headers).items()
        if not isinstance(some, BadFileError)  # which the check of its header will say
    }
    if not known:
        return source
    cases = (
        replace(case, voxel_files={file: known[file] for file in files[case.name] if file in known})
        if isinstance(case, FileCase)
        else case
        for case in source.cases
    )
    return replace(source, cases=tuple(cases))


def _with_named_patients(source: Source) -> Source:
    """Return the source with patients by the names of its files, if nothing else names them."""
    patients = {} if source.groups else patients_in_names(case.name for case in source.cases)
    if not patients:
        return source
    first = next(iter(patients.values()))
    note = PatientNote(
        f"{len(set(patients.values()))} patients by how the names begin ({spell(first)}, ...); "
        "group_pattern says otherwise"
    )
    return replace(source, groups=patients, notes=(*source.notes, note))


def _describe_left_out(source: Source) -> list[str]:
    """Return how many files are part of no case, and why; `ssl-registry check` names them all."""
    reasons: dict[str, list[Problem]] = {}
    for problem in source.left_out:
        reasons.setdefault(problem.problem, []).append(problem)
    notes = []
    for why, same in reasons.items():
        first = spell(Path(same[0].file).name)
        notes.append(
            f"{first} {why}" if len(same) == 1 else f"{len(same)} files, {first} and so on: {why}"
        )
    return notes


def _phantoms(data: str, match: re.Match[str], dims: Literal[2, 3]) -> Source:
    count = int(match.group(1) or POPULATION)
    if count == 0:
        raise DataError(f"data={data} asks for no phantom at all: say phantoms:1 or more")
    cases = tuple(PhantomCase(index, dims) for index in range(count))
    return Source(data, cases, dims, phantoms.LABELS, layout="phantoms")


def _open(
    path: Path, dims: Dims, on_bad_file: OnBadFile, reading: Reading, facts: FileFacts
) -> Source:
    if path.is_file():
        return _open_file(path, dims, on_bad_file, reading, facts)
    if not path.is_dir():
        raise no_such_data(path)
    layout = reading.layout if reading.layout != "auto" else _find_layout(path, reading)
    if reading.channels and layout not in ("pattern", "bids"):
        raise ConfigError(
            f"channels={','.join(reading.channels)} goes with patterns of file names, which hold "
            f"{{case}}, and with BIDS, but {spell(path)} is {SPELLED[layout]}: leave it out"
        )
    return _open_as(layout, path, dims, on_bad_file, reading, facts)


def _open_as(
    layout: LayoutName,
    path: Path,
    dims: Dims,
    on_bad_file: OnBadFile,
    reading: Reading,
    facts: FileFacts,
) -> Source:
    """Return the source in a folder of that layout."""
    openers: Mapping[LayoutName, Callable[[], Source]] = {
        "auto": lambda: open_folders(path, dims, on_bad_file, facts),
        "decathlon": lambda: open_decathlon(path, on_bad_file),
        "nnunet": lambda: open_nnunet(path, on_bad_file),
        "bids": lambda: open_bids(path, reading.channels, on_bad_file),
        "table": lambda: open_table(_table_in(path), dims, on_bad_file, facts),
        "classes": lambda: open_classes(path, dims, on_bad_file, facts),
        "masks": lambda: open_masks(path, on_bad_file, facts),
        "pattern": lambda: open_pattern(
            path, reading.channels, reading.label_maps, on_bad_file, facts
        ),
        "images": lambda: open_image_folder(path, dims, on_bad_file, facts),
    }
    if layout in ("decathlon", "nnunet") and not (path / SUMMARY).is_file():
        raise DataError(f"layout={layout}: {spell(path)} holds no {SUMMARY}")
    return openers[layout]()


def _table_in(folder: Path) -> Path:
    table = find_table(folder)
    if table is None:
        raise DataError(f"layout=table: {spell(folder)} holds no .csv table")
    return table


def _find_layout(path: Path, reading: Reading) -> LayoutName:
    """Return the layout of a folder, as far as its lists and the names in it tell it."""
    if any(CASE in pattern for pattern in reading.channels):
        return "pattern"
    if (path / SUMMARY).is_file():
        return "nnunet" if is_nnunet(path) else "decathlon"
    table, bids = find_table(path), is_bids(path)
    if table is not None and not (bids and not is_readable_table(table)):
        return "table"
    if bids:
        return "bids"
    if has_masks(path):
        return "masks"
    if (path / "imagesTr").is_dir():
        raise DataError(
            f"{spell(path)} holds imagesTr, but no {SUMMARY} beside it, which says what channels "
            "and labels mean: add it, or set layout=images for images without labels"
        )
    return "auto"


def _open_file(
    path: Path, dims: Dims, on_bad_file: OnBadFile, reading: Reading, facts: FileFacts
) -> Source:
    if reading.layout not in ("auto", "table"):
        raise ConfigError(
            f"layout={reading.layout} is of a folder, but data={spell(path)} is a file: name its "
            "folder, or leave layout out"
        )
    if path.suffix == ".csv":
        return open_table(path, dims, on_bad_file, facts)
    if path.suffix == ".npz":
        return open_archive(path)
    raise DataError(
        f"data={spell(path)} is a file, neither a .csv table nor a MedMNIST .npz archive: name the "
        "folder that holds the images"
    )
