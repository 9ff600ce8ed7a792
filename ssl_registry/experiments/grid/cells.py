"""The grid of the experiment: every run that it takes, planned before the first one starts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console

from ssl_registry.data.checks.classes import count_classes
from ssl_registry.data.sources.cases import Case, Source
from ssl_registry.data.splits import Split, count_units
from ssl_registry.experiments.grid.cell_run import PROBES
from ssl_registry.experiments.grid.index import RunIndex
from ssl_registry.experiments.grid.run_settings import (
    Line,
    complete_settings,
    finetuning_of,
    label_counts,
    planned_lines,
    pretraining_of,
)
from ssl_registry.experiments.grid.settings import EfficiencySettings
from ssl_registry.training.engine.devices import check_device
from ssl_registry.training.files.case_table import CaseRow, case_rows
from ssl_registry.training.files.encoder_summary import read_encoder_summary
from ssl_registry.training.files.run_result import RESULT
from ssl_registry.training.finetuning.plan import open_cases
from ssl_registry.training.preparation.cases import quiet_or_loud
from ssl_registry.training.settings.runs import FinetuneSettings, PretrainSettings


@dataclass(frozen=True)
class PretrainCell:
    """A pretraining run of the grid."""

    line: str
    seed: int
    fold: int
    settings: PretrainSettings


@dataclass(frozen=True)
class FinetuneCell:
    """A fine-tuning run of the grid.

    Attributes:
        fraction: share of the labelled training patients, or cases.
        labelled: their number.
        needs: the run that pretrains its encoder, where the experiment does that.
        probes: whether the encoder that it starts from is probed, too.
    """

    line: str
    seed: int
    fold: int
    fraction: float
    labelled: int
    settings: FinetuneSettings
    needs: PretrainCell | None
    probes: bool


Cell = PretrainCell | FinetuneCell


@dataclass(frozen=True)
class Grid:
    """All runs of an experiment.

    Attributes:
        settings: of the experiment, complete.
        lines: scratch first.
        pretraining: the runs that make encoders.
        finetuning: the runs that give the scores, in the order of `results.csv`.
        cases: all that any of them reads.
        tables: what `cases.csv` of a run says that begins now, for each fold.
        available: number of labelled training patients or cases, for each fold.
        unit: which of the two are counted.
        index: what the runs say that exist.
    """

    settings: EfficiencySettings
    lines: tuple[Line, ...]
    pretraining: tuple[PretrainCell, ...]
    finetuning: tuple[FinetuneCell, ...]
    cases: tuple[Case, ...]
    tables: tuple[tuple[CaseRow, ...], ...]
    available: tuple[int, ...]
    unit: str
    index: RunIndex = field(compare=False, repr=False)

    @property
    def cells(self) -> Iterator[Cell]:
        """All runs in the order to start them: a seed after the other, pretraining first."""
        for seed in self.settings.seeds:
            yield from (cell for cell in self.pretraining if cell.seed == seed)
            yield from (cell for cell in self.finetuning if cell.seed == seed)

    def name(self, cell: Cell) -> str:
        """Return the folder of a run, relative to that of the experiment."""
        return cell.settings.out.relative_to(self.settings.out).as_posix()

    def describe(self, cell: Cell) -> str:
        """Return what a run is called in lines for the user."""
        repetition = f"seed {cell.seed}"
        if self.settings.folds > 1:
            repetition += f", fold {cell.fold}"
        if isinstance(cell, PretrainCell):
            return f"{cell.line}, pretraining, {repetition}"
        available = self.available[cell.fold]
        return f"{cell.line}, {cell.labelled} of {available} labelled {self.unit}, {repetition}"


def finished(cell: Cell) -> bool:
    """Return whether the run has its result, and its probes where they are asked for."""
    out = cell.settings.out
    if isinstance(cell, FinetuneCell) and cell.probes and not (out / PROBES).is_file():
        return False
    return (out / RESULT).is_file()


def make_grid(settings: EfficiencySettings, console: Console) -> Grid:
    """Return all runs of an experiment, once it is seen that they can start; writes nothing.

    Raises:
        DataError: the data cannot be used, or leaves no case to train or to test on.
        EncoderFileError: a folder holds no encoder.
        ConfigError: components, encoders and data do not go together, an encoder was
            pretrained on test cases, or two of the fractions mean the same number of cases.
        ImageShapeError: a pretext task cannot work on images of this size.
    """
    settings = complete_settings(settings)
    lines = planned_lines(settings)
    repetitions = [(seed, fold) for seed in settings.seeds for fold in range(settings.folds)]
    pretraining = _pretraining(settings, lines, repetitions)
    opened = [_open(settings, lines, fold, console) for fold in range(settings.folds)]
    splits, unit = [split for _, split in opened], opened[0][0].unit_of(settings.count)
    available = tuple(
        count_units(source, [case for case in split.train if case.labelled], settings.count)
        for source, split in opened
    )
    counts = [label_counts(settings, available, unit, fold) for fold in range(settings.folds)]
    finetuning = _finetuning(settings, lines, repetitions, counts, available, pretraining)
    cases = _all_cases(splits)
    pretraining_cells = tuple(pretraining.values())
    tables = tuple(tuple(case_rows(source, split)) for source, split in opened)
    return Grid(
        settings,
        lines,
        pretraining_cells,
        finetuning,
        cases,
        tables,
        available,
        unit,
        RunIndex(settings.out),
    )


def _pretraining(
    settings: EfficiencySettings, lines: Iterable[Line], repetitions: Iterable[tuple[int, int]]
) -> dict[tuple[str, int, int], PretrainCell]:
    """Return the runs that make encoders, by line, seed and fold; a line's first is the model."""
    first: dict[str, PretrainSettings] = {}
    cells = {}
    for seed, fold in repetitions:
        for line in lines:
            if line.task:
                run = pretraining_of(settings, line.task, seed, fold, first.get(line.label))
                first.setdefault(line.label, run)
                cells[line.label, seed, fold] = PretrainCell(line.label, seed, fold, run)
    return cells


def _finetuning(
    settings: EfficiencySettings,
    lines: Iterable[Line],
    repetitions: Sequence[tuple[int, int]],
    counts: Sequence[Sequence[tuple[float, int]]],
    available: Sequence[int],
    pretraining: Mapping[tuple[str, int, int], PretrainCell],
) -> tuple[FinetuneCell, ...]:
    """Return the runs that give the scores; `counts` are shares and numbers, fold by fold."""
    cells = []
    for line in lines:
        first: FinetuneSettings | None = None
        for place in range(len(counts[0])):
            for seed, fold in repetitions:
                share, labelled = counts[fold][place]
                run = finetuning_of(settings, line, seed, fold, labelled, available[fold], first)
                first = first or run
                needs = pretraining.get((line.label, seed, fold))
                probes = settings.probes
                cells.append(
                    FinetuneCell(line.label, seed, fold, share, labelled, run, needs, probes)
                )
    return tuple(cells)


def _open(
    settings: EfficiencySettings, lines: Iterable[Line], fold: int, console: Console
) -> tuple[Source, Split]:
    """Return source and division of a fold, once no encoder is seen to know its test cases."""
    say = console if fold == 0 else quiet_or_loud(quiet=True)
    ready = [line for line in lines if line.task is None or line.starts_from is not None]
    for line in ready:
        run = finetuning_of(settings, line, 0, fold, 1, 1)
        check_device(run)
        summary = read_encoder_summary(line.starts_from) if line.starts_from else None
        # Refusals are of the encoder that exists, not of one that is pretrained from it.
        start = run.model_copy(update={"encoder": line.starts_from})
        source, split = open_cases(start, summary, say)
        say = quiet_or_loud(quiet=True)
    usable = (case for case in split.train if case.labelled)
    for sentence in count_classes(source, usable, split.test).sentences():
        console.print(f"fold {fold}: {sentence}" if settings.folds > 1 else sentence, markup=False)
    return source, split


def _all_cases(splits: Iterable[Split]) -> tuple[Case, ...]:
    cases = {
        case.name: case
        for split in splits
        for part in (split.train, split.validation, split.test)
        for case in part
    }
    return tuple(cases.values())
