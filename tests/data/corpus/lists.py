"""Lists that are wrong: `dataset.json`, tables, and label maps that do not fit their scans."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from tests.data.corpus import Malformed
from tests.pictures import write_picture
from tests.volumes import noise, write_nifti

SUMMARY = {
    "labels": {"0": "background", "1": "organ"},
    "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
}


def decathlon(folder: Path, summary: object = SUMMARY) -> Path:
    """Write a Decathlon folder of one scan, and the summary as JSON or as the bytes given."""
    write_nifti(folder / "imagesTr" / "a.nii.gz", noise())
    write_nifti(folder / "labelsTr" / "a.nii.gz", (noise() % 2).astype("u1"))
    content = summary if isinstance(summary, bytes) else json.dumps(summary).encode()
    (folder / "dataset.json").write_bytes(content)
    return folder


def stating(**fields: object) -> Callable[[Path], None]:
    """Return what writes the folder with other fields in its summary."""
    return lambda folder: decathlon(folder, {**SUMMARY, **fields}) and None


def listing(image: object, **fields: object) -> Callable[[Path], None]:
    """Return what writes the folder with one row in its summary."""
    return stating(training=[{"image": image, **fields}])


def spelling(content: bytes) -> Callable[[Path], None]:
    """Return what writes the folder with this content in its summary."""
    return lambda folder: decathlon(folder, content) and None


def labelled(voxels: np.ndarray, **how: object) -> Callable[[Path], None]:
    """Return what writes the folder with another label map."""

    def make(folder: Path) -> None:
        write_nifti(decathlon(folder) / "labelsTr" / "a.nii.gz", voxels, **how)  # type: ignore[arg-type]

    return make


def _text(**changed: object) -> bytes:
    return json.dumps({**SUMMARY, **changed}).encode()


JSON_REFUSED: Mapping[str, Callable[[Path], None]] = {
    "empty": spelling(b""),
    "a list": spelling(b"[]"),
    "null": spelling(b"null"),
    "cut": spelling(_text()[:-20]),
    "not UTF-8": spelling(_text(name="x").replace(b'"x"', b'"\xff"')),
    "UTF-16": spelling(json.dumps(SUMMARY).encode("utf-16")),
    "a NUL": spelling(_text() + b"\x00"),
    "nested without end": spelling(b"[" * 200_000),
    "nested 500 deep": spelling(b'{"x": ' + b"[" * 500 + b"]" * 500 + b"}"),
    "NaN": spelling(_text(numTraining=float("nan"))),
    "infinity": spelling(_text(numTraining=float("-inf"))),
    "a number of 10,000 digits": spelling(b'{"numTraining": ' + b"9" * 10_000 + b"}"),
    "one key twice": spelling(b'{"labels": {}, "training": [], "training": []}'),
    "one label twice": spelling(_text().replace(b'"1": "organ"', b'"1": "organ", "1": "vessel"')),
    "training is a mapping": stating(training={"a": "b"}),
    "training is null": stating(training=None),
    "training is text": stating(training="imagesTr"),
    "no scan": stating(training=[]),
    "rows of numbers": stating(training=[1, 2.5, None]),
    "rows of lists": stating(training=[["imagesTr/a.nii.gz"]]),
    "a row without an image": stating(training=[{"label": "labelsTr/a.nii.gz"}]),
    "labels are a list": stating(labels=["background", "organ"]),
    "labels are null": stating(labels=None),
    "labels the other way round": stating(labels={"background": 0, "organ": 1}),
    "labels with a gap": stating(labels={"0": "background", "2": "organ"}),
    "labels below 0": stating(labels={"-1": "hole", "0": "background"}),
    "a label of 10,000 digits": stating(labels={"9" * 10_000: "organ"}),
    "a thousand labels": stating(labels={str(value): "organ" for value in range(1000)}),
    "no labels for label maps": stating(labels={}),
    "an image above": listing("../a.nii.gz"),
    "an image far above": listing("../../../../../../../../etc/passwd"),
    "an absolute image": listing("/etc/passwd"),
    "an image of the home folder": listing("~/a.nii.gz"),
    "a label above": listing("imagesTr/a.nii.gz", label="../a.nii.gz"),
    "an image that is not there": listing("imagesTr/none.nii.gz"),
    "a label that is not there": listing("imagesTr/a.nii.gz", label="labelsTr/none.nii.gz"),
    "a folder for an image": listing("imagesTr"),
    "the list itself for an image": listing("dataset.json"),
    "a device for an image": listing("/dev/zero"),
    "an empty name": listing(""),
    "a name with a NUL": listing("imagesTr/a\x00.nii.gz"),
    "half a surrogate": listing("imagesTr/\ud800.nii.gz"),
    "a name of 100,000 letters": listing("imagesTr/" + "a" * 100_000),
    "a name of 10,000 folders": listing("imagesTr/" + "a/" * 10_000),
    "an escape sequence for a name": listing("\x1b[2J\x1b[31mowned"),
    "a label that is a number": listing("imagesTr/a.nii.gz", label=7),
    "one scan twice": stating(training=SUMMARY["training"] * 2),
}

PAIRS_REFUSED: Mapping[str, tuple[Callable[[Path], None], str]] = {
    "a label map of another shape": (labelled(noise(5, 6, 8) % 2), "labelsTr/a.nii.gz"),
    "a label map of two channels": (labelled(noise(5, 6, 7, 2) % 2), "labelsTr/a.nii.gz"),
    "a flat label map": (labelled(noise(5, 6) % 2), "labelsTr/a.nii.gz"),
    "a label map turned round": (
        labelled(noise() % 2, affine=np.diag([1.0, 1, 1, 1])),
        "labelsTr/a.nii.gz",
    ),
    "a label map of fractions": (labelled((noise() % 2) / np.float32(2)), "labelsTr/a.nii.gz"),
    "a label map of NaN": (
        labelled(np.where(noise() % 2, np.nan, 0).astype("f4")),
        "labelsTr/a.nii.gz",
    ),
    "a complex label map": (labelled((noise() % 2).astype("c8")), "labelsTr/a.nii.gz"),
    "a label that nobody names": (labelled(noise() % 3), "labelsTr/a.nii.gz"),
    "a negative label": (labelled(-(noise() % 2)), "labelsTr/a.nii.gz"),
    "the scan for its label map": (
        listing("imagesTr/a.nii.gz", label="imagesTr/a.nii.gz"),
        "imagesTr/a.nii.gz",
    ),
}


def table(text: str | bytes, name: str = "train.csv") -> Callable[[Path], None]:
    """Return what writes a table beside three pictures."""

    def make(folder: Path) -> None:
        for seed, stem in enumerate(("a", "b", "c d")):
            write_picture(folder / "train_images" / f"{stem}.png", seed)
        content = text if isinstance(text, bytes) else text.encode()
        (folder / name).write_bytes(content)

    return make


HEAD = "id_code,diagnosis\n"

TABLES_REFUSED: Mapping[str, str | bytes] = {
    "empty": "",
    "blank lines": "\n\n\n",
    "a mark of byte order alone": "\ufeff",
    "the names of the columns alone": HEAD,
    "other columns": "name,grade\na,1\n",
    "semicolons": "id_code;diagnosis\na;1\n",
    "a column twice": "id_code,diagnosis,diagnosis\na,1,1\n",
    "a million columns": HEAD.strip() + "," * 1_000_000 + "\n",
    "a million columns in a row": HEAD + "a,1" + "," * 1_000_000 + "\n",
    "a name of a million letters": HEAD + "a" * 1_000_000 + ",1\n",
    "a quoted name without an end": HEAD + '"a,1\nb,0\n',
    "letters behind a quotation": HEAD + '"a"b,1\n',
    "too few columns": HEAD + "a\n",
    "too many columns": HEAD + "a,1,2\n",
    "not UTF-8": b"id_code,diagnosis\n\xff\xfe,1\n",
    "UTF-16": (HEAD + "a,1\n").encode("utf-16"),
    "a NUL": HEAD + "a\x00,1\n",
    "an image twice": HEAD + "a,1\na,0\n",
    "an image twice, once with its suffix": HEAD + "a,1\na.png,0\n",
    "an image that is not there": HEAD + "a,1\nnone,0\n",
    "an image above": HEAD + "../a,1\n",
    "an absolute image": HEAD + "/etc/passwd,1\n",
    "an image without a name": HEAD + ",1\n",
    "a dot for a name": HEAD + "..,1\n",
    "no grade at all": HEAD + "a,\nb,\n",
    "a word among numbers": HEAD + "a,ill\nb,1\n",
    "an infinite grade": HEAD + "a,inf\nb,1\n",
    "a grade below 0": HEAD + "a,-1\nb,1\n",
    "half a grade": HEAD + "a,0.5\nb,1\n",
    "an absurd grade": HEAD + "a,1e300\nb,1\n",
}

TABLES_WORK: Mapping[str, str | bytes] = {
    "a grade of NaN": HEAD + "a,nan\nb,1\nc d,0\n",
    "sound": HEAD + "a,1\nb,0\nc d,1\n",
    "a mark of byte order": "\ufeff" + HEAD + "a,1\nb,0\nc d,1\n",
    "the ends of lines of Windows": (HEAD + "a,1\nb,0\nc d,1\n").replace("\n", "\r\n"),
    "the ends of lines of old Macs": (HEAD + "a,1\nb,0\nc d,1\n").replace("\n", "\r"),
    "blank lines between": HEAD + "\na,1\n\nb,0\n",
    "no end of the last line": HEAD + "a,1\nb,0",
    "a line end in a further column": 'id_code,diagnosis,note\na,1,"two\nlines"\nb,0,\n',
    "grades in words of all languages": HEAD + "a,здоров\nb,病気\nc d,gesund\n",
    "grades with a point": HEAD + "a,1.0\nb,0.0\n",
}


def _twin(folder: Path) -> None:
    decathlon(folder)
    shutil.copy(folder / "imagesTr" / "a.nii.gz", folder / "imagesTr" / "b.nii.gz")
    (folder / "dataset.json").write_text(
        json.dumps({"training": ["imagesTr/a.nii.gz", "imagesTr/b.nii.gz"]})
    )


NAMED = r"dataset\.json|imagesTr|labelsTr|a\.nii\.gz|/etc/passwd|/dev/zero|owned"
"""What a message may name: the list itself, or the file that it lists."""


def entries() -> Iterator[Malformed]:
    """Yield the entries of this kind."""
    for name, make in JSON_REFUSED.items():
        yield Malformed(
            f"dataset.json, {name}", make, "refused", "dataset.json|imagesTr|labelsTr|/"
        )
    for name, (make, blamed) in PAIRS_REFUSED.items():
        yield Malformed(name, make, "refused", blamed)
    for name, text in TABLES_REFUSED.items():
        yield Malformed(f"a table, {name}", table(text), "refused", "train.csv|train_images")
    for name, text in TABLES_WORK.items():
        yield Malformed(f"a table, {name}", table(text), "works")
    yield Malformed("dataset.json, sound", stating(), "works")
    yield Malformed(
        "dataset.json, a mark of byte order", spelling(b"\xef\xbb\xbf" + _text()), "works"
    )
    yield Malformed("dataset.json, one image under two names", _twin, "works")
