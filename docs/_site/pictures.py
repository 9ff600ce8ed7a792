"""The pictures of the documentation, drawn by the code as it is.

    python docs/_site/pictures.py FOLDER

writes them to a folder, to be looked at.
"""

import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Final, get_args

import torchio as tio
from matplotlib.figure import Figure

from ssl_registry import PretextTask, registry
from ssl_registry.data.preparing.fitting import Fit
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.sources.phantoms import phantom_slice
from ssl_registry.experiments.augmented import augment_cases
from ssl_registry.experiments.figures.augmented import draw_augmented
from ssl_registry.experiments.figures.preview import draw_preview
from ssl_registry.experiments.figures.styles import DPI
from ssl_registry.experiments.preview import PHANTOM, SIZE, ask_all, show_image
from ssl_registry.training.preparation.cases import quiet_or_loud
from ssl_registry.training.settings.runs import FinetuneSettings

SEED: Final = 0
FIELDS: Final = {
    "jigsaw3d": {"jitter": 2},
    "rpl2d": {"questions": 1},
    "rpl3d": {"jitter": 2, "questions": 1},
    "voco2d": {"grid": 2},
    "voco3d": {"grid": 2, "crops": 1},
}
"""Jitter that suits the 64 voxels at which phantoms are shown; few tiles, seen at a glance."""


@cache
def preview_pictures() -> dict[str, bytes]:
    """Return what each pretext task of this project asks, and augmented images, as PNG files."""
    ours = [
        entry.name
        for entry in registry.entries(kind="pretext")
        if entry.distribution.startswith("ssl-registry")
    ]
    with tempfile.TemporaryDirectory() as folder:
        pictures = {name: _draw(name, Path(folder) / f"{name}.png") for name in ours}
        pictures["augmentation"] = _draw_augmentation(Path(folder) / "augmentation.png")
        pictures["fit"] = _draw_fit(Path(folder) / "fit.png")
    return {f"pictures/{name}.png": content for name, content in pictures.items()}


def _draw(name: str, path: Path) -> bytes:
    task = registry.create(name, **FIELDS.get(name, registry.get(name).example_fields))
    assert isinstance(task, PretextTask)
    shown = show_image(None, task.spatial_dims, SIZE[task.spatial_dims])
    draw_preview(path, shown, ask_all(task, shown.image, SEED), f"{name} on {shown.source}")
    return path.read_bytes()


def _draw_augmentation(path: Path) -> bytes:
    settings = FinetuneSettings(data="phantoms:4", size=64, augment="nnunet", out=path)
    cases = augment_cases(settings, quiet_or_loud(quiet=True))
    draw_augmented(path, cases, "augment=nnunet", "segmentation3d on phantoms")
    return path.read_bytes()


def _draw_fit(path: Path) -> bytes:
    """Draw a long picture as it is, and as each fit brings it to 64 pixels a side."""
    whole = phantom_slice(PHANTOM, 96).scan()
    picture = tio.Crop((24, 24, 0, 0, 0, 0))(whole)
    shown = {"as it is": picture["image"].data[..., 0]}
    for fit in get_args(Fit):
        how = Preprocessing(fit=fit, crop=False)
        shown[f"fit={fit}"] = how.place(picture, 64, "the picture").image
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    for axes, (name, image) in zip(figure.subplots(1, len(shown)), shown.items(), strict=True):
        axes.imshow(image[0], cmap="gray")
        axes.set_title(f"{name}, {image.shape[1]} x {image.shape[2]}", fontsize=9)
        axes.set_axis_off()
    figure.savefig(path, dpi=DPI)
    return path.read_bytes()


if __name__ == "__main__":
    for address, content in preview_pictures().items():
        target = Path(sys.argv[1]) / Path(address).name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
