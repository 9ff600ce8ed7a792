"""Fine-tuning: an encoder and a new head learn a downstream task from few labels."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import lightning as L
from rich.console import Console

from ssl_registry.data.cache.datasets import LabelledImages
from ssl_registry.data.cache.patches import LabelledPatches, Patches
from ssl_registry.data.label_classes import by_value
from ssl_registry.training.engine.batches import TrainingBatches
from ssl_registry.training.engine.callbacks import Callback, Stopwatch
from ssl_registry.training.engine.devices import check_device, is_first_process, on_main
from ssl_registry.training.engine.following import Following, choose_logger
from ssl_registry.training.engine.loop import train
from ssl_registry.training.files.case_table import case_rows, check_cases
from ssl_registry.training.files.encoder_file import digest_of
from ssl_registry.training.files.encoder_summary import EncoderSummary
from ssl_registry.training.files.git_state import git_state
from ssl_registry.training.files.resumed_settings import with_stored
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.files.run_result import RunResult
from ssl_registry.training.files.seen_cases import declared_in
from ssl_registry.training.finetuning.announcement import announce_finetuning
from ssl_registry.training.finetuning.decoder_transfer import takeover_as_json
from ssl_registry.training.finetuning.downstream_model import Finetuning
from ssl_registry.training.finetuning.finished_files import (
    versions_behind,
    write_finetuned_encoder,
    write_finetuned_model,
    write_test_predictions,
)
from ssl_registry.training.finetuning.held_out_test import (
    HeldOutTest,
    run_held_out_test,
    say_learning,
)
from ssl_registry.training.finetuning.plan import Plan, complete, make_plan
from ssl_registry.training.finetuning.selection import BestState, select
from ssl_registry.training.finetuning.starting_model import build_finetuning
from ssl_registry.training.finetuning.validation_pictures import picture_validation
from ssl_registry.training.preparation.cases import quiet_or_loud
from ssl_registry.training.preparation.checked_data import write_skipped
from ssl_registry.training.preparation.start import start
from ssl_registry.training.settings.lengths import check_length
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
    module = build_finetuning(plan)
    announce_finetuning(plan, module, console)
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


def _run(
    fabric: L.Fabric,
    plan: Plan,
    module: Finetuning,
    folder: RunFolder,
    origin: str | None,
    console: Console,
) -> RunResult:
    stopwatch, git = Stopwatch(), git_state()
    best = BestState(plan.settings.downstream.headline)
    rows = _train(fabric, plan, module, folder, [best, stopwatch], console)
    selected = select(plan.settings.select, best, module.model, rows[-1])
    console.print(f"tested: the weights of epoch {selected['epoch']}, {selected['why']}")
    tested = run_held_out_test(plan, module)
    say_learning(tested.verdict, console)
    result = {
        **_scores(plan, tested),
        **_cases(plan, tested),
        **_start(plan, module, origin),
        "selected": selected,
        "metrics": rows[-1],
        "seconds": stopwatch.seconds,
        "versions": versions_behind(plan),
        "git": git,
    }
    on_main(lambda: _finish(plan, module, tested, folder, origin, result))
    return RunResult(folder.path, result)


def _train(
    fabric: L.Fabric,
    plan: Plan,
    module: Finetuning,
    folder: RunFolder,
    callbacks: list[Callback],
    console: Console,
) -> list[dict[str, float]]:
    """Train to the end; return the rows of `metrics.csv`."""
    settings = plan.settings
    shown = partial(picture_validation, module, plan.validation)
    following = Following(choose_logger(settings), folder, settings, shown)
    return train(
        fabric,
        module,
        _training_data(plan),
        LabelledImages(plan.validation, whole=True) if plan.validation else None,
        folder,
        "fine-tuning" if settings.encoder else "training from scratch",
        console,
        steps=settings.steps_per_epoch,
        callbacks=[*callbacks, following],
    )


def _scores(plan: Plan, tested: HeldOutTest) -> dict[str, Any]:
    """Return what `result.json` says of the test, and whether anything was learnt."""
    return {
        "kind": "finetune",
        "headline": plan.settings.downstream.headline,
        "score": tested.score,
        **tested.verdict.as_result(),
    }


def _cases(plan: Plan, tested: HeldOutTest) -> dict[str, Any]:
    """Return what `result.json` says of labels, cases and patients."""
    return {
        "labels": {str(value): name for value, name in plan.source.labels.items()},
        "cases": {
            case.case.name: by_value(one, plan.label_values)
            for case, one in zip(plan.test, tested.cases, strict=True)
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
    }


def _start(plan: Plan, module: Finetuning, origin: str | None) -> dict[str, Any]:
    """Return what `result.json` says of what the run started from."""
    declared = declared_in(plan.summary.data) if plan.summary else None
    return {
        STARTED_FROM: origin,
        **({"declared_seen": declared} if declared else {}),
        "decoder": takeover_as_json(module.takeover),
    }


def _finish(
    plan: Plan,
    module: Finetuning,
    tested: HeldOutTest,
    folder: RunFolder,
    origin: str | None,
    result: Mapping[str, Any],
) -> None:
    """Write the files, and `result.json` last."""
    write_test_predictions(plan, tested, folder)
    write_finetuned_encoder(plan, module.model, folder, origin)
    write_finetuned_model(plan, module.model, folder)
    folder.finish(result)
