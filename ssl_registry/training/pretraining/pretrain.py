"""Pretraining: an encoder learns to answer a pretext task's question."""

import copy
from typing import Any, Final, NamedTuple

import lightning as L
import torch
from rich.console import Console
from torch import Tensor

from ssl_registry.backbone import FinestLevels, whole_encoder
from ssl_registry.data.cache.patches import Patches
from ssl_registry.data.cache.prepared import Prepared, PreparedImages
from ssl_registry.data.preparing.sizes import spell_sides
from ssl_registry.data.sources.cases import Source
from ssl_registry.data.splits import Split
from ssl_registry.downstream import Takeover
from ssl_registry.errors import (
    ConfigError,
    DataError,
    ImageShapeError,
)
from ssl_registry.pretext_model import (
    PretextModel,
    check_kept,
    check_model,
    kept_encoder,
)
from ssl_registry.question_model import blame, check_pieces, spell_task
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.registry import registry
from ssl_registry.training.engine.batches import (
    TrainingBatches,
    even_batches,
    examination_loader,
    say_batch,
)
from ssl_registry.training.engine.callbacks import Stopwatch
from ssl_registry.training.engine.devices import check_device, is_first_process, on_main
from ssl_registry.training.engine.following import Following, choose_logger
from ssl_registry.training.engine.loop import train
from ssl_registry.training.engine.trained import example_moment, parameters_of
from ssl_registry.training.files.case_table import case_rows, check_cases
from ssl_registry.training.files.encoder_file import (
    EncoderSummary,
    ReadAs,
    digest_of,
    history_of,
    write_encoder,
)
from ssl_registry.training.files.git_state import git_state
from ssl_registry.training.files.provenance import versions_of
from ssl_registry.training.files.run_folder import RunFolder, RunResult, with_stored
from ssl_registry.training.files.seen_cases import provenance
from ssl_registry.training.preparation.case_infos import case_infos
from ssl_registry.training.preparation.cases import (
    open_split,
    prepare,
    quiet_or_loud,
    select_prepared,
    skipped_so_far,
)
from ssl_registry.training.preparation.checked_data import write_skipped
from ssl_registry.training.preparation.start import start
from ssl_registry.training.pretraining.continuation import (
    fill_from_encoder,
    load_start,
    spell_start,
    starting_point,
    take_over_pretrained_decoder,
)
from ssl_registry.training.pretraining.examination import (
    Examination,
    LearningVerdict,
    examine_model,
    judge_task,
    needs_untrained,
)
from ssl_registry.training.pretraining.pretext_training import Exam, Pretraining
from ssl_registry.training.pretraining.watching import (
    FeatureWatch,
    WatchPlan,
    kept_weights,
    plan_watching,
    start_watching,
)
from ssl_registry.training.settings.origins import STARTED_FROM, origin_of
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.runs import PretrainSettings

VERDICTS: Final = {
    True: "the pretext task was learnt",
    False: "THE PRETEXT TASK WAS NOT LEARNT",
    None: "it is unclear whether the pretext task was learnt",
}


def pretrain(
    settings: PretrainSettings | None = None, /, *, quiet: bool = False, **fields: Any
) -> RunResult:
    """Pretrain an encoder and write it to `out`.

        pretrain(task="rpl3d", data="../scans", out="runs/rpl", epochs=100)

    Args:
        settings: all of them; or else
        **fields: those that differ from the defaults of `PretrainSettings`.
        quiet: print nothing.

    Returns:
        The run's folder and what its `result.json` says.

    Raises:
        SslRegistryError: the settings or the data cannot be used. Nothing was written.
    """
    if settings is None:
        said = fill_from_encoder(with_stored(PretrainSettings, fields))
        settings = read_settings(PretrainSettings, said, "pretrain")
    console = quiet_or_loud(quiet or not is_first_process(settings))
    check_device(settings)
    choose_logger(settings)
    settings, start = starting_point(settings)
    origin = digest_of(settings.encoder) if settings.encoder else None
    folder = RunFolder(settings.out)
    with folder.working():
        folder.check(settings.model_dump(mode="json"), settings.resume, origin)
        return _pretrain(settings, start, origin, folder, console)


def _pretrain(
    settings: PretrainSettings,
    before: EncoderSummary | None,
    origin: str | None,
    folder: RunFolder,
    console: Console,
) -> RunResult:
    source, split = open_split(settings, settings.task.spatial_dims, console)
    rows = case_rows(source, split)
    if settings.resume:
        check_cases(folder, rows)
    if not split.train:
        raise DataError(f"data={settings.data}: no image is left to train on; lower test_fraction")
    skipped = skipped_so_far(source, settings)
    cases = prepare(
        [*split.train, *split.validation],
        settings.preprocessing,
        settings.prepared_size,
        console,
        settings.workers,
        skipped,
        settings.across,
    )
    training, validation = (
        select_prepared(cases, split.train),
        select_prepared(cases, split.validation),
    )
    if not training:
        raise DataError(f"data={settings.data}: no training image can be used")
    model = _build(settings, training[0].channels)
    taken = None
    if before is not None:
        taken = take_over_pretrained_decoder(settings, before, model.parts().get("decoder"))
    data = _images(settings, training), _images(settings, validation)
    _rehearse(settings, model, *data)
    _say_plan(settings, model, (training, validation), len(split.test), console, taken)
    plan = plan_watching(settings, training, source)
    module = Pretraining(model, settings, case_infos([*training, *validation], source))
    fabric = start(settings, folder, module, data[0], rows, console, started_from=origin)
    on_main(lambda: write_skipped(folder, skipped or ()))
    past = Past(before, origin)
    return _run(
        fabric, module, (training, validation), (source, split), folder, console, past, plan
    )


class Past(NamedTuple):
    """What a run starts from: what the file of the encoder says, and the digest of its weights."""

    summary: EncoderSummary | None
    digest: str | None


def _images(settings: PretrainSettings, cases: list[Prepared]) -> PreparedImages | Patches:
    if settings.patches:
        return Patches(cases, settings.size, settings.patches, settings.seed)
    return PreparedImages(cases)


def _build(settings: PretrainSettings, channels: int) -> PretextModel:
    """Return the model with weights drawn from the run's seed.

    Raises:
        ImageShapeError: the task cannot work on volumes of this size.
        ConfigError: the encoder has fewer levels than are asked for.
    """
    task = settings.task
    shape = settings.image_shape
    task.view_shape(shape)
    with lend_to_torch(derive_generator(settings.seed, "pretrain", "weights")):
        fed = task.view_channels(channels)
        encoder = (
            settings.backbone.build(fed) if settings.encoder is None else load_start(settings, fed)
        )
        seen = encoder if settings.levels is None else FinestLevels(encoder, settings.levels)
        check_pieces(task, seen, shape)
        with blame(task, "build_model"):
            model = task.build_model(seen, shape)
        with blame(task, "the model's parts"):
            built = check_model(model, spell_task(task))
        check_kept(built, encoder, spell_task(task))
        return built


def _rehearse(
    settings: PretrainSettings,
    model: PretextModel,
    training: PreparedImages | Patches,
    validation: PreparedImages | Patches,
) -> None:
    """Make the smallest batch that the run will meet, so that a task refuses it at once.

    Raises:
        SslRegistryError: the task cannot work on such a batch, or there are too few batches for
            the processes; its message says why.
    """
    TrainingBatches(training, settings)
    batches = [(training, min(settings.batch_size, len(training)))]
    _check_batch(settings, batches[0][1])
    if len(validation):
        sizes = even_batches(len(validation), settings.batch_size)
        batches.append((validation, min(len(batch) for batch in sizes)))
    data, count = min(batches, key=lambda batch: batch[1])
    images = torch.stack([data[index] for index in range(count)])
    try:
        _try_batch(settings, model, images)
    except ImageShapeError as error:
        if data is training:
            raise
        raise ConfigError(
            f"validation_fraction={settings.validation_fraction:g} keeps {len(validation)} for "
            f"validation, in batches of {count}: {error}; or change `validation_fraction`, "
            "where 0 keeps none"
        ) from error


def _check_batch(settings: PretrainSettings, count: int) -> None:
    """See that a batch of training holds as many images as its task needs.

    Raises:
        ConfigError: it does not.
    """
    needed = settings.task.smallest_batch()
    if count < needed:
        there = "" if count == settings.batch_size else f", and there are {count} training images"
        raise ConfigError(
            f"batch_size={settings.batch_size}{there}: {registry.entry_of(settings.task).name} "
            f"compares images of a batch with each other and needs {needed} at least: raise "
            "`batch_size`, or give more images"
        )


def _try_batch(settings: PretrainSettings, model: PretextModel, images: Tensor) -> None:
    """Make a batch of images, or, where the task makes none, let a copy of the model see them."""
    generator = derive_generator(settings.seed, "rehearsal")
    if settings.task.asks():
        settings.task.make_batch(images, generator)
        return
    with torch.no_grad(), lend_to_torch(generator), blame(settings.task, "the model's forward"):
        copy.deepcopy(model)(images, generator, example_moment(images))


def _say_images(cases: list[Prepared]) -> str:
    if not cases[0].sliced:
        return f"{len(cases)} images"
    return f"{sum(case.shape[0] for case in cases)} slices of {len(cases)} volumes"


def _say_patches(settings: PretrainSettings) -> str:
    if not settings.patches:
        return ""
    return f", {settings.patches} patches of {spell_sides(settings.image_shape)} each"


def _say_levels(settings: PretrainSettings, model: PretextModel) -> str:
    if settings.levels is None:
        return ""
    levels = len(whole_encoder(model.encoder).channels)
    return f"the {settings.levels} finest of the {levels} levels of "


def _say_plan(
    settings: PretrainSettings,
    model: PretextModel,
    cases: tuple[list[Prepared], list[Prepared]],
    tests: int,
    console: Console,
    taken: Takeover | None,
) -> None:
    training, validation = cases
    backbone, task = registry.entry_of(settings.backbone), registry.entry_of(settings.task)
    console.print(
        f"pretraining {_say_levels(settings, model)}{backbone.name} "
        f"({parameters_of(model.encoder):,} parameters) by "
        f"{task.name}: {_say_images(training)}{_say_patches(settings)}, {settings.epochs} "
        f"epochs in batches of {say_batch(settings)}, seed {settings.seed}"
        f"{spell_start(settings, taken)}"
    )
    if tests:
        console.print(
            f"{len(validation)} images are kept for validation, and {tests} for tests of "
            "fine-tuning"
        )


def _run(
    fabric: L.Fabric,
    module: Pretraining,
    cases: tuple[list[Prepared], list[Prepared]],
    origin: tuple[Source, Split],
    folder: RunFolder,
    console: Console,
    past: Past,
    plan: WatchPlan | None,
) -> RunResult:
    (training, validation), (source, split) = cases, origin
    settings, git, stopwatch = module.settings, git_state(), Stopwatch()
    versions = versions_of(settings.task, settings.backbone)
    exam = None
    if validation:
        exam = Exam(module, examination_loader(_images(settings, validation), settings))
    module.model.to(fabric.device)
    untrained = _examine_before(module, exam)
    watched = whole_encoder(kept_encoder(module.model))
    watch = start_watching(plan, settings, watched, console)
    rows = train(
        fabric,
        module,
        _images(settings, training),
        _images(settings, validation) if validation else None,
        folder,
        f"pretraining {registry.entry_of(settings.task).name}",
        console,
        callbacks=[
            stopwatch,
            *([watch] if watch else []),
            Following(choose_logger(settings), folder, settings),
        ],
    )
    kept_weights(watch, module.model)
    verdict = _with_watched(_examine_after(module, exam, untrained), watch)
    console.print(f"{VERDICTS[verdict.learnt]}: {verdict.note}")
    result = {
        "kind": "pretrain",
        "metrics": rows[-1],
        "learnt": verdict.learnt,
        "learnt_note": verdict.note,
        "cases": {"train": len(training), "validation": len(validation)},
        "watched": watch.as_result() if watch else None,
        STARTED_FROM: past.digest,
        "seconds": stopwatch.seconds,
        "versions": versions,
        "git": git,
    }

    def finish() -> None:
        write_encoder(
            folder.path,
            kept_encoder(module.model),
            backbone=settings.backbone,
            task=registry.spec_of(settings.task),
            preprocessing=settings.preprocessing,
            size=settings.size,
            patches=settings.patches,
            read_as=ReadAs.of(settings),
            data=provenance(
                source.name,
                training,
                held_out=[*split.validation, *split.test],
                before=past.summary.data if past.summary else None,
            ),
            versions=versions,
            levels=settings.levels,
            task_origin=origin_of(settings.task),
            decoder=module.model.parts().get("decoder"),
            history=history_of(past.summary, past.digest),
        )
        folder.finish(result)

    on_main(finish)
    return RunResult(folder.path, result)


def _with_watched(verdict: LearningVerdict, watch: FeatureWatch | None) -> LearningVerdict:
    """Add to a verdict how the features went while they were watched."""
    said = watch.spell() if watch else ""
    return LearningVerdict(verdict.learnt, f"{verdict.note}; {said}") if said else verdict


def _examine_before(module: Pretraining, exam: Exam | None) -> dict[str, Examination] | None:
    """Examine the untrained model, where the verdict will need it: also in a resumed run."""
    settings = module.settings
    if exam is None or not needs_untrained(settings.task):
        return None
    return examine_model(module.model, settings.task, exam, settings.seed)


def _examine_after(
    module: Pretraining, exam: Exam | None, untrained: dict[str, Examination] | None
) -> LearningVerdict:
    if exam is None:
        return LearningVerdict(None, "there is no validation image to judge by")
    settings = module.settings
    trained = examine_model(module.model, settings.task, exam, settings.seed)
    return judge_task(settings.task, trained, untrained)
