"""The rules of `ssl-registry plan`: from a data set's fingerprint to settings for it.

Each number comes with the reason for it, which stands beside it in the file. What the rules are
is written in docs/explanation/planning.md.

Reference: Isensee et al. 2021 (doi:10.1038/s41592-020-01008-z), supplementary note 2, whose rules
for spacings, patches and pooling these follow.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ssl_registry.data.preparing.fitting import QUARTER, stretch_of
from ssl_registry.registry import registry
from ssl_registry.training.planning.fingerprint import DatasetFingerprint
from ssl_registry.training.planning.image_sizes import (
    BYTES,
    SHARE,
    cut_to_patch,
    median_shape,
    room_for,
    rounded,
    shrunk,
    squared,
    target_spacing,
    thickness_of,
    why_size,
)
from ssl_registry.training.planning.machine import Machine

LEVELS: Final = 5
"""Levels of the network at most."""

SMALLEST_POOLED: Final = 4
"""Voxels of an axis below which no pooling brings it."""

FILTERS: Final = {False: 16, True: 32}
"""Channels of the finest level, without a GPU and with one."""

MOST_BATCH: Final = {2: 16, 3: 4}
SMALL_BATCH: Final = 4
"""Images a step up to which batch statistics are too noisy."""

STEPS: Final = {False: (1000, 600), True: (10000, 2500)}
"""Optimiser steps of pretraining and of fine-tuning, without a GPU and with one."""

COARSER: Final = 2.0
"""Times the room that an image may have and is still taken whole, made coarser."""

MOST_PATCHES: Final = 8
FEW: Final = 10
"""Cases below which a word of warning is due."""


@dataclass(frozen=True)
class Planned:
    """A setting, and why it is so.

    Attributes:
        value: as YAML has it.
        why: in words.
    """

    value: Any
    why: str


@dataclass(frozen=True)
class TrainingPlan:
    """Settings for pretraining and fine-tuning on a data set.

    Attributes:
        shared: settings of both, by name.
        pretrain: further ones of pretraining.
        finetune: further ones of fine-tuning; none without labels.
        warnings: what is worth a word.
    """

    shared: dict[str, Planned]
    pretrain: dict[str, Planned]
    finetune: dict[str, Planned]
    warnings: tuple[str, ...]


def plan_training(seen: DatasetFingerprint, machine: Machine) -> TrainingPlan:
    """Return settings for a data set and a machine."""
    filters = FILTERS[machine.gpu]
    spacing, why_spacing = target_spacing(seen)
    median = median_shape(seen, spacing)
    room, why_room = room_for(seen, machine, filters)
    whole = math.prod(median) <= COARSER * room or seen.target_kind == "class"
    thickness = thickness_of(seen, spacing)
    size = squared(
        rounded(shrunk(median, thickness, room) if whole else cut_to_patch(median, room))
    )
    if whole:
        thickness = [n * mm / side for n, mm, side in zip(median, thickness, size, strict=True)]
    shared: dict[str, Planned] = {}
    if seen.across is not None:
        shared["slices"] = Planned(seen.across, f"about {seen.depth:.0f} slices of each volume")
    shared["size"] = Planned(_as_yaml(size), why_size(median, size, whole, why_room))
    shared["preprocessing"] = _preprocessing(seen, median, size, whole, spacing, why_spacing)
    batch = _batch(seen, machine, filters, math.prod(size))
    shared["backbone"] = _backbone(seen, size, thickness, filters, batch)
    shared["batch_size"] = Planned(
        batch, f"as many as half of {machine.spell()} holds, {MOST_BATCH[seen.dims]} at most"
    )
    shared["downstream"] = _downstream(seen)
    patches = 0 if whole else _patches(seen, median, size)
    return TrainingPlan(shared, *_lengths(seen, machine, batch, patches), tuple(_warnings(seen)))


def _downstream(seen: DatasetFingerprint) -> Planned:
    """Return the downstream task; of unlabelled data that which suits others like them."""
    if seen.target_kind == "class":
        return Planned(f"classification{seen.dims}d", "the data have a class for each image")
    why = "the data have label maps"
    if seen.target_kind is None:
        why = (
            "no labels here: for others of the same kind, with label maps; "
            f"classification{seen.dims}d for classes"
        )
    return Planned(f"segmentation{seen.dims}d", why)


def _as_yaml(size: Sequence[int]) -> int | list[int]:
    return size[0] if len(set(size)) == 1 else list(size)


def _preprocessing(
    seen: DatasetFingerprint,
    median: Sequence[float],
    size: Sequence[int],
    whole: bool,
    spacing: list[float] | None,
    why_spacing: str,
) -> Planned:
    fields: dict[str, Any] = {}
    why = []
    if not whole and spacing is not None and seen.across is None:
        fields["spacing"] = spacing
        why.append(f"spacing: {why_spacing}")
    if whole:
        fields["fit"], reason = _fit(seen, size)
        why.append(f"fit: {reason}")
    if seen.hounsfield:
        low, high = seen.labelled_range or (-100.0, 240.0)
        fields["window"] = [round(low), max(round(low) + 1, round(high))]
        whose = "of labelled voxels, 0.5 to 99.5 %" if seen.labelled_range else "soft tissue"
        why.append(f"window: Hounsfield units {whose}")
    else:
        fields["percentiles"] = [0.5, 99.5]
        why.append("percentiles: intensities without a unit, from each image itself")
    if seen.dims == 2 and seen.across is None and seen.channels == 3:
        fields["channels"] = "joint"
        why.append("channels: one range for the three colours keeps them")
    return Planned(fields, "; ".join(why))


def _fit(seen: DatasetFingerprint, size: Sequence[int]) -> tuple[str, str]:
    """Return how images come to their size: stretched where that changes proportions little."""
    own = np.ones_like(seen.shapes) if seen.spacings is None else seen.spacings
    stretches = [
        stretch_of(spacing, shape * spacing / np.array(size))
        for shape, spacing in zip(seen.shapes, own, strict=True)
    ]
    share = float(np.mean(np.array(stretches) > QUARTER))
    if share > 0.5:
        return "pad", f"{share:.0%} of the images would be stretched by more than a quarter"
    return "stretch", f"{share:.0%} of the images are stretched by more than a quarter"


def _batch(seen: DatasetFingerprint, machine: Machine, filters: int, voxels: int) -> int:
    holds = int(SHARE * machine.memory / (BYTES[seen.dims] * filters * voxels))
    images = round(seen.cases * seen.depth)
    return max(2, min(holds, MOST_BATCH[seen.dims], max(2, images // 4)))


def _backbone(
    seen: DatasetFingerprint,
    size: Sequence[int],
    thickness: Sequence[float],
    filters: int,
    batch: int,
) -> Planned:
    norm = "instance" if batch <= SMALL_BATCH else "batch"
    halvings = int(math.log2(max(size) / SMALLEST_POOLED))
    levels = max(1, min(LEVELS, 1 + halvings))
    network = registry.backbone(
        f"unet{seen.dims}d", base_filters=filters, levels=levels, norm=norm
    ).for_shape(tuple(size), tuple(thickness))
    spec = registry.spec_of(network)
    fields = {key: spec[key] for key in ("name", "base_filters", "levels", "norm")}
    if spec.get("strides"):
        fields["strides"] = spec["strides"]
    why = (
        "levels and strides: axes are pooled while 4 voxels are left and their voxels are less "
        f"than twice as thick as the thinnest; norm: {norm} for batches of {batch}"
    )
    return Planned(fields, why)


def _patches(seen: DatasetFingerprint, median: Sequence[float], size: Sequence[int]) -> int:
    images = math.prod(median) * seen.depth / math.prod(size)
    return int(min(MOST_PATCHES, max(2, round(images))))


def _lengths(
    seen: DatasetFingerprint, machine: Machine, batch: int, patches: int
) -> tuple[dict[str, Planned], dict[str, Planned]]:
    """Return how long pretraining and fine-tuning go on, and patches of each image."""
    pretraining, finetuning = STEPS[machine.gpu]
    shown = seen.cases * (patches or max(1, round(seen.depth)))
    steps = max(1, shown // batch)
    epochs = int(min(1000, max(5, round(pretraining / steps))))
    pretrain = {"epochs": Planned(epochs, f"about {epochs * steps} steps: {steps} an epoch")}
    finetune = {
        "steps": Planned(finetuning, "optimiser steps, few labels or many"),
    }
    if patches:
        cut = Planned(patches, "of each image an epoch: as many as cover it, 2 to 8")
        pretrain["patches"] = cut
        finetune["patches"] = cut
    return pretrain, finetune if seen.target_kind is not None else {}


def _warnings(seen: DatasetFingerprint) -> list[str]:
    words = []
    if seen.cases < FEW:
        there = "there is 1 image" if seen.cases == 1 else f"there are {seen.cases} images"
        words.append(f"{there}: too few to pretrain on, or to say how well it works")
    if 0 < seen.labelled < FEW:
        words.append(f"{seen.labelled} of {seen.cases} images have labels: scores will be coarse")
    return words
