"""Images in folders of any depth, and the files beside them that are none."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from ssl_registry.data.formats.dicom import is_series
from ssl_registry.data.formats.pictures import PictureHeader, is_picture
from ssl_registry.data.formats.volumes import case_name, files_of, is_volume
from ssl_registry.data.places import check_name, check_place, entries_of, unreadable
from ssl_registry.data.problems import OnBadFile, Problem
from ssl_registry.data.sources.file_facts import FileFacts, sound
from ssl_registry.errors import BadFileError, DataError, spell

NO_IMAGE: Final = "is not an image, and left out"

NOT_READ: Final = (
    *(".hdr", ".img", ".img.gz", ".mgh", ".mgz", ".mnc", ".mif", ".nii.bz2", ".nii.xz", ".nii.zst"),
    *(".par", ".vtk", ".vti", ".gipl", ".bmp", ".gif", ".webp", ".jp2", ".svs", ".czi", ".npy"),
    *(".h5", ".hdf5"),
)
"""What the names of images end with whose formats are not read."""

MOST_WAYS: Final = 4
"""Times that one folder is looked into, if links lead to it."""


@dataclass(frozen=True)
class FoundImages:
    """What lies in a folder.

    Attributes:
        files: images by their paths within the folder, without suffix, in order: pictures,
            volumes, and folders that hold a DICOM series.
        others: files that are no image and belong to none, and links to folders above them.
    """

    files: dict[str, Path] = field(default_factory=dict)
    others: list[Path] = field(default_factory=list)


def find_images(folder: Path, root: Path, on_bad_file: OnBadFile) -> FoundImages:
    """Return the images of a folder and of all folders in it.

    Args:
        folder: where they lie.
        root: the data folder, which links may not leave.
        on_bad_file: called with images and folders that cannot be used, which are left out.

    Raises:
        BadFileError: the folder itself cannot be read.
    """
    found = FoundImages()
    try:
        check_place(folder, root)
    except BadFileError as error:
        on_bad_file(error)
        return found
    # Each folder with the real places of those above it, which a link must not lead back to.
    # There may be many ways to one by links, twice as many with each folder: a few are enough.
    waiting = [(folder, folder.resolve(), frozenset[Path]())]
    ways = Counter[Path]()
    while waiting:
        inner, real, above = waiting.pop()
        try:
            folders = _look_into(inner, folder, root, found, on_bad_file)
        except BadFileError as error:
            if inner == folder:
                raise
            on_bad_file(error)
            continue
        here = above | {real}
        for deeper in reversed(folders):
            place = deeper.resolve()
            ways[place] += 1
            if (deeper.is_symlink() and place in here) or ways[place] > MOST_WAYS:
                found.others.append(deeper)
            else:
                waiting.append((deeper, place, here))
    return found


def _look_into(
    inner: Path, folder: Path, root: Path, found: FoundImages, on_bad_file: OnBadFile
) -> list[Path]:
    """Add what lies in one folder; return the folders in it, which are still to be looked into."""
    folders, strangers, headers = [], [], []
    slices = inner != folder and is_series(inner)
    for entry in entries_of(inner):
        path = Path(entry.path)
        named = is_picture(path) or is_volume(path)
        try:
            if named:
                _check_entry(path, root)
                _add(path, case_name(path), folder, found)
                headers += [path] if path.suffix.lower() in (".mhd", ".nhdr") else []
            elif path.is_dir():
                check_place(path, root)
                folders.append(path)
                if is_series(path):
                    check_name(path)
                    _add(path, path.name, folder, found)
            elif not slices:
                strangers.append(path)
        except BadFileError as error:
            on_bad_file(error)
        except OSError as error:
            on_bad_file(unreadable(path, error))
    found.others.extend(_without_voxels(strangers, headers))
    return folders


def _add(path: Path, name: str, folder: Path, found: FoundImages) -> None:
    name = path.with_name(name).relative_to(folder).as_posix()
    if name in found.files:
        raise BadFileError(
            path,
            f"and {found.files[name].name} are two images of one name",
            "remove or rename one of them",
        )
    found.files[name] = path


def _check_entry(path: Path, root: Path) -> None:
    """See that what has the name of an image is a file within the data folder."""
    check_name(path)
    if path.is_symlink() or not path.is_file():
        check_place(path, root)
    if path.is_dir():
        raise BadFileError(
            path, "is a folder with the name of a file", "move the file that it holds out of it"
        )


def _without_voxels(strangers: list[Path], headers: list[Path]) -> Iterator[Path]:
    """Yield the files that are not the voxels of a header (.mhd, .nhdr) in the same folder."""
    voxels: set[Path] = set()
    for path in headers if strangers else ():
        try:
            voxels.update(files_of(path))
        except DataError:  # reported where the image itself is looked at
            continue
    yield from (path for path in strangers if path not in voxels)


def leave_out(
    files: Iterable[Path], why: str, remedy: str = "nothing, if that is right"
) -> list[Problem]:
    """Return notes on files that are part of no case."""
    return [Problem("note", file, why, remedy) for file in files]


def leave_out_strangers(files: Iterable[Path]) -> list[Problem]:
    """Return notes on files that are no images, or images of formats that are not read."""
    notes = []
    for file in files:
        if file.name.lower().endswith(NOT_READ):
            why = "is of a format that is not read, and left out"
            notes += leave_out([file], why, "save it as .nii.gz or .png")
        else:
            notes += leave_out([file], NO_IMAGE)
    return notes


def outside(folder: Path, within: Iterable[Path], why: str) -> list[Problem]:
    """Return notes on the images of a data folder that lie outside some folders in it."""
    inside, lost = set(within), list[Path]()
    for entry in entries_of(folder):
        path = Path(entry.path)
        if path in inside:
            continue
        if is_picture(path) or is_volume(path):
            lost.append(path)
        elif entry.is_dir(follow_symlinks=False):
            lost += [path] if is_series(path) else []
            lost += find_images(path, folder, lambda _: None).files.values()
    return leave_out(lost, f"{why}, and left out")


def of_dims(
    files: Mapping[str, Path], folder: Path, dims: Literal[2, 3] | None
) -> tuple[dict[str, Path], list[Problem]]:
    """Return the pictures (2) or the volumes (3) among images, and notes on the others.

    Raises:
        DataError: there are both, and nobody said which are asked for.
    """
    kinds = {is_picture(path): path for path in files.values()}
    if len(kinds) < 2:
        return dict(files), []
    if dims is None:
        raise DataError(
            f"{spell(folder)} mixes pictures ({kinds[True].name}) and volumes "
            f"({kinds[False].name}): keep them in folders of their own"
        )
    fit = {name: path for name, path in files.items() if is_picture(path) == (dims == 2)}
    rest = [path for name, path in files.items() if name not in fit]
    other, wanted = ("volume", "pictures") if dims == 2 else ("picture", "volumes")
    return fit, leave_out(rest, f"is a {other}, but {wanted} are asked for, and left out")


def dims_of(images: Iterable[Path], folder: Path) -> Literal[2, 3]:
    """Return 2 for pictures and 3 for volumes.

    Raises:
        DataError: there are both.
    """
    files = {str(path): path for path in images}
    of_dims(files, folder, None)
    return 2 if any(map(is_picture, files.values())) else 3


@dataclass(frozen=True)
class FolderImages:
    """The images of a source, once the header of every picture is read.

    Attributes:
        files: by the names of the cases; pictures that cannot be read are left out.
        pictures: headers of those that are pictures.
        dims: 2 for pictures, 3 for volumes.
        channels: that all pictures should have; None for volumes, whose channels mean
            something.
        notes: that some pictures have others.
    """

    files: Mapping[str, Path]
    pictures: Mapping[str, PictureHeader]
    dims: Literal[2, 3]
    channels: int | None
    notes: tuple[str, ...]


def look_at(
    files: Mapping[str, Path], folder: Path, on_bad_file: OnBadFile, facts: FileFacts
) -> FolderImages:
    """Return the images of a source; `on_bad_file` is called with pictures that cannot be read.

    Raises:
        DataError: there are pictures and volumes, or no image can be read.
    """
    dims = dims_of(files.values(), folder)
    if dims == 3:
        return FolderImages(files, {}, 3, None, ())
    headers, known = {}, facts.pictures(files.values())
    for name, path in files.items():
        try:
            headers[name] = sound(known[path])
        except BadFileError as error:
            on_bad_file(error)
    if not headers:
        raise DataError(f"{spell(folder)} holds no picture that can be read")
    most = max(header.channels for header in headers.values())
    grey = [files[name] for name, header in headers.items() if header.channels != most]
    notes = []
    if grey:
        first = spell(grey[0].name)
        notes = [f"{len(grey)} of {len(headers)} pictures are grey ({first}, ...): shown as RGB"]
    return FolderImages({name: files[name] for name in headers}, headers, 2, most, tuple(notes))
