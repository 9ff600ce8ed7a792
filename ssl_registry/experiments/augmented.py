"""What fine-tuning shows the network: some labelled images, each as it is and augmented."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from rich.console import Console
from torch import Tensor

from ssl_registry.data.cache.patches import LabelledPatches, Patches
from ssl_registry.data.cache.prepared import Prepared, SeenImage
from ssl_registry.data.label_classes import class_names
from ssl_registry.errors import DataError
from ssl_registry.randomness import derive_generator
from ssl_registry.training.finetuning.plan import complete
from ssl_registry.training.preparation.cases import open_split, prepare, skipped_so_far
from ssl_registry.training.settings.runs import FinetuneSettings

CASES: Final = 3
"""Images that are shown."""

DRAWS: Final = 4
"""Augmented copies of each."""


@dataclass(frozen=True)
class AugmentedCase:
    """An image and augmented copies of it.

    Attributes:
        name: of the case.
        images: `[1 + DRAWS, C, *S]`, the image itself first.
        labels: `[1 + DRAWS, *S]`, or the class of the image, `[]`.
        names: what the classes are called.
        stretch: how far its proportions are from those of what was scanned.
    """

    name: str
    images: Tensor
    labels: Tensor
    names: Mapping[int, str]
    stretch: float = 1.0

    @property
    def graded(self) -> bool:
        """Whether the image has a class and no label map."""
        return self.labels.ndim == 0


def augment_cases(settings: FinetuneSettings, console: Console) -> list[AugmentedCase]:
    """Return the first labelled training images of a run with these settings, and copies.

    Raises:
        DataError: the data cannot be used, or has no label.
        ConfigError: they are of other dimensions.
    """
    settings, _ = complete(settings)
    assert settings.preprocessing is not None
    source, split = open_split(settings, settings.downstream.spatial_dims, console)
    labelled = [case for case in split.train if case.labelled][:CASES]
    if not labelled:
        raise DataError(f"data={settings.data} has no labelled training image to show")
    skipped = skipped_so_far(source, settings)
    prepared = prepare(
        labelled,
        settings.preprocessing,
        settings.prepared_size,
        console,
        0,
        skipped,
        settings.across,
    )
    names = class_names(source.labels)
    return [
        _augment(seen, *_example(case, seen, settings), settings, names, index)
        for index, case in enumerate(prepared)
        for seen in [_fullest(case)]
    ]


def _fullest(case: Prepared) -> SeenImage:
    """Return a case, or, of a volume that is seen by its slices, the one with the most labels."""
    if not case.sliced:
        return case
    label = case.label()
    marked = (label > 0).flatten(1).sum(1) if label.ndim else torch.zeros(case.shape[0])
    return case.slices[int(marked.argmax()) if marked.any() else case.shape[0] // 2]


def _example(case: Prepared, seen: SeenImage, settings: FinetuneSettings) -> tuple[Tensor, Tensor]:
    """Return an image and its label as a run would show them: whole, or a patch."""
    if not settings.patches:
        return seen.image(), seen.label()
    patches = Patches([case], settings.image_shape, settings.patches, settings.seed)
    return LabelledPatches(patches, settings.foreground)[0]


def _augment(
    case: SeenImage,
    image: Tensor,
    label: Tensor,
    settings: FinetuneSettings,
    names: Mapping[int, str],
    index: int,
) -> AugmentedCase:
    images = image.expand(DRAWS, *image.shape)
    labels = label.expand(DRAWS, *label.shape) if label.ndim else None
    generator = derive_generator(settings.seed, "preview", index)
    copies, marks = settings.augment(images, labels, generator=generator, spacing=case.spacing)
    return AugmentedCase(
        case.case.name,
        torch.cat([image[None], copies]),
        label if marks is None else torch.cat([label[None], marks]),
        names,
        case.stretch,
    )
