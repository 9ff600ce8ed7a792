"""The index of the cache: what files and cases were found to hold, so that nobody reads them again.

Hundreds of gigabytes, or a hundred thousand small files, are not read at every start. One SQLite
file says for each file, by the hash of its path, in which state it was (size, dates, inode) and
what the SHA-256 of its content is; for each case, by the hashes of its files, what it shows; and
for files in the states that they are in what opening the data must know of them, as headers.
Whatever is wrong with the index, it is begun anew: it holds nothing that the data do not say.
"""

import errno
import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from ssl_registry.data.locks import check_locks
from ssl_registry.data.sources.contents import Contents
from ssl_registry.data.sources.file_hashes import FileState, content_hash, state_of

K = TypeVar("K", str, bytes)
T = TypeVar("T")

Done: TypeAlias = Callable[[str, int, int], object]
"""Called with what is being done, how many are done, and of how many."""

PATIENCE: Final = 60.0
"""Seconds to wait while another job writes."""

BATCH: Final = 500
"""Files that are read between two times that the index is written."""

_FULL: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE)

_TABLES: Final = """
create table if not exists files (
    path blob primary key, size integer, modified integer, changed integer, inode integer,
    sha256 text
) without rowid;
create table if not exists contents (
    key text primary key, image text, label text, label_values text, channels text
) without rowid;
create table if not exists facts (key text primary key, state text, said text) without rowid;
"""


class ContentIndex:
    """The index in a file, which is made when something is first kept there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def hash_files(
        self, files: Sequence[Path], *, threads: int = 1, verify: bool = False, done: Done
    ) -> dict[Path, str]:
        """Return the SHA-256 of each file; reads those that are new, or were touched.

        Args:
            files: which ones.
            threads: how many read at a time.
            verify: read all of them, whatever is known.
            done: called with the progress.

        Raises:
            DataError: a file cannot be read.
            OSError: the index cannot be written.
        """
        names = names_of(files)
        states = {file: state_of(file) for file in files}
        known = {} if verify else self._look_up(names, states)
        unknown = [file for file in files if file not in known]
        with ThreadPoolExecutor(threads) as pool:
            for start in range(0, len(unknown), BATCH):
                batch = unknown[start : start + BATCH]
                found = dict(zip(batch, pool.map(content_hash, batch), strict=True))
                self._keep_files(found, names, states)
                known |= found
                done("looking up", start + len(batch), len(unknown))
        return {file: known[file] for file in files}

    def known_files(self, files: Sequence[Path]) -> dict[Path, str]:
        """Return the SHA-256 of those files that were read before and are untouched.

        Raises:
            DataError: there is no such file.
            OSError: the index cannot be opened.
        """
        return self._look_up(names_of(files), {file: state_of(file) for file in files})

    def _look_up(
        self, names: Mapping[Path, bytes], states: Mapping[Path, FileState]
    ) -> dict[Path, str]:
        """Return the hashes of the files that are still in the state they were in."""
        question = "select size, modified, changed, inode, sha256 from files where path = ?"
        rows = self._read(question, names.values())
        return {
            file: str(row[4])
            for file, name in names.items()
            if (row := rows.get(name)) is not None and FileState(*row[:4]) == states[file]
        }

    def _keep_files(
        self,
        found: Mapping[Path, str],
        names: Mapping[Path, bytes],
        states: Mapping[Path, FileState],
    ) -> None:
        """Keep the hashes of files that nobody touched while, or just before, they were read."""
        rows = [
            (names[file], state.size, state.modified, state.changed, state.inode, sha256)
            for file, sha256 in found.items()
            if (state := states[file]).settled and state_of(file) == state
        ]
        self._write("insert or replace into files values (?, ?, ?, ?, ?, ?)", rows)

    def cases(self, keys: Iterable[str]) -> dict[str, Contents]:
        """Return what cases show, by their keys, where that is known.

        Raises:
            OSError: the index cannot be opened.
        """
        question = "select image, label, label_values, channels from contents where key = ?"
        return {
            key: Contents(
                str(image), str(label), frozenset(json.loads(values)), tuple(several.split())
            )
            for key, (image, label, values, several) in self._read(question, keys).items()
        }

    def keep_cases(self, found: Mapping[str, Contents]) -> None:
        """Keep what cases show, by their keys.

        Raises:
            OSError: the index cannot be written.
        """
        rows = [
            (key, one.image, one.label, json.dumps(sorted(one.values)), " ".join(one.channels))
            for key, one in found.items()
        ]
        self._write("insert or replace into contents values (?, ?, ?, ?, ?)", rows)

    def facts(self, states: Mapping[str, str]) -> dict[str, str]:
        """Return what was kept of files, by their keys, as long as they are in those states.

        Raises:
            OSError: the index cannot be opened.
        """
        rows = self._read("select state, said from facts where key = ?", states)
        return {key: str(said) for key, (state, said) in rows.items() if state == states[key]}

    def keep_facts(self, found: Mapping[str, tuple[str, str]]) -> None:
        """Keep facts of files, by their keys: the state that the files were in, and what they say.

        Raises:
            OSError: the index cannot be written.
        """
        rows = [(key, state, said) for key, (state, said) in found.items()]
        self._write("insert or replace into facts values (?, ?, ?)", rows)

    def forget(self) -> None:
        """Remove all of it; it is found again when it is needed."""
        self.path.unlink(missing_ok=True)

    def _read(self, question: str, keys: Iterable[K]) -> dict[K, tuple[Any, ...]]:
        """Return the row of each key that has one."""

        def ask(database: sqlite3.Connection) -> dict[K, tuple[Any, ...]]:
            rows = ((key, database.execute(question, (key,)).fetchone()) for key in keys)
            return {key: row for key, row in rows if row is not None}

        return self._use(ask)

    def _write(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        def write(database: sqlite3.Connection) -> None:
            with database:
                database.executemany(statement, rows)

        if rows:
            self._use(write)

    def _use(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something with the index; one that is damaged is begun anew.

        Raises:
            OSError: it cannot be opened, or not be written, or files cannot be locked there.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        check_locks(self.path.parent)  # sqlite would wait for a minute, and not say why
        try:
            try:
                return self._attempt(work)
            except sqlite3.OperationalError:
                raise  # a lock, the disk or the rights, not what the file holds
            except sqlite3.DatabaseError:
                self.forget()
                return self._attempt(work)
        except sqlite3.Error as error:
            full = getattr(error, "sqlite_errorcode", None) in _FULL
            code = errno.ENOSPC if full else errno.EIO
            raise OSError(code, f"{self.path.name}: {error}") from error

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with closing(sqlite3.connect(self.path, timeout=PATIENCE)) as database:
            database.executescript(_TABLES)
            return work(database)


def names_of(files: Iterable[Path]) -> dict[Path, bytes]:
    """Return the name of each file in the index: a hash of its path, links in folders followed."""
    folders: dict[Path, str] = {}
    names = {}
    for file in files:
        folder = file.parent
        if folder not in folders:
            folders[folder] = str(folder.resolve())
        path = os.path.join(folders[folder], file.name)  # noqa: PTH118  (a tenth of the time)
        names[file] = hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()[:16]
    return names
