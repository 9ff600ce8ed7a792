"""Facts of files that are kept: read once, and not again as long as the files are untouched."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias, TypeVar

from ssl_registry.data.cache.index import BATCH, names_of
from ssl_registry.data.cache.preparation import library_versions
from ssl_registry.data.cache.store import Store, cache_folder
from ssl_registry.data.sources.file_facts import Fact, FileFacts
from ssl_registry.data.sources.file_hashes import FileState, state_of
from ssl_registry.errors import BadFileError, DataError

T = TypeVar("T")

VERSION = 4
"""Raised whenever the same file is described in another way."""

FilesOf: TypeAlias = Mapping[Path, Sequence[Path]]
"""Of which files each image, known by the first of them, consists."""

States: TypeAlias = Mapping[Path, tuple[FileState, ...]]
"""The states of these files."""


class KeptFacts(FileFacts):
    """Facts of files whose sizes, dates and inode numbers are what they were are not read again.

    A fact of several files holds as long as all of them are untouched.
    """

    def __init__(self, *, verify: bool = False, needed: bool = True) -> None:
        """Take facts from the cache.

        Args:
            verify: read all files, whatever is known of them, and keep what they say now.
            needed: whether a cache that cannot be written is an error; else nothing is kept.
        """
        self._store = Store(cache_folder())
        self._verify = verify
        self._needed = needed

    def recall(self, fact: Fact[T], files: FilesOf, states: States) -> dict[Path, T]:
        """Return what was kept of images whose files are in the states that they were in.

        Raises:
            DataError: the cache cannot be read.
        """
        if self._verify or not files:
            return {}
        keys = _keys(fact, files)
        wanted = {keys[path]: _spell(states[path]) for path in files}
        try:
            with self._store.writing():
                said = self._store.index.facts(wanted)
        except DataError:
            if self._needed:
                raise
            return {}
        return {
            path: fact.read(path, json.loads(said[key]))
            for path, key in keys.items()
            if key in said
        }

    def keep(self, fact: Fact[T], files: FilesOf, states: States, found: Mapping[Path, T]) -> None:
        """Keep facts of images whose files nobody touched since, or just before, these states.

        Raises:
            DataError: the cache cannot be written.
        """
        keys = _keys(fact, {path: files[path] for path in found})
        kept = {
            keys[path]: (_spell(states[path]), json.dumps(fact.write(what)))
            for path, what in found.items()
            if all(state.settled for state in states[path])
            and states_of({path: files[path]}) == {path: states[path]}
        }
        try:
            with self._store.writing():
                self._store.index.keep_facts(kept)
        except DataError:
            if self._needed:
                raise

    def _find_all(self, fact: Fact[T], files: FilesOf) -> dict[Path, T | BadFileError]:
        states = states_of(files)
        there = {path: some for path, some in files.items() if path in states}
        recalled: dict[Path, T] = self.recall(fact, there, states)
        known: dict[Path, T | BadFileError] = {**recalled}
        missing = [path for path in files if path not in known]
        for start in range(0, len(missing), BATCH):
            batch = {path: files[path] for path in missing[start : start + BATCH]}
            found = super()._find_all(fact, batch)
            sound = {
                path: what
                for path, what in found.items()
                if path in states and not isinstance(what, BadFileError)
            }
            self.keep(fact, files, states, sound)
            known |= found
        return {path: known[path] for path in files}


def states_of(files: FilesOf) -> dict[Path, tuple[FileState, ...]]:
    """Return the states of the files of each image; an image of which one is gone is left out."""
    found = {}
    for path, some in files.items():
        try:
            found[path] = tuple(map(state_of, some))
        except DataError:  # which reading it will say
            continue
    return found


def _spell(states: Iterable[FileState]) -> str:
    return json.dumps([(one.size, one.modified, one.changed, one.inode) for one in states])


def _keys(fact: Fact[T], files: FilesOf) -> dict[Path, str]:
    """Return the keys under which a fact of images is kept."""
    names = names_of(dict.fromkeys(file for some in files.values() for file in some))
    kind = json.dumps([VERSION, fact.name, dict(library_versions())]).encode()
    return {
        path: hashlib.sha256(b"".join([kind, *(names[file] for file in some)])).hexdigest()[:32]
        for path, some in files.items()
    }
