"""Archives of arrays: within bounds, whatever they announce, and without unpickling."""

import io
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ssl_registry.data.formats.archives import read_arrays
from ssl_registry.data.formats.limits import VARIABLE
from ssl_registry.errors import BadFileError
from ssl_registry.training.finetuning.predictions_file import read_predictions

KIND = "an archive of predictions"


class Harm:
    """What runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch mark",)


def array(value: object) -> bytes:
    content = io.BytesIO()
    np.save(content, np.asarray(value), allow_pickle=True)
    return content.getvalue()


def header(text: str, body: bytes = b"") -> bytes:
    raw = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw + body


def announcing(shape: str, dtype: str = "'<i8'", body: bytes = b"") -> bytes:
    return header(f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}", body)


def packed(content: bytes, method: int = zipfile.ZIP_DEFLATED, copies: int = 1) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for index in range(copies):
            archive.writestr(f"case{index or ''}.npy", content)
    return file.getvalue()


HOSTILE: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"predictions",
    "an array alone": lambda: array([1]),
    "cut": lambda: packed(array(np.arange(1000)))[:-30],
    "a pickle": lambda: packed(array(Harm())),
    "a pickle alone": lambda: array(Harm()),
    "objects by a header": lambda: packed(announcing("(1,)", "'|O'", b"cos\nsystem\n")),
    "objects inside a record": lambda: packed(announcing("(1,)", "[('a', '|O')]", bytes(8))),
    "more values than may be": lambda: packed(announcing("(1000, 1000, 1000)")),
    "values beyond counting": lambda: packed(announcing("(10**30,)")),
    "values that overflow": lambda: packed(announcing(f"({2**62}, 4)")),
    "wide values": lambda: packed(announcing("(1,)", "'|V4294967296'")),
    "sides below 0": lambda: packed(announcing("(-1, 5)")),
    "more than is held": lambda: packed(announcing("(90000,)"), zipfile.ZIP_STORED),
    "a bomb": lambda: packed(announcing("(99999,)", "'|u1'", bytes(99999)), copies=40),
    "a bomb of another method": lambda: packed(announcing("(10**9,)", "'|u1'"), zipfile.ZIP_LZMA),
    "code in a header": lambda: packed(header("__import__('os').system('touch mark')")),
    "a deep header": lambda: packed(header("(" * 30_000)),
    "a version of another time": lambda: packed(b"\x93NUMPY\x09\x00" + bytes(200)),
}


@pytest.fixture(autouse=True)
def bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "100000")


@pytest.mark.parametrize("what", HOSTILE)
def test_an_archive_is_read_or_refused_in_one_message(tmp_path: Path, what: str) -> None:
    path = tmp_path / "predictions.npz"
    path.write_bytes(HOSTILE[what]())
    names = [f"case{index or ''}" for index in range(40)]
    for read in (lambda: read_arrays(path, names, KIND), lambda: read_predictions(tmp_path, names)):
        with pytest.raises(BadFileError, match=r"predictions\.npz") as caught:
            read()
        assert len(str(caught.value)) < 1000
    assert sorted(tmp_path.iterdir()) == [path], "something was run or written"


def test_what_was_written_is_read_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "predictions.npz"
    np.savez_compressed(path, a=np.eye(3, dtype=np.uint8), b=np.int64(4))
    found = read_arrays(path, ["a", "b", "c"], KIND)
    assert set(found) == {"a", "b"}
    assert np.array_equal(found["a"], np.eye(3))
    assert found["b"] == 4


def test_predictions_that_are_no_labels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "predictions.npz"
    np.savez(path, a=np.zeros(3, np.uint8), b=np.zeros(3), c=np.zeros((1, 1, 1, 1), np.uint8))
    assert read_predictions(tmp_path, ["a"])["a"].shape == (3,)
    for name, message in (("b", "holds float64"), ("c", "of 4 axes"), ("d", "lacks the case d")):
        with pytest.raises(BadFileError, match=message):
            read_predictions(tmp_path, [name])
