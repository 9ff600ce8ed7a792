"""What fine-tuning leaves behind: predictions, the encoder, and the whole model."""

from typing import Any

from ssl_registry.data.label_classes import as_values
from ssl_registry.training.files.encoder_file import write_encoder
from ssl_registry.training.files.encoder_summary import ReadAs, history_of
from ssl_registry.training.files.provenance import versions_of
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.files.seen_cases import provenance
from ssl_registry.training.finetuning.downstream_model import DownstreamModel
from ssl_registry.training.finetuning.held_out_test import HeldOutTest
from ssl_registry.training.finetuning.model_file import ModelSummary, write_model
from ssl_registry.training.finetuning.plan import Plan
from ssl_registry.training.finetuning.predictions_file import write_predictions
from ssl_registry.training.settings.runs import FinetuneSettings


def write_test_predictions(plan: Plan, tested: HeldOutTest, folder: RunFolder) -> None:
    """Write what the network answers for each test case, in the values of the data's labels."""
    names = [case.case.name for case in plan.test]
    predictions = (as_values(classes, plan.label_values) for classes in tested.answers.predictions)
    write_predictions(folder, dict(zip(names, predictions, strict=True)))


def write_finetuned_encoder(
    plan: Plan, model: DownstreamModel, folder: RunFolder, origin: str | None
) -> None:
    """Write the encoder as it is now, with what lies behind it."""
    settings, pretext = plan.settings, plan.summary.task if plan.summary else None
    assert settings.preprocessing is not None and settings.size is not None  # noqa: PT018
    write_encoder(
        folder.path,
        model.encoder,
        backbone=plan.backbone,
        task=dict(pretext) if pretext else None,
        preprocessing=settings.preprocessing,
        size=settings.size,
        patches=settings.patches or 0,
        read_as=ReadAs.of(settings),
        data=_provenance(plan),
        versions=versions_behind(plan),
        task_origin=plan.summary.distributions.get("task") if plan.summary else None,
        history=history_of(plan.summary, origin),
    )


def write_finetuned_model(plan: Plan, model: DownstreamModel, folder: RunFolder) -> None:
    """Write encoder and head together, for predictions."""
    settings = plan.settings
    assert settings.preprocessing is not None and settings.size is not None  # noqa: PT018
    summary = ModelSummary(
        backbone=plan.backbone,
        downstream=settings.downstream,
        in_channels=model.encoder.in_channels,
        labels=plan.source.labels,
        preprocessing=settings.preprocessing,
        size=settings.size,
        patches=settings.patches or 0,
        slices=settings.across,
        flips=_flipped_axes(settings),
        data=_provenance(plan),
        versions=versions_behind(plan),
    )
    write_model(folder.path, model, summary)


def _flipped_axes(settings: FinetuneSettings) -> tuple[int, ...]:
    """Return along which axes training flipped images."""
    augment = settings.augment
    if augment.is_none or not augment.flip_probability:
        return ()
    return augment.flipped_axes(settings.downstream.spatial_dims)


def _provenance(plan: Plan) -> dict[str, Any]:
    labels = {"labels": {str(value): name for value, name in plan.source.labels.items()}}
    return labels | provenance(
        plan.source.name,
        plan.train,
        selected_by=plan.validation if plan.settings.select == "best" else (),
        held_out=[*plan.split.validation, *plan.split.test],
        before=plan.summary.data if plan.summary else None,
        channels=plan.source.channel_names,
    )


def versions_behind(plan: Plan) -> dict[str, str]:
    """Return what made the run; the pretext task's plugin need not be here any more."""
    earlier = plan.summary.versions if plan.summary else {}
    return {**earlier, **versions_of(plan.settings.downstream, plan.backbone)}
