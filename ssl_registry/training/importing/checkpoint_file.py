"""Files of weights from anywhere: safetensors, or PyTorch's without running what is in them."""

import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ssl_registry.errors import EncoderFileError, spell

PICKLED: Final = (".pth", ".pt", ".bin", ".ckpt", ".tar", ".model")
"""How the names of PyTorch's files end."""

_WANTED: Final = re.compile(r"(?:GLOBAL|Unsupported global:|Unsupported class) ([\w.]+)")
"""What torch says of a name in the pickle that it does not know."""

_SCALAR: Final[Callable[..., Any]] = np.float64(0).__reduce__()[0]  # type: ignore[assignment]

_NUMBERS: Final[list[Callable[..., Any] | tuple[Callable[..., Any], str]]] = [
    (_SCALAR, "numpy._core.multiarray.scalar"),
    (_SCALAR, "numpy.core.multiarray.scalar"),  # as NumPy 1 wrote it
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "?")),
]
"""Plain numbers of NumPy, which training loops put beside their weights (the best score so far)."""


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """Return what a file of weights holds; nothing in it is run.

    Raises:
        EncoderFileError: it is no such file, is damaged, holds something else than named values,
            or wants to run something to be read.
    """
    if not path.is_file():
        there = "is a folder: name the file of weights" if path.is_dir() else "is not there"
        raise EncoderFileError(f"{spell(path)} {there}")
    if path.suffix != ".safetensors" and path.suffix not in PICKLED:
        raise EncoderFileError(
            f"{spell(path)}: weights are read from .safetensors, {', '.join(PICKLED)}"
        )
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickled(path)
    if not isinstance(content, Mapping):
        raise EncoderFileError(
            f"{spell(path)} holds a {type(content).__name__}; expected tensors by name (a state "
            "dict), perhaps within a dictionary"
        )
    odd = next((key for key in content if not isinstance(key, str)), None)
    if odd is not None:
        raise EncoderFileError(
            f"{spell(path)} has the key {spell(repr(odd))}; expected tensors by name, and names "
            "are texts"
        )
    return content


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    try:
        return load_file(path)
    except (OSError, SafetensorError, MemoryError) as error:
        raise EncoderFileError(f"{spell(path)} is damaged: {_line(error)}") from error


def _read_pickled(path: Path) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_NUMBERS):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        wanted = sorted(set(_WANTED.findall(str(error))))
        if wanted:
            raise EncoderFileError(
                f"{spell(path)} wants to run {', '.join(wanted)} to be read, so it is refused and "
                "nothing of it was run: ask for the weights as .safetensors, or, if you trust who "
                "made it, load it by yourself and save its state dict alone"
            ) from error
        raise EncoderFileError(
            f"{spell(path)} is damaged, or not a PyTorch file: {_line(error)}"
        ) from error


def _line(error: BaseException) -> str:
    """Return the first sentence of what a library says."""
    words = " ".join(str(error).split())
    return spell(re.split(r"(?<=[a-z])\. ", words)[0][:300])
