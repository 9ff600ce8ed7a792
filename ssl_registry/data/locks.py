"""Locks of files: the operating system's, or a file's being there where a file system has none.

Lustre that is mounted without `flock`, NFS 3 without its lock service, and some FUSE file systems
have no locks. That is found out by trying, once for each folder in each process.
"""

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from filelock import FileLock, SoftFileLock

try:
    import fcntl
except ImportError:  # Windows, where files can always be locked
    fcntl = None  # type: ignore[assignment]

NO_LOCKS: Final = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)

_found: dict[Path, int] = {}
"""By folder, why it has no locks; 0 where it has."""


def why_no_locks(folder: Path) -> int:
    """Return the number of the error by which a folder's file system refuses locks, 0 if it locks.

    What cannot be found out, because nothing can be written there, counts as a folder with locks.
    """
    if folder not in _found:
        with suppress(OSError):
            _found[folder] = _try_lock(folder)
    return _found.get(folder, 0)


def check_locks(folder: Path) -> None:
    """See that files in a folder can be locked by the operating system.

    Raises:
        OSError: they cannot.
    """
    if number := why_no_locks(folder):
        raise OSError(number, os.strerror(number))


def _try_lock(folder: Path) -> int:
    if fcntl is None:
        return 0
    with tempfile.TemporaryFile(dir=folder, prefix=f".lock.{os.getpid()}-") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno if error.errno in NO_LOCKS else 0
    return 0


class FolderLock:
    """Keeps other processes out of a folder, by a file in it, until it is released.

    The operating system's lock goes with the process that holds it, however that ends. Without
    locks, whoever makes the file holds it. It names its process, so that another on the same
    machine sees when that is gone; on other machines it keeps everybody out until it is deleted.

    Args:
        path: of the file, in a folder that is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: FileLock | SoftFileLock | None = None

    def acquire(self) -> None:
        """Take the lock, if nobody has it.

        Raises:
            filelock.Timeout: somebody has it.
            OSError: the file cannot be written.
        """
        if why_no_locks(self.path.parent):
            self._held = self._by_its_file()
            return
        lock = FileLock(self.path, timeout=0, thread_local=False)
        lock.acquire()
        # A machine of the same cluster may have mounted the file system without locks.
        if _is_marked(self.path):
            lock.release()
            self._held = self._by_its_file()
        else:
            self._held = lock

    def _by_its_file(self) -> SoftFileLock:
        lock = SoftFileLock(self.path, timeout=0, thread_local=False)
        lock.acquire()
        return lock

    def release(self) -> None:
        """Let others in, and take the file away."""
        if isinstance(self._held, FileLock):
            with suppress(OSError):  # a system that does not remove files that are open
                self.path.unlink(missing_ok=True)
        if self._held is not None:
            self._held.release()
            self._held = None

    @property
    def hint(self) -> str:
        """What else to do about a lock that somebody has, where its holder may be gone."""
        if not why_no_locks(self.path.parent) and not _is_marked(self.path):
            return ""
        return (
            f". Files cannot be locked there, so {self.path.name} stays when its machine dies: "
            "delete it if no run is at work"
        )


def _is_marked(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
