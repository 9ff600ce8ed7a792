"""What opening data must know of single files: headers of pictures, values of label maps.

`FileFacts` reads it from the files. The cache has one that keeps what it read, so that a second
start opens no file again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeAlias, TypeVar

from ssl_registry.data.formats.pictures import (
    PictureHeader,
    is_picture,
    mask_colours,
    mask_size,
    mask_values,
    picture_header,
    read_mask,
)
from ssl_registry.data.formats.volumes import files_of, has_text_header
from ssl_registry.data.sources.label_values import values_of
from ssl_registry.errors import BadFileError, spell

T = TypeVar("T")

Files: TypeAlias = tuple[Path, ...]

_Meant: TypeAlias = int | tuple[int, ...]
"""A value of a label map, or the colour in which a palette shows it."""


@dataclass(frozen=True)
class LabelFacts:
    """What a label map holds.

    Attributes:
        values: that occur in it.
        size: (height, width) of a picture's mask in pixels; None of a volume's.
        colours: in which its palette shows these values, where it has one.
    """

    values: frozenset[int]
    size: tuple[int, int] | None = None
    colours: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Fact(Generic[T]):
    """One kind of what may be known of a file.

    Attributes:
        name: of the kind.
        find: reads it from a file.
        write: turns it into what JSON can hold.
        read: turns that back, for the file of that path.
    """

    name: str
    find: Callable[[Path], T]
    write: Callable[[T], Any]
    read: Callable[[Path, Any], T]


def _label_facts(path: Path) -> LabelFacts:
    if not is_picture(path):
        return LabelFacts(values_of(path))
    mask = read_mask(path)
    values, colours = mask_values(mask), mask_colours(path)
    shown = {value: colours[value] for value in sorted(values & colours.keys())}
    return LabelFacts(frozenset(values), mask_size(mask), shown)


PICTURE: Final = Fact(
    "picture",
    picture_header,
    lambda header: [header.channels, *header.size],
    lambda _, said: PictureHeader(said[0], (said[1], said[2])),
)
LABELS: Final = Fact(
    "labels",
    _label_facts,
    lambda facts: [sorted(facts.values), facts.size, list(facts.colours.items())],
    lambda _, said: LabelFacts(
        frozenset(said[0]),
        tuple(said[1]) if said[1] else None,
        {value: tuple(colour) for value, colour in said[2]},
    ),
)
VOXELS: Final = Fact(
    "voxels",
    files_of,
    lambda files: [file.name for file in files],
    lambda path, said: tuple(path.parent / name for name in said),
)
"""The files of a volume whose header may name another one for its voxels."""


class FileFacts:
    """Reads what opening data must know of files; a bad file has its error in place of a fact."""

    def pictures(self, files: Iterable[Path]) -> dict[Path, PictureHeader | BadFileError]:
        """Return the header of each picture."""
        return self._find_all(PICTURE, {file: (file,) for file in files})

    def labels(self, maps: Iterable[Path]) -> dict[Path, LabelFacts | BadFileError]:
        """Return what each label map holds, picture or volume.

        One whose palette shows a value in another colour than those before it is bad: in one of
        them the value stands for something else.
        """
        files = self.files_of_images(maps)
        whole = {path: some for path, some in files.items() if not isinstance(some, BadFileError)}
        found = self._find_all(LABELS, whole)
        found = _of_one_palette(found)
        return found | {path: e for path, e in files.items() if isinstance(e, BadFileError)}

    def files_of_images(self, images: Iterable[Path]) -> dict[Path, Files | BadFileError]:
        """Return the files of which each image consists."""
        found: dict[Path, Files | BadFileError] = {}
        headers = []
        for image in dict.fromkeys(images):
            if image.is_dir() or not has_text_header(image):
                found[image] = find(files_of, image)
            else:
                headers.append(image)
        return found | self._find_all(VOXELS, {image: (image,) for image in headers})

    def _find_all(
        self, fact: Fact[T], files: Mapping[Path, Sequence[Path]]
    ) -> dict[Path, T | BadFileError]:
        """Return a fact of each image, of which it is said what files it consists of."""
        return {path: find(fact.find, path) for path in files}


def _of_one_palette(
    found: Mapping[Path, LabelFacts | BadFileError],
) -> dict[Path, LabelFacts | BadFileError]:
    """Return what masks hold, with an error for each that contradicts the palettes before it."""
    first: dict[_Meant, tuple[_Meant, Path]] = {}
    checked: dict[Path, LabelFacts | BadFileError] = {}
    for path, holds in found.items():
        checked[path] = holds
        if isinstance(holds, BadFileError) or len({*holds.colours.values()}) < len(holds.colours):
            continue
        pairs: list[tuple[_Meant, _Meant]] = [*holds.colours.items()]
        pairs += [(colour, value) for value, colour in holds.colours.items()]
        odd = [(key, first[key]) for key, meant in pairs if key in first and first[key][0] != meant]
        if odd:
            key, (meant, other) = odd[0]
            checked[path] = BadFileError(
                path,
                f"has another palette than {spell(other.name)}, in which {key} is {meant}: its "
                "values may mean other things",
                "save masks as grey pictures whose values are the classes",
            )
        else:
            for key, meant in pairs:
                first.setdefault(key, (meant, path))
    return checked


def sound(fact: T | BadFileError) -> T:
    """Return a fact.

    Raises:
        BadFileError: it is the error of a bad file.
    """
    if isinstance(fact, BadFileError):
        raise fact
    return fact


def find(look: Callable[[Path], T], path: Path) -> T | BadFileError:
    """Return what is found in a file, or the error."""
    try:
        return look(path)
    except BadFileError as error:
        return error


READ_ANEW: Final = FileFacts()
"""Reads every file, whatever was read of it before."""
