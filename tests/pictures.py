"""Small pictures for the tests of sources."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

TURNS: Final[Mapping[int, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]]] = {
    1: lambda shown: shown,
    2: lambda shown: shown[:, ::-1],
    3: lambda shown: shown[::-1, ::-1],
    4: lambda shown: shown[::-1],
    5: lambda shown: shown.swapaxes(0, 1),
    6: lambda shown: np.rot90(shown, 1),
    7: lambda shown: np.rot90(shown.swapaxes(0, 1), 2),
    8: lambda shown: np.rot90(shown, -1),
}
"""What the file holds of a picture that is to be shown upright, by its orientation (EXIF 2.3)."""


def write_picture(
    path: Path, seed: int = 0, mode: str = "RGB", size: tuple[int, int] = (20, 16)
) -> npt.NDArray[np.uint8]:
    """Write a picture of noise, (width, height) pixels, and return its values `[H, W(, 3)]`."""
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return values


def write_aptos(folder: Path, grades: dict[str, str], suffix: str = ".png") -> Path:
    """Write a folder in APTOS 2019's layout: a picture for each id, and its grade."""
    for seed, name in enumerate(grades):
        write_picture(folder / "train_images" / f"{name}{suffix}", seed)
    rows = "".join(f"{name},{grade}\n" for name, grade in grades.items())
    (folder / "train.csv").write_text("id_code,diagnosis\n" + rows)
    return folder


def eyes(patients: int, classes: int = 2) -> dict[str, str]:
    """Return ids and grades of both eyes of some patients."""
    return {
        f"{patient}_{side}": str(patient % classes)
        for patient in range(patients)
        for side in ("left", "right")
    }


def write_turned(
    path: Path, shown: npt.NDArray[Any], turn: int, mode: str, how: dict[str, Any]
) -> None:
    """Write a picture so that its tag has to be followed to see it as it is shown here.

    Args:
        path: of the file.
        shown: `[H, W]` or, of the mode RGB, `[H, W, 3]`.
        turn: the orientation that its tag says.
        mode: Pillow's name of the kind of pixels.
        how: what Pillow is told about the format.
    """
    held = Image.fromarray(np.ascontiguousarray(TURNS[turn](shown)))
    if mode == "1":
        held = held.convert("1")
    if mode == "P":
        held.putpalette([value for value in range(256) for _ in range(3)])
    exif = Image.Exif()
    exif[0x0112] = turn
    held.save(path, exif=exif, **how)
