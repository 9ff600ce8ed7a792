"""MedMNIST archives that are none, hold objects, or are bombs."""

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from tests.data.corpus import Malformed

FILE = "mnist.npz"

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 28, 28), dtype=np.uint8)
LABELS = np.array([[0], [1], [0], [1]], dtype=np.uint8)


def npz(**arrays: np.ndarray) -> bytes:
    """Return an archive of arrays, train_images and train_labels unless said otherwise."""
    content = io.BytesIO()
    np.savez_compressed(content, **{"train_images": IMAGES, "train_labels": LABELS, **arrays})
    return content.getvalue()


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    """Return an array file with a header in words."""
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2, "little") + text + data


def shaped(shape: str, dtype: str = "|u1") -> str:
    """Return the header of an array."""
    return f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"


def zipped(
    content: bytes, kind: int = zipfile.ZIP_DEFLATED, name: str = "train_images.npy"
) -> bytes:
    """Return an archive whose images are this."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", kind) as archive:
        archive.writestr(name, content)
    return made.getvalue()


def _lied(content: bytes, claimed: int) -> bytes:
    """Return an archive that claims another size for what it holds."""
    made = bytearray(zipped(content))
    at = made.rindex(b"PK\x01\x02")
    made[at + 24 : at + 28] = claimed.to_bytes(4, "little")
    return bytes(made)


REFUSED: Mapping[str, bytes] = {
    "empty": b"",
    "text": b"patient went home",
    "cut": npz()[:-100],
    "an empty archive": zipped(b"", name="other.npy"),
    "no images": npz(train_images=IMAGES)[:0] + zipped(npy(shaped("(3,)")), name="x.npy"),
    "objects": npz(train_images=np.array([None] * 4)),
    "objects for labels": npz(train_labels=np.array([None] * 4)),
    "no array": zipped(b"patient went home"),
    "an array of the future": zipped(npy(shaped("(4, 28, 28)"), version=9)),
    "code for a header": zipped(npy("__import__('os').system('true')")),
    "an array cut": zipped(npy(shaped("(4, 28, 28)"), bytes(99))),
    "an absurd shape": zipped(npy(shaped("(99999999, 28, 28)"))),
    "a shape whose product overflows": zipped(npy(shaped("(4294967296, 4294967296, 28)"))),
    "a negative shape": zipped(npy(shaped("(-4, 28, 28)"))),
    "a negative product": zipped(npy(shaped("(-4, -28, 28)"))),
    "a shape of text": zipped(npy(shaped("'many'"))),
    "a bomb": zipped(npy(shaped("(60000, 28, 28)"), bytes(60_000 * 28 * 28))),
    "images of text": npz(train_images=np.full((4, 28, 28), "ill")),
    "complex images": npz(train_images=IMAGES.astype(np.complex64)),
    "images of two dimensions": npz(train_images=IMAGES[:, 0]),
    "images of five dimensions": npz(train_images=IMAGES[..., None, None]),
    "images of no size": npz(train_images=IMAGES[:, :0]),
    "no image at all": npz(train_images=IMAGES[:0], train_labels=LABELS[:0]),
    "fewer labels": npz(train_labels=LABELS[:3]),
    "several labels an image": npz(train_labels=np.zeros((4, 14), np.uint8)),
    "labels that are fractions": npz(train_labels=LABELS / 2),
    "labels below 0": npz(train_labels=LABELS.astype(np.int64) - 1),
    "absurd labels": npz(train_labels=LABELS.astype(np.int64) * 2**40),
    "an image of NaN": npz(train_images=np.where(IMAGES > 99, np.nan, 0)),
    "parts of other dimensions": npz(val_images=np.zeros((2, 28, 28, 28), np.uint8)),
    "encrypted": b"",
}

WORKS: Mapping[str, bytes] = {
    "sound": npz(),
    "in Fortran's order": npz(train_images=np.asfortranarray(IMAGES)),
    "without labels": zipped(npy(shaped("(4, 28, 28)"), IMAGES.tobytes())),
    "not packed": zipped(npy(shaped("(4, 28, 28)"), IMAGES.tobytes()), zipfile.ZIP_STORED),
    "further arrays": npz(notes=np.array([None])),
    "a lie about its size": _lied(npy(shaped("(4, 28, 28)"), IMAGES.tobytes()), 2**31),
    "big-endian": npz(train_images=IMAGES.astype(">u2")),
}


def _encrypted() -> bytes:
    """Return an archive that says it is encrypted."""
    made = bytearray(npz())
    for sign, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := made.find(sign, at + 1)) >= 0:
            made[at + place] |= 1
    return bytes(made)


def _writing(content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / FILE).write_bytes(content)
        return folder / FILE

    return make


def entries() -> Iterator[Malformed]:
    """Yield the entries of this kind."""
    for name, content in {**REFUSED, "encrypted": _encrypted()}.items():
        yield Malformed(name, _writing(content), "refused", FILE)
    for name, content in WORKS.items():
        yield Malformed(name, _writing(content), "works")
