"""Small pictures for the tests of sources."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image


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
