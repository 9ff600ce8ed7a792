"""What a pretraining run needs, all checked before it writes anything."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from ssl_registry.data.cache.prepared import Prepared
from ssl_registry.data.problems import Problem
from ssl_registry.data.sources.cases import Source
from ssl_registry.data.splits import Split
from ssl_registry.errors import DataError
from ssl_registry.training.files.case_table import CaseRow, case_rows, check_cases
from ssl_registry.training.files.channel_names import check_channels, learned_channels
from ssl_registry.training.files.encoder_summary import EncoderSummary
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.preparation.cases import (
    open_split,
    prepare,
    select_prepared,
    skipped_so_far,
)
from ssl_registry.training.settings.runs import PretrainSettings


@dataclass(frozen=True)
class PretrainPlan:
    """A run, ready to start.

    Attributes:
        settings: complete.
        source: where the cases come from.
        split: their division.
        rows: of `cases.csv`.
        training: cases that are trained on.
        validation: cases for the validation curve and the closing examination.
        skipped: files that cannot be used.
        before: what the file of the encoder says that the run starts from; None for random
            weights.
        origin: digest of the weights of that encoder.
    """

    settings: PretrainSettings
    source: Source
    split: Split
    rows: list[CaseRow]
    training: list[Prepared]
    validation: list[Prepared]
    skipped: Sequence[Problem]
    before: EncoderSummary | None
    origin: str | None

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self.training[0].channels

    @property
    def cases(self) -> tuple[list[Prepared], list[Prepared]]:
        """Those for training, and those for validation."""
        return self.training, self.validation


def make_pretrain_plan(
    settings: PretrainSettings,
    before: EncoderSummary | None,
    origin: str | None,
    folder: RunFolder,
    console: Console,
) -> PretrainPlan:
    """Return the cases of a run, prepared, and what it starts from.

    Args:
        settings: complete.
        before: as in `PretrainPlan`.
        origin: likewise.
        folder: of the run, whose cases these have to be where it is resumed.
        console: where to say what the data leave out.

    Raises:
        DataError: the data cannot be used, leave no image to train on, or have the encoder's
            channels in another order.
        RunError: the run that is resumed has other cases.
    """
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
    training = select_prepared(cases, split.train)
    if not training:
        raise DataError(f"data={settings.data}: no training image can be used")
    validation = select_prepared(cases, split.validation)
    return PretrainPlan(
        settings, source, split, rows, training, validation, skipped or (), before, origin
    )
