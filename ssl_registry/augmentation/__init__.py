"""Augmentation on the device: random changes of whole batches of images and their labels.

    from ssl_registry.augmentation import Augmentation

    augment = Augmentation()                                   # or "nnunet", or fields
    images, labels = augment(images, labels, generator=generator)

What chance decides (`Augmentation.draw`) and what is done with it (`Augmentation.apply`) are
two steps, so that a figure, a test or a contrastive task can ask where a voxel came from.
"""

from typing import TYPE_CHECKING, Any

from ssl_registry.augmentation.settings import PRESETS, Augmentation

if TYPE_CHECKING:
    from ssl_registry.augmentation.drawing import Drawn

__all__ = ["PRESETS", "Augmentation", "Drawn"]


def __getattr__(name: str) -> Any:
    """Load `Drawn`, which holds tensors, when somebody asks for it (PEP 562)."""
    if name == "Drawn":
        from ssl_registry.augmentation.drawing import Drawn

        return Drawn
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
