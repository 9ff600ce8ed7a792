"""The folder of a run: `cases.csv`, `config.yaml`, `metrics.csv`, `last.ckpt`, `encoder.*`, ...

Every file appears whole or not at all, and `result.json` comes last: a folder that has
it is finished. Where several processes train together, the first of them writes. While a run
works in its folder, a lock keeps others out; it goes with the process, however that ends, but on
a file system without locks, see `FolderLock`.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from filelock import Timeout

from ssl_registry.data.atomic_files import leftovers, sweep, write_whole
from ssl_registry.data.locks import FolderLock
from ssl_registry.distributed import is_main
from ssl_registry.documents import read_yaml
from ssl_registry.errors import RunError, TakenRunError
from ssl_registry.training.files.run_result import RESULT, spell_result
from ssl_registry.training.files.same_settings import (
    check_same_labels,
    check_same_settings,
    is_longer,
)
from ssl_registry.training.settings.origins import LABEL_NAMES
from ssl_registry.training.settings.stored import CONFIG

CASES: Final = "cases.csv"
CHECKPOINT: Final = "last.ckpt"
LOCK: Final = ".lock"
PREVIOUS: Final = "previous.ckpt"

_BEGIN_AGAIN: Final = "name another folder, or delete this one to begin the run again"


class RunFolder:
    """A run's folder.

    Args:
        path: of the folder, which need not be there yet.
        first: whether this is the process that writes, before the processes of a run know each
            other.
    """

    def __init__(self, path: Path, *, first: bool = True) -> None:
        self.path, self.first = path, first
        self._lock: FolderLock | None = None
        self._begun = False

    @contextmanager
    def working(self) -> Iterator[None]:
        """Let go of the folder in the end, which `check` or `begin` claims for this process."""
        try:
            yield
        finally:
            self._let_go()

    def check(
        self, settings: Mapping[str, Any], resume: bool, started_from: str | None = None
    ) -> None:
        """See that the folder is free, or that a run with these settings can go on in it.

        Args:
            settings: of the run, complete.
            resume: whether to go on with what is there.
            started_from: digest of the encoder that the run starts from.

        Raises:
            RunError: another run is at work there; the folder holds a finished run, an
                unfinished one (without `resume`), other files, or (with `resume`) no run or one
                of other settings; or nothing may be written there.
        """
        out = self.path
        if out.exists() and not out.is_dir():
            raise RunError(f"out={out} is a file: name a new folder")
        if out.is_dir() and os.access(out, os.W_OK | os.X_OK):
            self._claim()
        if (out / RESULT).exists():
            self._check_prolonged(settings, resume)
        if resume:
            self.check_started()
            check_same_settings(
                self.path, self.settings(), settings, started_from, may_be_longer=True
            )
        elif self.started:
            raise RunError(
                f"out={out} holds an unfinished run: set resume=true to go on with it, or name "
                "another folder"
            )
        elif out.is_dir() and self._strangers():
            raise RunError(f"out={out} is not empty: name a new folder, so that nothing is lost")
        _check_writable(out)

    def _check_prolonged(self, settings: Mapping[str, Any], resume: bool) -> None:
        """See that a finished run is asked to go on for more epochs or steps, and can.

        Raises:
            RunError: it is not, or its last checkpoint is gone.
        """
        out = self.path
        started = self.settings() if self.started else {}
        if not resume or not is_longer(settings, started):
            way = "steps" if started.get("steps") else "epochs"
            made = f"{way}={started.get(way)}" if started.get(way) else ""
            more = f"; more than {made} prolong it with resume=true" if made else ""
            left = ", so nothing is left to resume" if resume else ""
            raise RunError(
                f"out={out} holds a finished run{left}: name another folder, or delete it{more}"
            )
        if not (out / CHECKPOINT).is_file():
            raise RunError(
                f"out={out} holds a finished run without its {CHECKPOINT}, from which it would be "
                "prolonged: name another folder"
            )

    def _strangers(self) -> set[Path]:
        """Return files that are not of a run that was killed before it had begun."""
        ours = {self.path / LOCK, self.path / CASES, *leftovers(self.path)}
        return set(self.path.iterdir()) - ours

    def _claim(self) -> None:
        """Keep others out until `working` ends, or the process does.

        Raises:
            TakenRunError: another run is at work here.
            RunError: nothing can be written.
        """
        if self._lock is not None or not (self.first and is_main()):
            return
        lock = FolderLock(self.path / LOCK)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise TakenRunError(
                f"another run is at work in out={self.path}: wait for its end or stop it, or name "
                f"another folder{lock.hint}"
            ) from error
        except OSError as error:
            raise RunError(
                f"out={self.path} cannot be written: {error.strerror or error}"
            ) from error
        self._lock = lock

    def _let_go(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def check_started(self) -> None:
        """See that there is a run to go on with.

        Raises:
            RunError: there is none.
        """
        if not self.started:
            there = "holds no run" if self.path.is_dir() else "is not there, so there is no run"
            raise RunError(f"out={self.path} {there} to resume: leave out resume=true to begin one")

    @property
    def started(self) -> bool:
        """Whether a run, finished or not, was started here."""
        return (self.path / CONFIG).is_file()

    def settings(self) -> dict[str, Any]:
        """Return what `config.yaml` says.

        Raises:
            RunError: it cannot be read.
        """
        path = self.path / CONFIG
        try:
            said = read_yaml(path, RunError)
        except RunError as error:
            raise RunError(f"{error}; {_BEGIN_AGAIN}") from error
        if not isinstance(said, dict):
            raise RunError(f"{path} holds no settings; {_BEGIN_AGAIN}")
        return said

    def check_labels(self, labels: Mapping[int, str]) -> None:
        """See that the data have the labels that the run here learns, for which its head was built.

        Raises:
            RunError: they have not.
        """
        check_same_labels(self.path, self.settings().get(LABEL_NAMES), labels)

    def begin(self, config: str, cases: str) -> None:
        """Write `cases.csv` and `config.yaml`: from now on there is a run.

        Raises:
            RunError: they cannot be written, or another run has begun here in the meantime.
        """
        if self._lock is None and is_main():
            self._claim()
            if self.started or (self.path / RESULT).exists():
                raise TakenRunError(
                    f"another run has begun in out={self.path} in the meantime: name another folder"
                )
        if is_main():  # a run that is prolonged is not finished any more
            (self.path / RESULT).unlink(missing_ok=True)
        self.write(CASES, cases)
        self.write(CONFIG, config)
        self._begun = True
        sweep(self.path)

    def write(self, name: str, text: str) -> None:
        """Write a text file whole or not at all.

        Raises:
            RunError: it cannot be written.
        """
        self.write_bytes(name, text.encode())

    def write_bytes(
        self, name: str, content: bytes | memoryview, *, keep: str | None = None
    ) -> None:
        """Write a file whole or not at all; the one before gets the name `keep`.

        Raises:
            RunError: it cannot be written. What was there before stays.
        """
        if not is_main():
            return
        path = self.path / name
        if self._begun and not self.started:
            raise RunError(
                f"{path} cannot be written: the folder of the run is not there any more, or holds "
                f"another's files ({CONFIG} is gone). What the run wrote before is whole: when the "
                "folder is back, the same command with resume=true goes on"
            )
        before = None if keep is None else self.path / keep
        try:
            write_whole(path, lambda beside: beside.write_bytes(content), keep=before)
        except OSError as error:
            raise RunError(
                f"{path} cannot be written: {error.strerror or error}. What the run wrote before "
                "is whole: make room or give the right to write there, then the same command with "
                "resume=true goes on"
            ) from error

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write `result.json`, which marks the run as finished, and drop `previous.ckpt`.

        Raises:
            RunError: it cannot be written.
        """
        self.write(RESULT, spell_result(result))
        if is_main():
            (self.path / PREVIOUS).unlink(missing_ok=True)


def _check_writable(out: Path) -> None:
    """See, before anything is computed, that files can be written to a folder yet to be made."""
    absolute = out.expanduser().absolute()
    there = next(folder for folder in (absolute, *absolute.parents) if folder.exists())
    if not there.is_dir():
        raise RunError(f"out={out}: {there} is a file, so it can hold no folder: name another")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RunError(f"out={out}: nothing may be written to {there}: name a folder of your own")
