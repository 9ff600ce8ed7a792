"""Pretraining: an encoder learns to answer a pretext task's question."""

from collections.abc import Mapping
from typing import Any, Final

import lightning as L
from rich.console import Console

from ssl_registry.backbone import whole_encoder
from ssl_registry.pretext_model import PretextModel, kept_encoder
from ssl_registry.registry import registry
from ssl_registry.training.engine.batches import examination_loader
from ssl_registry.training.engine.callbacks import Callback, Stopwatch
from ssl_registry.training.engine.devices import check_device, is_first_process, on_main
from ssl_registry.training.engine.following import Following, choose_logger
from ssl_registry.training.engine.loop import train
from ssl_registry.training.files.encoder_file import digest_of, write_encoder
from ssl_registry.training.files.encoder_summary import ReadAs, history_of
from ssl_registry.training.files.git_state import git_state
from ssl_registry.training.files.provenance import versions_of
from ssl_registry.training.files.resumed_settings import with_stored
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.files.run_result import RunResult
from ssl_registry.training.files.seen_cases import provenance
from ssl_registry.training.preparation.case_infos import case_infos
from ssl_registry.training.preparation.cases import quiet_or_loud
from ssl_registry.training.preparation.checked_data import write_skipped
from ssl_registry.training.preparation.start import start
from ssl_registry.training.pretraining.announcement import announce, say_differences
from ssl_registry.training.pretraining.continuation import (
    fill_from_encoder,
    starting_point,
    take_over_pretrained_decoder,
)
from ssl_registry.training.pretraining.examination import Examination, examine_model
from ssl_registry.training.pretraining.judgement import LearningVerdict, judge_task, needs_untrained
from ssl_registry.training.pretraining.plan import PretrainPlan, make_pretrain_plan
from ssl_registry.training.pretraining.pretext_training import Exam, Pretraining
from ssl_registry.training.pretraining.rehearsal import (
    build_pretext_model,
    check_task_shape,
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
    settings, before = starting_point(settings)
    if not settings.resume:  # a run that exists says what contradicts it
        check_task_shape(settings)
    origin = digest_of(settings.encoder) if settings.encoder else None
    folder = RunFolder(settings.out, first=is_first_process(settings))
    with folder.working():
        folder.check(settings.model_dump(mode="json"), settings.resume, origin)
        plan = make_pretrain_plan(settings, before, origin, folder, console)
        return _pretrain(plan, folder, console)


def _pretrain(plan: PretrainPlan, folder: RunFolder, console: Console) -> RunResult:
    settings = plan.settings
    model = build_pretext_model(settings, plan.channels)
    taken = None
    if plan.before is not None:
        taken = take_over_pretrained_decoder(settings, plan.before, model.parts().get("decoder"))
    training = pretraining_images(settings, plan.training)
    rehearse(settings, model, training, pretraining_images(settings, plan.validation))
    announce(settings, model, plan.cases, len(plan.split.test), console, taken)
    say_differences(settings, plan.before, console)
    watched = plan_watching(settings, plan.training, plan.source)
    infos = case_infos([*plan.training, *plan.validation], plan.source)
    module = Pretraining(model, settings, infos)
    fabric = start(settings, folder, module, training, plan.rows, console, started_from=plan.origin)
    on_main(lambda: write_skipped(folder, plan.skipped))
    return _run(fabric, module, plan, watched, folder, console)


def _run(
    fabric: L.Fabric,
    module: Pretraining,
    plan: PretrainPlan,
    watched: WatchPlan | None,
    folder: RunFolder,
    console: Console,
) -> RunResult:
    settings, git, stopwatch = plan.settings, git_state(), Stopwatch()
    versions = versions_of(settings.task, settings.backbone)
    exam = _examination(module, plan)
    module.model.to(fabric.device)
    untrained = _examine_before(module, exam)
    encoder = whole_encoder(kept_encoder(module.model))
    watch = start_watching(watched, settings, encoder, console)
    rows = _train(fabric, module, plan, folder, [stopwatch, *([watch] if watch else [])], console)
    kept_weights(watch, module.model)
    verdict = _with_watched(_examine_after(module, exam, untrained), watch)
    console.print(f"{VERDICTS[verdict.learnt]}: {verdict.note}")
    result = {
        "kind": "pretrain",
        "metrics": rows[-1],
        "learnt": verdict.learnt,
        "learnt_note": verdict.note,
        "cases": {"train": len(plan.training), "validation": len(plan.validation)},
        "watched": watch.as_result() if watch else None,
        STARTED_FROM: plan.origin,
        "seconds": stopwatch.seconds,
        "versions": versions,
        "git": git,
    }
    on_main(lambda: _finish(plan, module.model, versions, folder, result))
    return RunResult(folder.path, result)


def _examination(module: Pretraining, plan: PretrainPlan) -> Exam | None:
    """Return what the network is examined on; None where there is no validation image."""
    if not plan.validation:
        return None
    images = pretraining_images(plan.settings, plan.validation)
    return Exam(module, examination_loader(images, plan.settings))


def _train(
    fabric: L.Fabric,
    module: Pretraining,
    plan: PretrainPlan,
    folder: RunFolder,
    callbacks: list[Callback],
    console: Console,
) -> list[dict[str, float]]:
    """Train to the end; return the rows of `metrics.csv`."""
    settings = plan.settings
    return train(
        fabric,
        module,
        pretraining_images(settings, plan.training),
        pretraining_images(settings, plan.validation) if plan.validation else None,
        folder,
        f"pretraining {registry.entry_of(settings.task).name}",
        console,
        steps=settings.steps_per_epoch,
        callbacks=[*callbacks, Following(choose_logger(settings), folder, settings)],
    )


def _finish(
    plan: PretrainPlan,
    model: PretextModel,
    versions: Mapping[str, str],
    folder: RunFolder,
    result: Mapping[str, Any],
) -> None:
    """Write the encoder, with the decoder beside it, and `result.json` last."""
    settings = plan.settings
    write_encoder(
        folder.path,
        kept_encoder(model),
        backbone=settings.backbone,
        task=registry.spec_of(settings.task),
        preprocessing=settings.preprocessing,
        size=settings.size,
        patches=settings.patches,
        read_as=ReadAs.of(settings),
        data=_provenance(plan),
        versions=versions,
        levels=settings.levels,
        task_origin=origin_of(settings.task),
        decoder=model.parts().get("decoder"),
        history=history_of(plan.before, plan.origin),
    )
    folder.finish(result)


def _provenance(plan: PretrainPlan) -> dict[str, Any]:
    """Return what the encoder has seen, this run's images and all before them."""
    return provenance(
        plan.source.name,
        plan.training,
        held_out=[*plan.split.validation, *plan.split.test],
        before=plan.before.data if plan.before else None,
        channels=plan.source.channel_names,
    )


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
