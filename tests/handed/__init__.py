"""Files of runs that somebody may be handed, each made harmful in its own way.

Every entry changes one file of a sound run and names what reads it. It must end in one error of
the library that names the file, within bounds of memory and time; nothing that it holds is run,
and nothing is written. What reads them runs in a process of its own (`run.py`). Images and lists of
images have a corpus of theirs (`tests/data/corpus`).
"""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save, save_file

MARK: Final = "mark"
"""What a file that is run would leave in the working folder."""

NET: Final = {"name": "unet3d", "base_filters": 2, "levels": 2}
Reader = str
"""`encoder`, `model`, `decoder`, `predictions`, `config`, `curve`, `cases` or `split`."""


class Handed(NamedTuple):
    """One entry of the corpus."""

    name: str
    reader: Reader
    spoil: Callable[[Path], object]


class Harm:
    """What leaves a mark when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {MARK}",)


def said(file: str, **fields: Any) -> Callable[[Path], object]:
    """Return what sets fields of a JSON file."""

    def spoil(run: Path) -> None:
        path = run / file
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return spoil


def bytes_of(file: str, content: bytes | str) -> Callable[[Path], object]:
    raw = content if isinstance(content, bytes) else content.encode()
    return lambda run: (run / file).write_bytes(raw)


def pipe(file: str) -> Callable[[Path], object]:
    """Return what puts a pipe, on which reading waits for ever, in a file's place."""

    def spoil(run: Path) -> None:
        (run / file).unlink()
        os.mkfifo(run / file)

    return spoil


def folder(file: str) -> Callable[[Path], object]:
    """Return what puts a folder in a file's place."""

    def spoil(run: Path) -> None:
        (run / file).unlink()
        (run / file).mkdir()

    return spoil


def sparse(file: str, size: int) -> Callable[[Path], object]:
    """Return what makes a file long without taking room on the disk."""
    return lambda run: os.truncate(run / file, size)


def header(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


def tensors(file: str, **changed: torch.Tensor) -> Callable[[Path], object]:
    return lambda run: save_file({**load_file(run / file), **changed}, run / file)


def archive(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(f"{name}.npy", content)
    return file.getvalue()


def array(head: str, body: bytes = b"") -> bytes:
    raw = head.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw + body


def pickled() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Harm()], dtype=object), allow_pickle=True)
    return file.getvalue()


def yaml_bomb() -> str:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    return "\n".join(lines)


MANY: Final = json.dumps({f"key{index}": index for index in range(200_000)})
DEEP: Final = "[" * 100_000
SUMMARIES: Final[dict[str, dict[str, Any]]] = {
    "a program for a network": {"backbone": {"name": "os:system"}},
    "a path for a network": {"backbone": {"name": "../../evil"}},
    "a field that is code": {"backbone": {**NET, "__class__": "os.system"}},
    "a network of a million filters": {"backbone": {**NET, "base_filters": 10**6}},
    "a network beyond counting": {"backbone": {**NET, "base_filters": 10**300}},
    "a network larger than its weights": {"backbone": {**NET, "base_filters": 1000, "levels": 8}},
    "a million blocks": {"backbone": {"name": "monai-segresnet3d", "blocks_down": [10**6]}},
    "a million levels": {"backbone": {"name": "monai-segresnet3d", "blocks_down": [1] * 10**5}},
    "deep transformers": {"backbone": {"name": "monai-swinunetr3d", "depths": [10**6] * 4}},
    "wide windows": {"backbone": {"name": "monai-swinunetr3d", "window_size": 10**4}},
    "a huge network of a library": {"backbone": {"name": "timm", "model": "vit_giant_patch14_224"}},
    "a network from the hub": {"backbone": {"name": "timm", "model": "hf_hub:somebody/evil"}},
    "a network of a local folder": {"backbone": {"name": "timm", "model": "local-dir:/tmp"}},
    "channels without end": {"in_channels": 10**9},
    "preparation by code": {"preprocessing": {"window": "__import__('os').system('touch mark')"}},
    "letters that steer the terminal": {"backbone": {"name": "\x1b]0;owned\x07\x1b[2J"}},
    "another format": {"format": 10**9},
}
"""What may be said in `encoder.json` and in `model.json` alike."""


def entries() -> Iterator[Handed]:
    """Yield the whole corpus."""
    for file, reader in (("encoder.json", "encoder"), ("model.json", "model")):
        for name, fields in SUMMARIES.items():
            yield Handed(f"{file}: {name}", reader, said(file, **fields))
        for name, content in {
            "empty": "", "deep": DEEP, "many keys": MANY, "a number": "1" * 10_000, "NaN": "NaN",
            "twice one key": '{"format": 1, "format": 2}', "not text": b"\xff\xfe\x00",
        }.items():  # fmt: skip
            yield Handed(f"{file}: {name}", reader, bytes_of(file, content))
        yield Handed(f"{file}: a pipe", reader, pipe(file))
        yield Handed(f"{file}: long", reader, sparse(file, 2**40))
        yield from _weights(file.replace("json", "safetensors"), reader)
    yield Handed("model.json: a million classes", "model", said(
        "model.json", labels={str(index): "x" for index in range(100_000)}))  # fmt: skip
    yield Handed("model.json: a class beyond", "model", said("model.json", labels={"1" * 50: "x"}))
    yield Handed("model.json: a head of another kind", "model", said("model.json", downstream=NET))
    yield from _predictions()
    yield from _settings()


def _weights(file: str, reader: Reader) -> Iterator[Handed]:
    wide = b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}'
    past = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]}}'
    for name, content in {
        "a pickle": pickle.dumps(Harm()),
        "empty": b"",
        "a header of 2^63 bytes": header(b"{}", 2**63),
        "a header of a gigabyte": header(b"{}", 2**30),
        "a deep header": header(DEEP.encode()),
        "offsets beyond": header(past),
        "a shape beyond": header(wide) + bytes(4),
        "strange tensors": save({"a": torch.ones(3)}),
        "names that steer the terminal": save({"\x1b[2J\x07": torch.ones(3)}),
    }.items():
        yield Handed(f"{file}: {name}", reader, bytes_of(file, content))
    yield Handed(f"{file}: a torch checkpoint", reader, lambda run: torch.save(Harm(), run / file))
    yield Handed(f"{file}: one tensor more", reader, tensors(file, more=torch.ones(2)))
    yield Handed(f"{file}: a pipe", reader, pipe(file))
    yield Handed(
        f"{file}: a folder", reader, lambda run: (run / file).unlink() or (run / file).mkdir()
    )


def _predictions() -> Iterator[Handed]:
    file = "predictions.npz"
    shape = "{{'descr': {}, 'fortran_order': False, 'shape': {}, }}"
    for name, content in {
        "a pickle": pickled(),
        "a pickle inside": archive(case=pickled()),
        "objects": archive(case=array(shape.format("'|O'", "(1,)"), pickle.dumps(Harm()))),
        "a huge array": archive(case=array(shape.format("'|u1'", "(100000, 100000)"))),
        "a bomb": archive(case=array(shape.format("'|u1'", "(50000000,)"), bytes(50_000_000))),
        "sides below 0": archive(case=array(shape.format("'|u1'", "(-1, 9)"), bytes(100))),
        "code": archive(case=array("__import__('os').system('touch mark')")),
        "another case": archive(other=array(shape.format("'|u1'", "(1,)"), b"1")),
        "no archive": b"PK\x05\x06" + bytes(9),
    }.items():
        yield Handed(f"{file}: {name}", "predictions", bytes_of(file, content))
    yield Handed(f"{file}: a pipe", "predictions", pipe(file))


def _settings() -> Iterator[Handed]:
    texts = {
        "an object": f"!!python/object/apply:os.system ['touch {MARK}']",
        "a module": "!!python/name:os.system",
        "a bomb": yaml_bomb(),
        "a circle": "a: &a [*a]",
        "deep": DEEP,
        "twice one key": "seed: 0\nseed: 1",
        "letters that steer the terminal": '"\\e]0;owned\\a": 1',
        "a number without end": f"seed: {'1' * 10_000}",
        "a program for a task": "task: os:system",
        "no text": b"\x00\xff",
    }
    for file, reader in (("config.yaml", "config"), ("curve.yaml", "curve")):
        for name, content in texts.items():
            yield Handed(f"{file}: {name}", reader, bytes_of(file, content))
        yield Handed(f"{file}: a pipe", reader, pipe(file))
        yield Handed(f"{file}: long", reader, sparse(file, 2**40))
    for file, reader in (("cases.csv", "cases"), ("split.csv", "split")):
        for name, content in {
            "no text": b"\xff\xfe\x00", "another table": "a,b\n1,2\n", "a huge cell": "x" * 10**7,
            "letters that steer the terminal": "\x1b]0;owned\x07,part\n\x1b[2J,train\n",
        }.items():  # fmt: skip
            yield Handed(f"{file}: {name}", reader, bytes_of(file, content))
        yield Handed(f"{file}: a pipe", reader, pipe(file))
        yield Handed(f"{file}: long", reader, sparse(file, 2**40))
