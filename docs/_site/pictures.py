"""The pictures of the documentation, drawn by the code as it is.

    python docs/_site/pictures.py FOLDER

writes them to a folder, to be looked at.
"""

import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from ssl_registry import PretextTask, registry
from ssl_registry.experiments.augmented import augment_cases
from ssl_registry.experiments.figures.augmented import draw_augmented
from ssl_registry.experiments.figures.preview import draw_preview
from ssl_registry.experiments.preview import SIZE, ask_all, show_image
from ssl_registry.training.preparation.cases import quiet_or_loud
from ssl_registry.training.settings.runs import FinetuneSettings

SEED: Final = 0
FIELDS: Final = {
    "jigsaw3d": {"jitter": 2},
    "rpl2d": {"questions": 1},
    "rpl3d": {"jitter": 2, "questions": 1},
}
"""Jitter that suits the 64 voxels at which phantoms are shown; one question, seen at a glance."""


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


if __name__ == "__main__":
    for address, content in preview_pictures().items():
        target = Path(sys.argv[1]) / Path(address).name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
