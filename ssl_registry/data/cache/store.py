"""The cache on disk: one folder that any number of jobs write to and read from.

    images/<ab>/<key>.safetensors    prepared images, see `cache_file`
    contents.sqlite                  what files and cases hold, see `index`
    making/<key>.lock, <key>.<...>   what is being written
    jobs/<name>.keys, <name>.lock    what running jobs use
    cache.lock                       held while anything is removed

A lock is the operating system's: it goes with the process that holds it, however that ends. On a
file system without locks there is no cache, for one job could remove what another uses.
"""

import os
import secrets
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout
from pydantic import ByteSize, TypeAdapter, ValidationError

from ssl_registry.data.atomic_files import FULL
from ssl_registry.data.cache.cache_file import Array, CacheFile, open_cache_file, write_cache_file
from ssl_registry.data.cache.index import ContentIndex
from ssl_registry.data.locks import NO_LOCKS, check_locks
from ssl_registry.errors import ConfigError, DataError

LIMIT: Final = "SSL_REGISTRY_CACHE_LIMIT"
FOLDER: Final = "SSL_REGISTRY_CACHE"


def cache_folder() -> Path:
    """Return `$SSL_REGISTRY_CACHE`, or `ssl-registry` in the user's cache folder."""
    chosen = os.environ.get(FOLDER)
    if chosen:
        return Path(chosen).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home).expanduser() if home else Path.home() / ".cache") / "ssl-registry"


def cache_limit() -> int | None:
    """Return `$SSL_REGISTRY_CACHE_LIMIT` in bytes; None where there is none.

    Raises:
        ConfigError: it is not a size.
    """
    said = os.environ.get(LIMIT)
    if not said:
        return None
    try:
        return int(TypeAdapter(ByteSize).validate_python(said))
    except ValidationError as error:
        raise ConfigError(f"{LIMIT}={said!r} is not a size: write it as 200GB or 1.5TB") from error


def spell_bytes(count: int) -> str:
    """Return a size as a person would say it."""
    return ByteSize(count).human_readable(decimal=True)


@dataclass(frozen=True)
class Kept:
    """A prepared image in the cache.

    Attributes:
        key: of its content and its settings.
        size: bytes on disk.
        used: when a job last began to use it, in seconds since 1970.
    """

    key: str
    size: int
    used: float


class InUse:
    """Images that a job uses: nobody removes them before the job ends or lets go of this."""

    def __init__(self, let_go: Callable[[], object]) -> None:
        self.let_go = weakref.finalize(self, let_go)

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        """Leave the hold with the process that has it."""
        return _nothing, ()


def _nothing() -> None:
    return None


def _lock(path: Path, timeout: float = -1) -> FileLock:
    """Return a lock of the process, whichever of its threads asks."""
    return FileLock(path, timeout=timeout, thread_local=False)


class Store:
    """The cache in a folder, made when something is written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images = root / "images"
        self.index = ContentIndex(root / "contents.sqlite")
        self.making = root / "making"
        self.jobs = root / "jobs"

    def place_of(self, key: str) -> Path:
        """Return where an image of this key is, or would be."""
        return self.images / key[:2] / f"{key}.safetensors"

    def find(self, key: str) -> CacheFile | None:
        """Return the image of this key, where it is there and whole."""
        return open_cache_file(self.place_of(key))

    def touch(self, key: str) -> None:
        """Note that an image is used now."""
        with self.writing():
            os.utime(self.place_of(key))

    def make(
        self, key: str, make: Callable[[], tuple[Mapping[str, Array], Mapping[str, Any]]]
    ) -> CacheFile:
        """Return the image of this key, letting `make` make it where it is not there.

        Of several processes that want it, one makes it while the others wait.

        Raises:
            DataError: the cache cannot be written, or `make` raised it.
        """
        with self.writing():
            self.making.mkdir(parents=True, exist_ok=True)
            check_locks(self.root)
            lock = _lock(self.making / f"{key}.lock")
            lock.acquire()
        try:
            found = self.find(key)
            if found is not None:
                return found
            arrays, about = make()
            with self.writing():
                return self._write(key, arrays, about)
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()

    def _write(self, key: str, arrays: Mapping[str, Array], about: Mapping[str, Any]) -> CacheFile:
        path, beside = self.place_of(key), self.making / f"{key}.{secrets.token_hex(8)}"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_cache_file(beside, arrays, about)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        entry = open_cache_file(path)
        if entry is None:
            raise DataError(f"{path} was written and is damaged: is the disk sound?")
        return entry

    def use(self, keys: Collection[str]) -> InUse:
        """Keep images from being removed for as long as what is returned lives.

        Raises:
            DataError: the cache cannot be written.
        """
        name = secrets.token_hex(8)
        listed, lock = self.jobs / f"{name}.keys", _lock(self.jobs / f"{name}.lock")
        with self.writing():
            self.jobs.mkdir(parents=True, exist_ok=True)
            with self._removing():
                self._in_use()
                self._tidy()
                lock.acquire()
                listed.write_text("\n".join(sorted(keys)))
        owner = os.getpid()

        def let_go() -> None:
            if os.getpid() == owner:  # a forked reader of the same images keeps out of this
                listed.unlink(missing_ok=True)
                lock.release()
                Path(lock.lock_file).unlink(missing_ok=True)

        return InUse(let_go)

    def kept(self) -> list[Kept]:
        """Return the images that are there, the least recently used first."""
        found = []
        for path in self.images.glob("*/*.safetensors"):
            try:
                state = path.stat()
            except FileNotFoundError:
                continue  # removed just now
            found.append(Kept(path.stem, state.st_size, state.st_mtime))
        return sorted(found, key=lambda image: (image.used, image.key))

    def in_use(self) -> set[str]:
        """Return the keys that running jobs use; what dead ones left is removed."""
        if not self.jobs.is_dir():
            return set()
        with self.writing(), self._removing():
            return self._in_use()

    def _in_use(self) -> set[str]:
        """Do what `in_use` does, once nobody else does."""
        used: set[str] = set()
        for listed in self.jobs.glob("*.keys"):
            lock = _lock(listed.with_suffix(".lock"), timeout=0)
            try:
                with lock:
                    listed.unlink(missing_ok=True)
                Path(lock.lock_file).unlink(missing_ok=True)
            except Timeout:
                with suppress(FileNotFoundError):  # its job is about to let go
                    used |= set(listed.read_text().split())
        return used

    def remove(self, limit: int = 0, before: float = float("inf")) -> list[Kept]:
        """Remove images, the least recently used first, and return them.

        What a running job uses stays.

        Args:
            limit: bytes that may stay.
            before: only images that were last used before this time are removed.

        Raises:
            DataError: the cache cannot be written.
        """
        if not self.root.is_dir():
            return []
        with self.writing(), self._removing():
            used, kept = self._in_use(), self.kept()
            total, removed = sum(image.size for image in kept), []
            for image in kept:
                if total > limit and image.used < before and image.key not in used:
                    self.place_of(image.key).unlink(missing_ok=True)
                    total -= image.size
                    removed.append(image)
            self._tidy()
        return removed

    def forget(self) -> None:
        """Remove what is known of files and cases; it is found again when it is needed."""
        with self.writing():
            self.index.forget()

    def _tidy(self) -> None:
        """Remove what killed writers left half-written."""
        for key in {path.name.partition(".")[0] for path in self.making.glob("*")}:
            try:
                with _lock(self.making / f"{key}.lock", timeout=0):
                    for path in self.making.glob(f"{key}.*"):
                        path.unlink(missing_ok=True)
            except Timeout:
                continue  # its writer lives

    @contextmanager
    def _removing(self) -> Iterator[None]:
        check_locks(self.root)
        with _lock(self.root / "cache.lock"):
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Say plainly that the cache cannot be written, and what to do.

        Raises:
            DataError: the system refused something.
        """
        try:
            yield
        except OSError as error:
            why = error.strerror or str(error)
            remedy = f"set {FOLDER} to a folder that can be written"
            if error.errno in NO_LOCKS:
                remedy = (
                    f"files cannot be locked there, so set {FOLDER} to a folder on a local disk"
                )
            if error.errno in FULL:
                remedy = (
                    f"free some space (`ssl-registry cache clear --older-than 30`), or {remedy}"
                )
            raise DataError(
                f"the cache in {self.root} cannot be written ({why}): {remedy}"
            ) from error
