"""Sources of images: what `data=...` may name, and which layout it is."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ssl_registry.data.formats.scans import Scan
from ssl_registry.data.problems import Met, stop
from ssl_registry.data.sources import phantoms
from ssl_registry.data.sources.cases import Case, Source
from ssl_registry.data.sources.decathlon import SUMMARY, open_decathlon
from ssl_registry.data.sources.folders import (
    MASKS,
    class_folders,
    open_classes,
    open_flat,
    open_masks,
)
from ssl_registry.data.sources.medmnist import open_archive
from ssl_registry.data.sources.tables import find_table, open_table
from ssl_registry.errors import DataError, spell

PHANTOMS: Final = re.compile(r"phantoms(?::(\d+))?")
POPULATION: Final = 100
"""How many phantoms `data=phantoms` means."""

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


def open_source(data: str | Path, dims: Literal[2, 3] | None = None, met: Met = stop) -> Source:
    """Return the source that `data` names; reads no voxel of a volume.

    Args:
        data: `"phantoms"` or `"phantoms:N"`; a MedMNIST archive (`.npz`); a table (`.csv`) or
            a folder with one; a folder with a Decathlon's `dataset.json`; a folder of class
            folders; a folder with `images` and `masks`; or a folder of images without labels.
        dims: what the images have to be: 2 for pictures, 3 for volumes; None takes both.
            Phantoms are volumes, or slices of them where 2 is asked for.
        met: told of each file that cannot be used, which is then left out; unless said
            otherwise, the first one is raised.

    Raises:
        DataError: there is no such data, it holds no images or those of other dimensions, or
            its lists and labels are wrong.
    """
    match = PHANTOMS.fullmatch(str(data))
    if match:
        source = _phantoms(str(data), match, dims or 3)
    else:
        try:
            source = _open(Path(data).expanduser(), met)
        except (OSError, RuntimeError) as error:  # RuntimeError: ~nobody
            raise DataError(f"data={spell(data)} cannot be opened: {spell(str(error))}") from error
    if dims is not None and source.dims != dims:
        kinds = {2: "pictures (2D)", 3: "volumes (3D)"}
        raise DataError(
            f"data={spell(data)} holds {kinds[source.dims]}, but {kinds[dims]} are asked for: "
            f"choose components for {source.dims}D (`ssl-registry list` shows them), or other data"
        )
    return source


def _phantoms(data: str, match: re.Match[str], dims: Literal[2, 3]) -> Source:
    count = int(match.group(1) or POPULATION)
    if count == 0:
        raise DataError(f"data={data} asks for no phantom at all: say phantoms:1 or more")
    cases = tuple(PhantomCase(index, dims) for index in range(count))
    return Source(data, cases, dims, phantoms.LABELS)


def _open(path: Path, met: Met) -> Source:
    if path.is_file():
        return _open_file(path, met)
    if not path.is_dir():
        raise DataError(
            f"data={spell(path)}: there is no such file or folder (a folder of scans or pictures, "
            "a .csv table, a MedMNIST .npz archive, or `phantoms`)"
        )
    if (path / SUMMARY).is_file():
        return open_decathlon(path, met)
    table = find_table(path)
    if table is not None:
        return open_table(table, met)
    if any((path / name).is_dir() for name in MASKS):
        return open_masks(path, met)
    classes = class_folders(path)
    return open_classes(path, classes, met) if classes else open_flat(path, met)


def _open_file(path: Path, met: Met) -> Source:
    if path.suffix == ".csv":
        return open_table(path, met)
    if path.suffix == ".npz":
        return open_archive(path)
    raise DataError(
        f"data={spell(path)} is a file, neither a .csv table nor a MedMNIST .npz archive: name the "
        "folder that holds the images"
    )
