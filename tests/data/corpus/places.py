"""Names and places: links that lead out or in circles, pipes, and names of all kinds."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.data.corpus import Malformed
from tests.pictures import write_picture
from tests.volumes import noise, write_nifti


def sound(folder: Path, name: str = "sound.nii.gz", seed: int = 0) -> Path:
    """Write a sound scan and return its path."""
    return write_nifti(folder / name, noise(seed=seed))


def outside(folder: Path) -> Path:
    """Write a sound scan beside the data folder and return its path."""
    return sound(folder.parent / f"{folder.name} outside")


def _link(target: str | Path, name: str = "scan.nii.gz") -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        sound(folder)
        (folder / name).symlink_to(target)

    return make


def _link_out(folder: Path) -> None:
    sound(folder)
    (folder / "scan.nii.gz").symlink_to(outside(folder))


def _link_out_by_two(folder: Path) -> None:
    sound(folder)
    (folder / ".hidden").symlink_to(outside(folder))
    (folder / "scan.nii.gz").symlink_to(".hidden")


def _class_out(folder: Path) -> None:
    sound(folder / "ill")
    (folder / "well").symlink_to(outside(folder).parent)


def _class_in_a_circle(folder: Path) -> None:
    sound(folder / "ill")
    sound(folder / "well", seed=1)
    (folder / "ill" / "again").symlink_to(folder)
    (folder / "circle").symlink_to("circle")
    (folder / "round").symlink_to(folder)


def _pipe(folder: Path) -> None:
    sound(folder)
    os.mkfifo(folder / "scan.nii.gz")


def _pipe_for_a_list(folder: Path) -> None:
    sound(folder)
    os.mkfifo(folder / "dataset.json")
    os.mkfifo(folder / "train.csv")


def _pipe_for_the_data(folder: Path) -> Path:
    os.mkfifo(folder / "scan.nii.gz")
    return folder / "scan.nii.gz"


def _folder_for_a_file(folder: Path) -> None:
    sound(folder)
    sound(folder / "scan.nii.gz")


def _named(*names: str | bytes) -> Callable[[Path], None]:
    """Return what writes a sound scan under each name."""

    def make(folder: Path) -> None:
        for seed, name in enumerate(names):
            path = sound(folder, "making.nii.gz", seed)
            os.rename(os.fsencode(path), os.fsencode(folder) + b"/" + os.fsencode(name))  # noqa: PTH104

    return make


def _copies(folder: Path) -> None:
    sound(folder, "a.nii.gz")
    shutil.copy(folder / "a.nii.gz", folder / "b.nii.gz")


def _text_for_the_data(folder: Path) -> Path:
    (folder / "data.txt").write_text("ill")
    return folder / "data.txt"


def _mixed(folder: Path) -> None:
    sound(folder)
    write_picture(folder / "picture.png")


REFUSED: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "a link out": (_link_out, "scan.nii.gz"),
    "a link out by another link": (_link_out_by_two, "scan.nii.gz"),
    "a link to a device": (_link("/dev/zero"), "scan.nii.gz"),
    "a link to the root": (_link("/"), "scan.nii.gz"),
    "a link to nothing": (_link("none.nii.gz"), "scan.nii.gz"),
    "a link to itself": (_link("scan.nii.gz"), "scan.nii.gz"),
    "a link to its folder": (_link("."), "scan.nii.gz"),
    "a class folder that leads out": (_class_out, "well"),
    "a pipe for a scan": (_pipe, "scan.nii.gz"),
    "a pipe for the data": (_pipe_for_the_data, "scan.nii.gz"),
    "a folder with the name of a file": (_folder_for_a_file, "scan.nii.gz"),
    "a name that is no text": (_named(b"\xff\xfe.nii.gz"), r"\\udcff"),
    "one name twice": (_named("a.nii.gz", "a.nii"), "a.nii"),
    "nothing": (lambda folder: None, ""),
    "notes alone": (lambda folder: (folder / "notes.txt").write_text("ill"), ""),
    "hidden files alone": (_named(".a.nii.gz"), ""),
    "pictures among scans": (_mixed, ""),
    "class folders without images": (lambda folder: (folder / "a" / "b").mkdir(parents=True), ""),
    "the data is a text": (_text_for_the_data, "data.txt"),
}

WORKS: Mapping[str, Callable[[Path], object]] = {
    "one folder alone": lambda folder: [sound(folder / "ill")],  # the data is the outer one
    "links in a circle among class folders": _class_in_a_circle,
    "a link within": _link("sound.nii.gz"),
    "pipes for lists": _pipe_for_a_list,
    "copies": _copies,
    "names of all languages": _named(
        "скан.nii.gz", "扫描.nii.gz", "مسح.nii.gz", "Röntgen.nii.gz", "🩻.nii.gz"
    ),
    "names with spaces and signs": _named(
        "a b.nii.gz", "a'b\".nii.gz", "a;b$(c).nii.gz", "-r.nii.gz"
    ),
    "names with line ends": _named("a\nb.nii.gz", "a\r\tb.nii.gz", "\x1b[2J.nii.gz"),
    "names with percents and braces": _named("%s%n.nii.gz", "{0}.nii.gz", "[red].nii.gz"),
    "upper and lower case": _named("A.NII.GZ", "a.nii.gz"),
    "a name of 250 letters": _named("a" * 240 + ".nii.gz"),
}


def entries() -> Iterator[Malformed]:
    """Yield the entries of this kind."""
    for name, (make, blamed) in REFUSED.items():
        yield Malformed(name, make, "refused", blamed)
    for name, work in WORKS.items():
        yield Malformed(name, work, "works")
