"""Probes: what a linear model and nearest neighbours make of a frozen encoder's features.

They say in seconds, beside fine-tuning, how much of a downstream task an encoder can do
as it is. Both are fitted to the labelled training cases alone, and scored like any model
of that task, on the test cases.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from ssl_registry.backbone import Encoder
from ssl_registry.data.cache.prepared import SeenImage, seen_images
from ssl_registry.randomness import derive_generator
from ssl_registry.training.engine.devices import root_device
from ssl_registry.training.finetuning.plan import Plan, complete, make_plan
from ssl_registry.training.finetuning.starting_model import build_encoder
from ssl_registry.training.preparation.cases import quiet_or_loud
from ssl_registry.training.probes.features import (
    Array,
    affine_map,
    image_features,
    pyramid_of,
    voxel_features,
)
from ssl_registry.training.probes.models import Items, Probe, fit_linear, fit_nearest, stack
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.runs import FinetuneSettings

VOXELS: Final = 4000
"""About how many voxels of all labelled cases together the probes of a segmentation learn
from, so that neither memory nor time grows with the cases."""

FITS: Final[dict[str, Callable[[Items], Probe]]] = {
    "linear_probe": fit_linear,
    "knn_probe": fit_nearest,
}


NOWHERE: Final = Path("nothing is written")
"""What stands for the folder of a run that is none."""


def probe(
    settings: FinetuneSettings | None = None, /, *, quiet: bool = True, **fields: Any
) -> dict[str, float]:
    """Score the features of the encoder that a fine-tuning run starts from.

        probe(encoder="runs/rpl", data="Task04_Hippocampus")

    The encoder is the pretrained one, or the random one of the run's seed; the labelled
    cases, the test cases and the score, the headline of the downstream task, are the run's
    as well. Nothing is written but the cache, and the same settings give the same scores.

    Args:
        settings: of the run; or else
        quiet: print nothing.
        **fields: those that differ from the defaults of `FinetuneSettings`.

    Returns:
        `linear_probe` and `knn_probe`; NaN where the score is undefined.

    Raises:
        SslRegistryError: the settings or the data cannot be used.
    """
    if settings is None:
        settings = read_settings(FinetuneSettings, {"out": NOWHERE, **fields}, "probe")
    settings, summary = complete(settings)
    plan = make_plan(settings, summary, quiet_or_loud(quiet))
    encoder, _ = build_encoder(plan)
    return probe_encoder(plan, encoder.to(root_device(settings)))


def probe_encoder(plan: Plan, encoder: Encoder) -> dict[str, float]:
    """Return the probes' scores for an encoder, with the cases of a run; see `probe`."""
    task = plan.settings.downstream
    predict = _predict_masks if task.target_kind == "mask" else _predict_classes
    targets = [case.label() for case in plan.test]
    return {
        name: task.score(predictions, targets)[task.headline]
        for name, predictions in predict(plan, encoder).items()
    }


def _predict_classes(plan: Plan, encoder: Encoder) -> dict[str, Tensor]:
    """Return the class `[N]` of each test image, by each probe."""
    items = Items(
        features=image_features(encoder, plan.train),
        classes=torch.stack([case.label() for case in plan.train]).numpy(),
        groups=[plan.source.group_of(case.case) for case in plan.train],
    )
    tests = image_features(encoder, plan.test)
    probes = {name: fit(items) for name, fit in FITS.items()}
    return {
        name: torch.from_numpy(fitted.predict(tests @ fitted.matrix.T + fitted.offset))
        for name, fitted in probes.items()
    }


def _predict_masks(plan: Plan, encoder: Encoder) -> dict[str, list[Tensor]]:
    """Return the labels `[*S]` of each test case, by each probe.

    The probes learn from as many voxels of each class, so that background
    is not all they see, and are given the frequency of each class in the labelled cases.
    """
    shown = seen_images(plan.train)
    items = stack([_draw_voxels(plan, encoder, seen, len(shown)) for seen in shown])
    labels, count = [case.label().flatten() for case in plan.train], len(plan.source.labels)
    frequency = torch.stack([label.bincount(minlength=count) for label in labels]).sum(0).numpy()
    probes = {name: fit(items).with_frequencies(frequency) for name, fit in FITS.items()}
    predictions: dict[str, list[Tensor]] = {name: [] for name in probes}
    for case in plan.test:
        answers: dict[str, list[Tensor]] = {name: [] for name in probes}
        for seen in seen_images([case]):
            pyramid, shape = pyramid_of(encoder, seen), seen.shape
            for name, fitted in probes.items():
                classes = fitted.predict(affine_map(pyramid, fitted.matrix, fitted.offset, shape))
                answers[name].append(torch.from_numpy(classes).reshape(shape))
        for name, parts in answers.items():
            predictions[name].append(torch.stack(parts) if case.sliced else parts[0])
    return predictions


def _draw_voxels(plan: Plan, encoder: Encoder, case: SeenImage, shown: int) -> Items:
    """Return voxels of one of the labelled images drawn by the run's seed, as many of each class.

    Args:
        plan: of the run.
        encoder: frozen.
        case: the image, or a slice.
        shown: how many of them there are.
    """
    label, classes = case.label(), len(plan.source.labels)
    place = () if case.place is None else (f"{case.place:.6f}",)
    generator = derive_generator(plan.settings.seed, "probe", case.case.name, *place)
    most = max(1, VOXELS // (classes * shown))
    drawn = []
    for value in range(classes):
        voxels = (label == value).nonzero()
        drawn.append(voxels[torch.randperm(len(voxels), generator=generator)[:most]])
    voxels = torch.cat(drawn)
    features: Array = voxel_features(pyramid_of(encoder, case), voxels, label.shape)
    group = plan.source.group_of(case.case)
    return Items(features, label[voxels.unbind(1)].numpy(), [group] * len(voxels))
