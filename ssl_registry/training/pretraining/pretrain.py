"""Pretraining: an encoder learns to answer a pretext task's question."""

from typing import Any, Final, NamedTuple

import lightning as L
from rich.console import Console

from ssl_registry.backbone import whole_encoder
from ssl_registry.data.cache.prepared import Prepared
from ssl_registry.data.sources.cases import Source
from ssl_registry.data.splits import Split
from ssl_registry.errors import DataError
from ssl_registry.pretext_model import kept_encoder
from ssl_registry.registry import registry
from ssl_registry.training.engine.batches import examination_loader
from ssl_registry.training.engine.callbacks import Stopwatch
from ssl_registry.training.engine.devices import check_device, is_first_process, on_main
from ssl_registry.training.engine.following import Following, choose_logger
from ssl_registry.training.engine.loop import train
from ssl_registry.training.files.case_table import case_rows, check_cases
from ssl_registry.training.files.channel_names import check_channels, learned_channels
from ssl_registry.training.files.encoder_file import digest_of, write_encoder
from ssl_registry.training.files.encoder_summary import EncoderSummary, ReadAs, history_of
from ssl_registry.training.files.git_state import git_state
from ssl_registry.training.files.provenance import versions_of
from ssl_registry.training.files.resumed_settings import with_stored
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.files.run_result import RunResult
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
from ssl_registry.training.pretraining.announcement import announce
from ssl_registry.training.pretraining.continuation import (
    fill_from_encoder,
    starting_point,
    take_over_pretrained_decoder,
)
from ssl_registry.training.pretraining.examination import Examination, examine_model
from ssl_registry.training.pretraining.judgement import LearningVerdict, judge_task, needs_untrained
from ssl_registry.training.pretraining.pretext_training import Exam, Pretraining
from ssl_registry.training.pretraining.rehearsal import (
    build_pretext_model,
    pretraining_images,
    rehearse,
)
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
    folder = RunFolder(settings.out, first=is_first_process(settings))
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
    if before is not None:
        what, learned = f"the encoder in {settings.encoder}", learned_channels(before.data)
        for note in check_channels(what, learned, source.name, source.channel_names):
            console.print(note)
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
    model = build_pretext_model(settings, training[0].channels)
    taken = None
    if before is not None:
        taken = take_over_pretrained_decoder(settings, before, model.parts().get("decoder"))
    data = pretraining_images(settings, training), pretraining_images(settings, validation)
    rehearse(settings, model, *data)
    announce(settings, model, (training, validation), len(split.test), console, taken)
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
        exam = Exam(module, examination_loader(pretraining_images(settings, validation), settings))
    module.model.to(fabric.device)
    untrained = _examine_before(module, exam)
    watched = whole_encoder(kept_encoder(module.model))
    watch = start_watching(plan, settings, watched, console)
    rows = train(
        fabric,
        module,
        pretraining_images(settings, training),
        pretraining_images(settings, validation) if validation else None,
        folder,
        f"pretraining {registry.entry_of(settings.task).name}",
        console,
        steps=settings.steps_per_epoch,
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
                channels=source.channel_names,
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
