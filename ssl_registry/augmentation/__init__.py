"""Augmentation on the device: random changes of whole batches of images and their labels.

    from ssl_registry.augmentation import Augmentation

    augment = Augmentation()                                   # or "nnunet", or fields
    images, labels = augment(images, labels, generator=generator)

What chance decides (`Augmentation.draw`) and what is done with it (`Augmentation.apply`) are
two steps, so that a figure, a test or a contrastive task can ask where a voxel came from.
"""

from ssl_registry.augmentation.drawing import Drawn
from ssl_registry.augmentation.settings import PRESETS, Augmentation

__all__ = ["PRESETS", "Augmentation", "Drawn"]
