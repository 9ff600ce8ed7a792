"""Augmentation on the device: random changes of whole batches of images and their labels.

    from ssl_registry.augmentation import Augmentation

    augment = Augmentation()                                   # or "nnunet", or fields
    images, labels = augment(images, labels, generator=generator)

What chance decides (`Augmentation.draw`) and what is done with it (`Augmentation.apply`) are
two steps, so that a figure, a test or a contrastive task can ask where a voxel came from. Between
the two, `carry_changes` takes what was drawn to the device together with what else goes there.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssl_registry.augmentation.settings import PRESETS, Augmentation

if TYPE_CHECKING:
    from ssl_registry.augmentation.changes import Changes, carry_changes
    from ssl_registry.augmentation.drawn import Drawn

__all__ = ["PRESETS", "Augmentation", "Changes", "Drawn", "carry_changes"]

_WITH_TENSORS = {"Changes": "changes", "carry_changes": "changes", "Drawn": "drawing"}


def __getattr__(name: str) -> Any:
    """Load what holds tensors when somebody asks for it (PEP 562)."""
    if name in _WITH_TENSORS:
        return getattr(import_module(f"{__name__}.{_WITH_TENSORS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
