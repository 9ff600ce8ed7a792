"""Images that a model is to answer for, in the channels that it takes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from ssl_registry.data.formats.dicom import is_series
from ssl_registry.data.formats.pictures import is_picture
from ssl_registry.data.formats.volumes import case_name, is_volume
from ssl_registry.data.places import entries_of
from ssl_registry.data.sources.cases import Case, FileCase
from ssl_registry.data.sources.channel_numbers import NUMBERED, stacks_of
from ssl_registry.data.sources.layouts import Reading
from ssl_registry.data.sources.nnunet import IMAGES
from ssl_registry.data.sources.opening import open_source
from ssl_registry.errors import BadFileError, DataError, SslRegistryError, spell
from ssl_registry.training.files.channel_names import check_channels, learned_channels
from ssl_registry.training.finetuning.model_file import ModelSummary

LeaveOut: TypeAlias = Callable[[str, SslRegistryError], None]
"""Called with the image that cannot be predicted, and why."""


def open_unlabelled(
    images: str, summary: ModelSummary, reading: Reading, leave_out: LeaveOut
) -> tuple[list[Case], Sequence[str]]:
    """Return images without what is known of them, in the model's channels, and notes on them.

    Args:
        images: a folder of images, one image, or whatever else `data` may name.
        summary: of the model.
        reading: what is said of their layout.
        leave_out: called with the images that cannot be used.

    Raises:
        DataError: there are none.
    """
    path, dims = Path(images).expanduser(), summary.image_dims

    def meet(error: BadFileError) -> None:
        leave_out(case_name(Path(error.file)), error)

    if _is_image(path):
        _check_dims(path, dims)
        cases: Sequence[Case] = [FileCase(_name_of(path, summary.in_channels), path)]
        notes: Sequence[str] = ()
    else:
        if reading.layout == "auto" and not reading.channels and _holds_images(path):
            reading = Reading("images")
        source = open_source(images, dims, meet, reading, summary.slices)
        cases, learned = source.cases, learned_channels(summary.data)
        order = check_channels("the model", learned, source.name, source.channel_names)
        notes = (*source.notes, *order)
        if source.layout == "images":
            cases = _by_channel(cases, summary.in_channels, meet)
    channels = summary.in_channels if dims == 2 and summary.in_channels in (1, 3) else None
    return [
        replace(case, label=None, channels=channels) if isinstance(case, FileCase) else case
        for case in cases
    ], notes


def _is_image(path: Path) -> bool:
    """Whether a path is that of one image: a file, or a folder of DICOM slices and no more."""
    if path.is_file():
        return is_picture(path) or is_volume(path)
    alone = is_series(path) and not any(entry.is_dir() for entry in entries_of(path))
    return alone and not _holds_images(path)


def _check_dims(path: Path, dims: int) -> None:
    """See that one image is a picture where the model takes pictures, or else a volume.

    Raises:
        DataError: it is not.
    """
    if is_picture(path) != (dims == 2):
        there, wanted = ("picture", "volumes") if is_picture(path) else ("volume", "pictures")
        raise DataError(
            f"{spell(path)} is a {there}, but the model takes {wanted}: name another image, or "
            "another run (one fine-tuned with slices=thick takes volumes by their slices)"
        )


def _holds_images(path: Path) -> bool:
    """Whether a folder holds images itself, whatever list lies beside them."""
    if not path.is_dir():
        return False
    files = (Path(entry.path) for entry in entries_of(path))
    return any(is_picture(file) or is_volume(file) for file in files)


def _name_of(path: Path, channels: int) -> str:
    """Return the name of one image: in nnU-Net's folders without the number of its channel."""
    if path.is_dir():
        return path.absolute().name
    name = case_name(path)
    found = NUMBERED.fullmatch(name)
    numbered = found is not None and channels == 1 and path.absolute().parent.name in IMAGES
    return found.group(1) if found and numbered else name


def _by_channel(
    cases: Sequence[Case], channels: int, meet: Callable[[BadFileError], None]
) -> list[Case]:
    """Return the images that files called `<case>_0000` and so on are, if they are called so."""
    files: Mapping[str, Path] = {
        case.name: case.image for case in cases if isinstance(case, FileCase)
    }
    stacks = stacks_of(files, channels) if len(files) == len(cases) else None
    if stacks is None:
        return list(cases)
    for file, wrong in stacks.broken.values():
        meet(BadFileError(file, wrong, "add the file, or take out the others of its case"))
    return [
        FileCase(name, first, further=tuple(more)) for name, (first, *more) in stacks.whole.items()
    ]
