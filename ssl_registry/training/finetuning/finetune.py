"""Fine-tuning: an encoder and a new head learn a downstream task from few labels."""

import statistics
from functools import partial
from typing import Any

import lightning as L
import torch
from rich.console import Console

from ssl_registry.backbone import Encoder, check_strides
from ssl_registry.data.cache.datasets import LabelledImages
from ssl_registry.data.cache.patches import LabelledPatches, Patches
from ssl_registry.data.checks.classes import count_classes
from ssl_registry.data.label_classes import as_values, by_value, class_names
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.registry import registry
from ssl_registry.training.engine.batches import TrainingBatches, say_batch
from ssl_registry.training.engine.callbacks import Stopwatch
from ssl_registry.training.engine.devices import check_device, is_first_process, on_main
from ssl_registry.training.engine.following import Following, choose_logger
from ssl_registry.training.engine.loop import train
from ssl_registry.training.engine.trained import parameters_of
from ssl_registry.training.files.case_table import case_rows, check_cases
from ssl_registry.training.files.encoder_file import digest_of, load_encoder, write_encoder
from ssl_registry.training.files.encoder_summary import EncoderSummary, ReadAs, history_of
from ssl_registry.training.files.git_state import git_state
from ssl_registry.training.files.provenance import versions_of
from ssl_registry.training.files.resumed_settings import with_stored
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.files.run_result import RunResult
from ssl_registry.training.files.seen_cases import declared_in, provenance
from ssl_registry.training.finetuning.decoder_transfer import (
    spell_takeover,
    take_over_decoder,
    takeover_as_json,
)
from ssl_registry.training.finetuning.downstream_model import DownstreamModel, Finetuning
from ssl_registry.training.finetuning.held_out_scores import answer_held_out, score_all, score_cases
from ssl_registry.training.finetuning.learning import FinetuneVerdict, judge_finetuning
from ssl_registry.training.finetuning.level_transfer import take_over
from ssl_registry.training.finetuning.model_file import ModelSummary, write_model
from ssl_registry.training.finetuning.plan import Plan, complete, make_plan
from ssl_registry.training.finetuning.predictions_file import write_predictions
from ssl_registry.training.finetuning.selection import BestState, select
from ssl_registry.training.finetuning.validation_pictures import picture_validation
from ssl_registry.training.preparation.cases import quiet_or_loud
from ssl_registry.training.preparation.checked_data import write_skipped
from ssl_registry.training.preparation.start import start
from ssl_registry.training.settings.lengths import check_length, spell_length
from ssl_registry.training.settings.origins import STARTED_FROM
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.runs import FinetuneSettings


def finetune(
    settings: FinetuneSettings | None = None, /, *, quiet: bool = False, **fields: Any
) -> RunResult:
    """Fine-tune an encoder, or train from scratch, and score it on held-out cases.

        finetune(encoder="runs/rpl", data="Task04_Hippocampus", fraction=0.1, out="runs/rpl-10")

    Args:
        settings: all of them; or else
        **fields: those that differ from the defaults of `FinetuneSettings`.
        quiet: print nothing.

    Returns:
        The run's folder and what its `result.json` says: `score` holds the test score.

    Raises:
        SslRegistryError: the settings or the data cannot be used. Nothing was written.
    """
    if settings is None:
        settings = read_settings(
            FinetuneSettings, with_stored(FinetuneSettings, fields), "finetune"
        )
    console = quiet_or_loud(quiet or not is_first_process(settings))
    check_device(settings)
    choose_logger(settings)
    settings, summary = complete(settings)
    folder = RunFolder(settings.out, first=is_first_process(settings))
    origin = digest_of(settings.encoder) if settings.encoder else None
    with folder.working():
        folder.check(settings.model_dump(mode="json"), settings.resume, origin)
        return _finetune(settings, summary, origin, folder, console)


def _finetune(
    settings: FinetuneSettings,
    summary: EncoderSummary | None,
    origin: str | None,
    folder: RunFolder,
    console: Console,
) -> RunResult:
    plan = make_plan(settings, summary, console)
    rows = case_rows(plan.source, plan.split)
    if settings.resume:
        check_cases(folder, rows)
        folder.check_labels(plan.source.labels)
    batches = TrainingBatches(_training_data(plan), settings, settings.steps_per_epoch)
    check_length(settings.epochs, settings.steps, batches.steps)
    module = _build(plan)
    _say_plan(plan, module, console)
    data = _training_data(plan)
    labels = plan.source.labels
    fabric = start(
        settings, folder, module, data, rows, console, started_from=origin, labels=labels
    )
    on_main(lambda: write_skipped(folder, plan.source.skipped))
    return _run(fabric, plan, module, folder, origin, console)


def _training_data(plan: Plan) -> LabelledImages | LabelledPatches:
    settings = plan.settings
    if not settings.patches:
        return LabelledImages(plan.train)
    patches = Patches(plan.train, settings.image_shape, settings.patches, settings.seed)
    return LabelledPatches(patches, settings.foreground)


def build_encoder(plan: Plan) -> tuple[Encoder, frozenset[str] | None]:
    """Return the encoder that a run starts from: pretrained, or drawn from the run's seed.

    With it come the names of the parameters that were pretrained, or None for all or none of
    them. Levels that begin anew have the weights that training from scratch begins with.

    Raises:
        EncoderFileError: the encoder cannot be loaded.
        ConfigError: it has fewer levels than are to be taken over.
    """
    settings, channels = plan.settings, plan.train[0].channels
    if settings.encoder is None:
        return _fresh_encoder(plan), None
    encoder = load_encoder(settings.encoder, in_channels=channels)
    if settings.transfer_levels is None:
        return encoder, None
    image = torch.zeros(1, channels, *settings.image_shape)
    return encoder, take_over(encoder, _fresh_encoder(plan), settings.transfer_levels, image)


def _fresh_encoder(plan: Plan) -> Encoder:
    with lend_to_torch(derive_generator(plan.settings.seed, "finetune", "encoder")):
        return plan.backbone.build(plan.train[0].channels)


def _build(plan: Plan) -> Finetuning:
    settings = plan.settings
    encoder, kept = build_encoder(plan)
    check_strides(encoder, plan.backbone.spatial_dims)
    # The head starts from the same weights whether the encoder is pretrained or not.
    with lend_to_torch(derive_generator(settings.seed, "finetune", "head")):
        head = settings.downstream.build_head(encoder, len(plan.source.labels))
    takeover = take_over_decoder(settings, plan.summary, head)
    model = DownstreamModel(encoder, head).train()
    spacing = _median_spacing(plan)
    values = plan.label_values
    return Finetuning(model, settings.downstream, settings, kept, spacing, takeover, values)


def _median_spacing(plan: Plan) -> tuple[float, ...] | None:
    """Return the spacing in mm of the prepared training volumes, or of their slices, by axis."""
    seen = [case.slices[0] if case.sliced else case for case in plan.train]
    spacings = [case.spacing for case in seen if case.spacing is not None]
    return tuple(map(statistics.median, zip(*spacings, strict=True))) or None


def _say_plan(plan: Plan, module: Finetuning, console: Console) -> None:
    settings, model = plan.settings, module.model
    start = f"from {settings.encoder}" if settings.encoder else "from scratch"
    start += spell_takeover(plan.summary, module.takeover)
    if settings.transfer_levels is not None:
        levels = len(model.encoder.channels)
        start += f" (the {settings.transfer_levels} finest of its {levels} levels)"
    if plan.summary and plan.summary.in_channels != model.encoder.in_channels:
        console.print(
            f"the encoder in {settings.encoder} takes {plan.summary.in_channels} channels, the "
            f"images have {model.encoder.in_channels}: its first convolution was converted (see "
            "load_encoder)"
        )
    if plan.summary is not None and (declared := declared_in(plan.summary.data)):
        console.print(f"the weights in {settings.encoder} have seen, as declared, {declared}")
    if plan.summary is not None and settings.preprocessing is not None:
        for difference in plan.summary.image_recipe.differences(settings.preprocessing):
            console.print(f"the encoder in {settings.encoder} {difference}")
    _say_classes(plan, console)
    console.print(
        f"{registry.entry_of(settings.downstream).name} with "
        f"{registry.entry_of(plan.backbone).name} ({parameters_of(model):,} parameters) {start}: "
        f"{plan.describe_labels()}, {spell_length(settings.epochs, settings.steps)} in "
        f"batches of {say_batch(settings)}, augmentation {settings.augment.spell()}, seed "
        f"{settings.seed}; tested on {len(plan.test)} others"
    )


def _say_classes(plan: Plan, console: Console) -> None:
    """Say how many images each class has, and what follows where it has none."""
    train, test = ([one.case for one in cases] for cases in (plan.train, plan.test))
    counted = count_classes(plan.source, train, test)
    if plan.source.graded:
        each = (
            f"{name}: {counted.train[k]}, {counted.test[k]}" for k, name in counted.names.items()
        )
        console.print(f"classes (training, test): {', '.join(each)}")
    for sentence in counted.sentences():
        console.print(sentence, markup=False)


def _run(
    fabric: L.Fabric,
    plan: Plan,
    module: Finetuning,
    folder: RunFolder,
    origin: str | None,
    console: Console,
) -> RunResult:
    settings, task = plan.settings, plan.settings.downstream
    stopwatch, git = Stopwatch(), git_state()
    best = BestState(task.headline)
    shown = partial(picture_validation, module, plan.validation)
    following = Following(choose_logger(settings), folder, settings, shown)
    rows = train(
        fabric,
        module,
        _training_data(plan),
        LabelledImages(plan.validation, whole=True) if plan.validation else None,
        folder,
        "fine-tuning" if settings.encoder else "training from scratch",
        console,
        steps=settings.steps_per_epoch,
        callbacks=[best, stopwatch, following],
    )
    selected = select(settings.select, best, module.model, rows[-1])
    console.print(f"tested: the weights of epoch {selected['epoch']}, {selected['why']}")
    answers = answer_held_out(module, plan.test)
    said = score_cases(task, answers)
    values, labels = plan.label_values, plan.source.labels
    regions = {
        name: frozenset(map(values.index, region)) for name, region in plan.source.regions.items()
    }
    score = score_all(task, answers, said, regions, values)
    learning = judge_finetuning(
        task, score[task.headline], answers.predictions, answers.targets, class_names(labels)
    )
    _say_learning(learning, console)
    declared = declared_in(plan.summary.data) if plan.summary else None
    result = {
        "kind": "finetune",
        "headline": task.headline,
        "score": score,
        **learning.as_result(),
        "labels": {str(value): name for value, name in labels.items()},
        "cases": {
            case.case.name: by_value(one, values) for case, one in zip(plan.test, said, strict=True)
        },
        "patients": {case.case.name: plan.source.group_of(case.case) for case in plan.test},
        "counts": {
            "train": len(plan.train),
            "available": plan.available,
            "validation": len(plan.validation),
            "test": len(plan.test),
        },
        "labelled": plan.counted._asdict(),
        "trained_on": sorted(case.case.name for case in plan.train),
        STARTED_FROM: origin,
        **({"declared_seen": declared} if declared else {}),
        "decoder": takeover_as_json(module.takeover),
        "selected": selected,
        "metrics": rows[-1],
        "seconds": stopwatch.seconds,
        "versions": _versions(plan),
        "git": git,
    }

    def finish() -> None:
        names = [case.case.name for case in plan.test]
        predictions = (as_values(classes, values) for classes in answers.predictions)
        write_predictions(folder, dict(zip(names, predictions, strict=True)))
        _write_encoder(plan, module.model, folder, origin)
        _write_model(plan, module.model, folder)
        folder.finish(result)

    on_main(finish)
    return RunResult(folder.path, result)


def _say_learning(verdict: FinetuneVerdict, console: Console) -> None:
    """Say what a score alone does not: that nothing was learnt, or a class is never predicted."""
    if verdict.learnt is False:
        console.print(f"fine-tuning learnt nothing: {verdict.note}", markup=False)
    if verdict.never_predicted:
        console.print(f"never predicted: {', '.join(verdict.never_predicted)}", markup=False)


def _write_encoder(
    plan: Plan, model: DownstreamModel, folder: RunFolder, origin: str | None
) -> None:
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
        versions=_versions(plan),
        task_origin=plan.summary.distributions.get("task") if plan.summary else None,
        history=history_of(plan.summary, origin),
    )


def _write_model(plan: Plan, model: DownstreamModel, folder: RunFolder) -> None:
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
        versions=_versions(plan),
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


def _versions(plan: Plan) -> dict[str, str]:
    """Return what made the run; the pretext task's plugin need not be here any more."""
    earlier = plan.summary.versions if plan.summary else {}
    return {**earlier, **versions_of(plan.settings.downstream, plan.backbone)}
