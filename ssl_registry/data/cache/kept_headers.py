"""Headers of cases that are kept: a second start knows the grids of all volumes without a look."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from ssl_registry.data.cache.kept_facts import KeptFacts, states_of
from ssl_registry.data.formats.headers import Header
from ssl_registry.data.formats.pictures import is_picture
from ssl_registry.data.formats.volumes import read_header
from ssl_registry.data.sources.cases import Case, FileCase
from ssl_registry.data.sources.file_facts import Fact
from ssl_registry.errors import BadFileError


def _write(header: Header) -> dict[str, Any]:
    return {
        "shape": header.shape,
        "channels": header.channels,
        "dtype": header.dtype.str,
        "affine": header.affine.tolist(),
        "placed": header.placed,
        "patient": header.patient,
    }


def _read(path: Path, said: Any) -> Header:
    x, y, z = said["shape"]
    return Header(
        file=path,
        shape=(x, y, z),
        channels=said["channels"],
        dtype=np.dtype(said["dtype"]),
        affine=np.array(said["affine"], np.float64),
        placed=said["placed"],
        patient=said["patient"],
    )


HEADER: Final = Fact("header", read_header, _write, _read)
"""What the header of a case says, all of its channels counted, once its files were found sound."""


class KeptHeaders:
    """The headers of those of some cases that are volumes, from now on.

    Attributes:
        known: those that were kept and still hold, by the cases' names.
    """

    def __init__(self, cases: Sequence[Case], facts: KeptFacts) -> None:
        """Look up what is known.

        Raises:
            DataError: the cache cannot be read.
        """
        self._facts = facts
        volumes = [c for c in cases if isinstance(c, FileCase) and not is_picture(c.image)]
        self._images = {case.name: case.image for case in volumes}
        self._files = {case.image: _files_of(case) for case in volumes}
        self._states = states_of({image: files for image, files in self._files.items() if files})
        there = {image: self._files[image] for image in self._states}
        said = facts.recall(HEADER, there, self._states)
        self.known = {name: said[image] for name, image in self._images.items() if image in said}

    def keep(self, names: Iterable[str], headers: Mapping[str, Header]) -> None:
        """Keep the headers of those cases that are not known yet.

        Args:
            names: of cases whose files were found sound.
            headers: by the cases' names.

        Raises:
            DataError: the cache cannot be written.
        """
        found = {
            self._images[name]: headers[name]
            for name in names
            if name in headers and name not in self.known and self._images[name] in self._states
        }
        self._facts.keep(HEADER, self._files, self._states, found)


def _files_of(case: FileCase) -> tuple[Path, ...]:
    """Return the files of a case; none where they are unknown, which its check will say."""
    try:
        return case.files
    except BadFileError:
        return ()
