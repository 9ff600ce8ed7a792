"""`evaluate`: a fine-tuned model, or an ensemble, scored on any labelled data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import torch
from rich.console import Console
from torch import Tensor

from ssl_registry.data.cache.packed_labels import PackedLabels
from ssl_registry.data.formats.scans import Scan
from ssl_registry.data.label_classes import by_value, class_names
from ssl_registry.data.sources.cases import Case, Source
from ssl_registry.downstream import DownstreamTask
from ssl_registry.errors import ConfigError, DataError, ImageShapeError, RunError
from ssl_registry.experiments.evaluation.evaluation_data import match_data, open_evaluation_data
from ssl_registry.experiments.evaluation.intervals import Interval, bootstrap_by_patient
from ssl_registry.experiments.evaluation.matched_labels import as_model_classes
from ssl_registry.experiments.evaluation.report import write_evaluation_report
from ssl_registry.experiments.evaluation.tables import case_table, class_table
from ssl_registry.experiments.files import write_text
from ssl_registry.progress import ProgressBar
from ssl_registry.training.ensemble import Ensemble, load_ensemble
from ssl_registry.training.files.run_result import RESULT, spell_result
from ssl_registry.training.files.seen_cases import check_unseen, seen_among
from ssl_registry.training.finetuning.held_out_scores import HeldOutAnswers, score_all, score_cases
from ssl_registry.training.finetuning.learning import judge_finetuning
from ssl_registry.training.preparation.cases import quiet_or_loud

CASES: Final = "cases.csv"
CLASSES: Final = "classes.csv"

REMEDY: Final = (
    "--seen leave-out (seen='leave-out') scores the others, --part test (part='test') the test "
    "cases of the run where these are its own data; or name other data"
)
"""What to do about a model that has seen cases."""

Overlap = Literal["refuse", "leave-out"]


@dataclass(frozen=True)
class Evaluation:
    """What a model is worth on other data.

    Attributes:
        folder: with `index.html`, `result.json`, `cases.csv` and `classes.csv`.
        score: over all cases, the headline first.
        intervals: 95 % of each score, where there are patients enough.
        cases: what is said of each case, by its name.
        left_out: cases that were not scored, and why.
    """

    folder: Path
    score: Mapping[str, float]
    intervals: Mapping[str, Interval]
    cases: Mapping[str, Mapping[str, float]]
    left_out: Mapping[str, str]


def evaluate(
    run: str | Path | Sequence[str | Path],
    data: str | Path,
    out: str | Path | None = None,
    *,
    part: Literal["all", "test"] = "all",
    seen: Overlap = "refuse",
    assume_unseen: bool = False,
    mirror: bool = False,
    device: Literal["auto", "cpu", "gpu"] = "auto",
    seed: int = 0,
    quiet: bool = False,
    **settings: Any,
) -> Evaluation:
    """Score a fine-tuned model on labelled data that it has not seen.

        evaluate("runs/rpl-10", data="../other-hospital", group_pattern="(.+)_")

    Args:
        run: folder of a finished fine-tuning run; of several, by the mean of their probabilities.
        data: what `data=` of a run may name; with labels.
        out: a new folder; without it `evaluations/DATA` in the folder of the first run.
        part: all labelled cases, or those of the `test` part, divided as the run divided them.
        seen: what to do about cases that a model has seen, by content, or of whose patients it has
            seen an image: refuse to score, or leave them out and say so.
        assume_unseen: take a model whose file does not say what it has seen.
        mirror: average over mirror images, as in `predict`.
        device: where to compute.
        seed: of the bootstrap.
        quiet: print nothing.
        **settings: `group_column`, `group_pattern`, `layout`, `channels`, `label_maps`,
            `test_cases`, ... as in a run.

    Raises:
        ConfigError: a model has seen some of the cases, or a setting is unknown.
        DataError: the data have no labels, labels that the model does not know, other channels, or
            files that cannot be used.
        SslRegistryError: there is no model, or `out` cannot be written.
    """
    if seen not in get_args(Overlap):
        raise ConfigError(f"seen={seen}: choose {' or '.join(get_args(Overlap))}")
    runs = [run] if isinstance(run, (str, Path)) else list(run)
    console = quiet_or_loud(quiet)
    ensemble = load_ensemble(runs, device=device, mirror=mirror, console=console)
    folder = _new_folder(out, runs[0], data)
    source, cases = open_evaluation_data(ensemble, runs[0], data, part, settings, console)
    matched = match_data(ensemble, source, cases, console)
    left_out: dict[str, str] = {}
    for path, member in zip(runs, ensemble.members, strict=True):
        what = f"the model in {path}"
        if seen == "leave-out":
            known = seen_among(member.summary.data, source, cases)
            left_out |= dict.fromkeys(known, f"{what} has seen it, or an image of its patient")
            cases = [case for case in cases if case.name not in known]
        if not cases:
            raise ConfigError(f"{what} has seen all cases of data={data}: name other data")
        check_unseen(
            what, member.summary.data, source, cases, assume_unseen=assume_unseen, remedy=REMEDY
        )
    for name, why in left_out.items():
        console.print(f"left out: {name}: {why}")
    scored, answers = _answer(ensemble, cases, matched, left_out, console)
    regions = {
        name: frozenset(matched[value] for value in values)
        for name, values in source.regions.items()
    }
    return _finish(
        ensemble, runs, source, regions, scored, answers, left_out, folder, seed, console
    )


def _new_folder(out: str | Path | None, run: str | Path, data: str | Path) -> Path:
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in Path(str(data)).name) or "data"
    folder = Path(out).expanduser() if out else Path(run).expanduser() / "evaluations" / name
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"out={folder} exists: name a new folder, so that nothing is lost")
    return folder


def _answer(
    ensemble: Ensemble,
    cases: Sequence[Case],
    matched: Mapping[int, int],
    left_out: dict[str, str],
    console: Console,
) -> tuple[list[Case], HeldOutAnswers]:
    """Return what the models say of each case, beside what is true; some may be left out."""
    mask = ensemble.summary.downstream.target_kind == "mask"
    predictions: Any = PackedLabels(()) if mask else []
    targets: Any = PackedLabels(()) if mask else []
    evidence: list[Mapping[str, Any]] = []
    scored: list[Case] = []
    ask = _ask_scan if mask else _ask_grade
    with ProgressBar(console) as bar:
        scans = ensemble.read(cases)
        for count, (case, read) in enumerate(zip(cases, scans, strict=True), start=1):
            try:
                predicted, target, known = ask(ensemble, case, read, matched)
            except (DataError, ImageShapeError) as error:
                left_out[case.name] = str(error)
                console.print(f"left out: {error}")
            else:
                for kept, labels in ((predictions, predicted), (targets, target)):
                    (kept.add if mask else kept.append)(labels)
                evidence.append(known)
                scored.append(case)
            bar.advance("evaluating", count, len(cases))
    if not scored:
        raise DataError(f"no case can be scored: {next(iter(left_out.values()))}")
    return scored, HeldOutAnswers(predictions, targets, evidence)


def _ask_scan(
    ensemble: Ensemble, case: Case, read: Callable[[], Scan], matched: Mapping[int, int]
) -> tuple[Tensor, Tensor, Mapping[str, Any]]:
    answer = ensemble.label(case, read)
    predicted, target = answer.labels(), as_model_classes(answer.scan["label"].data[0], matched)
    spacing = tuple(answer.scan["label"].spacing)
    if ensemble.summary.image_dims == 2:
        predicted, target = predicted[..., 0], target[..., 0]
    return predicted, target, {"spacing": spacing[: target.ndim]}


def _ask_grade(
    ensemble: Ensemble, case: Case, read: Callable[[], Scan], matched: Mapping[int, int]
) -> tuple[Tensor, Tensor, Mapping[str, Any]]:
    assert case.grade is not None
    answer = ensemble.grade(case, read)
    known = {"probabilities": answer.probabilities}
    return torch.tensor(answer.grade), torch.tensor(matched[case.grade]), known


def _finish(
    ensemble: Ensemble,
    runs: Sequence[str | Path],
    source: Source,
    regions: Mapping[str, frozenset[int]],
    cases: Sequence[Case],
    answers: HeldOutAnswers,
    left_out: Mapping[str, str],
    folder: Path,
    seed: int,
    console: Console,
) -> Evaluation:
    task, labels = ensemble.summary.downstream, ensemble.summary.labels
    values = ensemble.summary.label_values
    of_classes = score_cases(task, answers)
    score = score_all(task, answers, of_classes, regions, values)
    patients = [source.group_of(case) for case in cases]
    intervals = by_value(bootstrap_by_patient(task, of_classes, patients, seed), values)
    said = [by_value(one, values) for one in of_classes]
    names = [case.name for case in cases]
    verdict = judge_finetuning(
        task, score[task.headline], answers.predictions, answers.targets, class_names(labels)
    )
    found = Evaluation(
        folder, score, intervals, dict(zip(names, said, strict=True)), dict(left_out)
    )
    folder.mkdir(parents=True, exist_ok=True)
    classes = class_table(task, said, labels, score, intervals)
    write_text(folder / CASES, case_table(names, patients, said))
    write_text(folder / CLASSES, classes)
    result = {
        "kind": "evaluate",
        "runs": [str(run) for run in runs],
        "data": source.name,
        "headline": task.headline,
        "score": score,
        "intervals": {name: list(ends) for name, ends in intervals.items()},
        **verdict.as_result(),
        "labels": {str(value): name for value, name in labels.items()},
        "cases": found.cases,
        "patients": dict(zip(names, patients, strict=True)),
        "left_out": found.left_out,
    }
    page = write_evaluation_report(folder, ensemble, result, classes, cases, answers)
    write_text(folder / RESULT, spell_result(result))
    console.print(f"{_spell(task, score, intervals)} on {len(cases)} cases; the page is {page}")
    return found


def _spell(
    task: DownstreamTask, score: Mapping[str, float], intervals: Mapping[str, Interval]
) -> str:
    said = f"{task.headline} {score[task.headline]:.3f}"
    if task.headline not in intervals:
        return said
    low, high = intervals[task.headline]
    return f"{said} (95 % {low:.3f} to {high:.3f}, patients drawn anew)"
