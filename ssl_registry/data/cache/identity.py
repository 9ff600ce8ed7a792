"""Which case is which, by content: every case is decoded once, and known ever after."""

from collections.abc import Sequence

from ssl_registry.data.cache.index import BATCH, Done
from ssl_registry.data.cache.preparation import files_of_cases, key_of_files, processes_of_cases
from ssl_registry.data.cache.store import Store, cache_folder
from ssl_registry.data.cache.threads import one_thread
from ssl_registry.data.cache.workers import WorkerCount, in_processes, threads_for
from ssl_registry.data.sources.cases import Case
from ssl_registry.data.sources.contents import VERSION, Contents, contents_of
from ssl_registry.errors import BadFileError


def identify_cases(
    cases: Sequence[Case],
    *,
    workers: WorkerCount = 0,
    verify: bool = False,
    done: Done = lambda *_: None,
) -> tuple[dict[str, Contents], list[BadFileError]]:
    """Return what each case shows, by its name, and what is wrong with those that cannot be read.

    A case is decoded once; as long as its files have the sizes, dates and inode numbers that they
    had then, none of them is opened again.

    Args:
        cases: which ones.
        workers: processes that decode; with fewer than two it is done in this one, and auto takes
            all cores where that pays.
        verify: read all files, whatever their dates say.
        done: called with the progress.

    Raises:
        DataError: a file cannot be opened at all, or the cache cannot be written.
    """
    store = Store(cache_folder())
    with store.writing():
        hashes = store.index.hash_files(
            files_of_cases(cases), threads=threads_for(workers), verify=verify, done=done
        )
        keys = {case.name: key_of_files(VERSION, case, hashes) for case in cases}
        known = store.index.cases(keys.values())
    wrong: list[BadFileError] = []
    missing = [(keys[case.name], case) for case in cases if keys[case.name] not in known]
    fresh: dict[str, Contents] = {}
    processes = processes_of_cases(workers, [case for _, case in missing])
    for count, (key, found) in enumerate(in_processes(_look_at, missing, processes), start=1):
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


def recall_contents(cases: Sequence[Case]) -> dict[str, Contents]:
    """Return what those cases show that were decoded before and whose files are untouched.

    Raises:
        DataError: a file is gone, or the cache cannot be read.
    """
    store = Store(cache_folder())
    with store.writing():
        hashes = store.index.known_files(files_of_cases(cases))
        keys = {
            case.name: key_of_files(VERSION, case, hashes)
            for case in cases
            if hashes.keys() >= set(case.files)
        }
        known = store.index.cases(keys.values())
    return {name: known[key] for name, key in keys.items() if key in known}


def _look_at(key: str, case: Case) -> tuple[str, Contents | BadFileError]:
    try:
        with one_thread():
            return key, contents_of(case.read())
    except BadFileError as error:
        return key, error
