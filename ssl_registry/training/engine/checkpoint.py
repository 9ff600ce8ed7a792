"""Checkpoints: all that a run needs to go on as if it had never stopped.

`last.ckpt` is a torch archive of tensors, numbers and names, read with `weights_only`, so
nothing in it can run code. A new one takes its place only when it is whole and on the disk;
the one before stays as `previous.ckpt` until the run is finished.
"""

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console

from ssl_registry.errors import RunError
from ssl_registry.training.files.run_folder import CHECKPOINT, PREVIOUS, RunFolder

FORMAT: Final = 4

_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,  # also what torch raises
    KeyError,
    OverflowError,
    struct.error,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a file raises that is cut short or has other bits than were written."""


def save_checkpoint(folder: RunFolder, state: Mapping[str, Any]) -> None:
    """Make `state` the run's `last.ckpt`, and the one before its `previous.ckpt`.

    Raises:
        RunError: it cannot be written; the checkpoints that are there stay as they are.
    """
    archive = io.BytesIO()
    torch.save({"format": FORMAT, **state}, archive)
    folder.write_bytes(CHECKPOINT, archive.getbuffer(), keep=PREVIOUS)


def load_checkpoint(folder: RunFolder, console: Console) -> dict[str, Any] | None:
    """Return the newest state of a run that is whole; None where none was saved yet.

    Raises:
        RunError: there are checkpoints, but none that can be used.
    """
    damage = []
    for name in (CHECKPOINT, PREVIOUS):
        path = folder.path / name
        if not path.is_file():
            continue
        try:
            state = _read(path)
        except _DAMAGE as error:
            damage.append(f"{path} is damaged ({type(error).__name__}: {error})")
            continue
        _check_format(path, state)
        for words in damage:
            console.print(f"{words}: going on from {name}, the newest that is whole")
        return state
    if damage:
        raise RunError(
            f"{' and '.join(damage)}, and there is no other checkpoint: name another folder, or "
            f"delete {'it' if len(damage) == 1 else 'them'} to begin this run again"
        )
    return None


def _read(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds, once all of its checksums are right.

    torch writes a checksum for each of its records but does not look at it.
    """
    with zipfile.ZipFile(path) as archive:
        wrong = archive.testzip()
    if wrong is not None:
        raise ValueError(f"the checksum of {wrong} is wrong")
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise ValueError("it holds no state of a run")
    return state


def _check_format(path: Path, state: Mapping[str, Any]) -> None:
    if state.get("format") != FORMAT:
        raise RunError(
            f"{path} was not written by this release of ssl-registry: finish the run with the "
            "release that began it, or name another folder"
        )
