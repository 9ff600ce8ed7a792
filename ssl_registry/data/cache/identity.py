"""Which case is which, by content: every case is decoded once, and known ever after."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ssl_registry.data.cache.index import BATCH, Done
from ssl_registry.data.cache.prepared import files_of_cases, library_versions
from ssl_registry.data.cache.store import Store, cache_folder
from ssl_registry.data.cache.threads import one_thread
from ssl_registry.data.cache.workers import in_processes
from ssl_registry.data.formats.headers import Header
from ssl_registry.data.sources.cases import Case, FileCase
from ssl_registry.data.sources.contents import VERSION, Contents, contents_of
from ssl_registry.errors import BadFileError


def identify_cases(
    cases: Sequence[Case],
    *,
    workers: int = 0,
    verify: bool = False,
    done: Done = lambda *_: None,
) -> tuple[dict[str, Contents], list[BadFileError]]:
    """Return what each case shows, by its name, and what is wrong with those that cannot be read.

    A case is decoded once; as long as its files have the sizes, dates and inode numbers that they
    had then, none of them is opened again.

    Args:
        cases: which ones.
        workers: processes that decode; with fewer than two it is done in this one.
        verify: read all files, whatever their dates say.
        done: called with the progress.

    Raises:
        DataError: a file cannot be opened at all, or the cache cannot be written.
    """
    store = Store(cache_folder())
    with store.writing():
        hashes = store.index.hash_files(
            files_of_cases(cases), threads=max(1, workers), verify=verify, done=done
        )
        keys = {case.name: _key_of(case, hashes) for case in cases}
        known = store.index.cases(keys.values())
    wrong: list[BadFileError] = []
    missing = [(keys[case.name], case) for case in cases if keys[case.name] not in known]
    fresh: dict[str, Contents] = {}
    for count, (key, found) in enumerate(in_processes(_look_at, missing, workers), start=1):
        if isinstance(found, BadFileError):
            wrong.append(found)
        else:
            fresh[key] = found
        if len(fresh) == BATCH or count == len(missing):
            with store.writing():
                store.index.keep_cases(fresh)
            known |= fresh
            fresh = {}
        done("reading", count, len(missing))
    return {name: known[key] for name, key in keys.items() if key in known}, wrong


def recall_headers(cases: Sequence[Case]) -> dict[str, Header]:
    """Return the headers of volumes, by the cases' names, that were kept and still hold.

    Raises:
        DataError: the cache cannot be read.
    """
    store = Store(cache_folder())
    with store.writing():
        files = {case.name: _files_of(case) for case in cases}
        hashes = store.index.known_files([file for some in files.values() for file in some])
        known = [
            case for case in cases if files[case.name] and hashes.keys() >= set(files[case.name])
        ]
        keys = {case.name: _key_of(case, hashes) for case in known}
        said = store.index.headers(keys.values())
    return {
        case.name: _read_header(case, said[keys[case.name]])
        for case in known
        if isinstance(case, FileCase) and keys[case.name] in said
    }


def keep_headers(cases: Sequence[Case], headers: Mapping[str, Header]) -> None:
    """Keep the headers of cases that were read to their end, and found sound.

    Raises:
        DataError: the cache cannot be written.
    """
    store = Store(cache_folder())
    sound = [case for case in cases if case.name in headers]
    if not sound:
        return
    with store.writing():
        hashes = store.index.known_files(files_of_cases(sound))
        settled = [case for case in sound if hashes.keys() >= set(case.files)]
        store.index.keep_headers(
            {_key_of(case, hashes): _write_header(headers[case.name]) for case in settled}
        )


def _files_of(case: Case) -> tuple[Path, ...]:
    """Return the files of a case; none where they are unknown, which its check will say."""
    try:
        return case.files
    except BadFileError:
        return ()


def _write_header(header: Header) -> str:
    return json.dumps(
        {
            "shape": header.shape,
            "channels": header.channels,
            "dtype": header.dtype.str,
            "affine": header.affine.tolist(),
            "placed": header.placed,
        }
    )


def _read_header(case: FileCase, said: str) -> Header:
    fields = json.loads(said)
    x, y, z = fields["shape"]
    return Header(
        file=case.image,
        shape=(x, y, z),
        channels=fields["channels"],
        dtype=np.dtype(fields["dtype"]),
        affine=np.array(fields["affine"], np.float64),
        placed=fields["placed"],
    )


def _key_of(case: Case, hashes: Mapping[Path, str]) -> str:
    """Return the key of a case in the index: all on which depends what its files show."""
    words = {
        "version": VERSION,
        "libraries": library_versions(),
        "files": [hashes[file] for file in case.files],
        "identity": case.identity,
    }
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:32]


def _look_at(key: str, case: Case) -> tuple[str, Contents | BadFileError]:
    try:
        with one_thread():
            return key, contents_of(case.read())
    except BadFileError as error:
        return key, error
