"""Fine-tuned models that answer for an image: one, or several by their mean probability."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from rich.console import Console
from torch import Tensor

from ssl_registry.data.cache.threads import one_thread
from ssl_registry.data.formats.headers import Affine
from ssl_registry.data.formats.scans import Scan
from ssl_registry.data.preparing.slice_order import Placed
from ssl_registry.data.sources.cases import Case
from ssl_registry.errors import ConfigError, ModelFileError
from ssl_registry.training.engine.answering import read_ahead
from ssl_registry.training.ensemble_answers import GradeAnswer, ScanAnswer
from ssl_registry.training.ensemble_member import WINDOWS, Member
from ssl_registry.training.files.channel_names import check_channels, learned_channels
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.finetuning.model_file import ModelSummary, load_model
from ssl_registry.training.settings.stored import CONFIG

MOST_WINDOWS: Final = 64
"""What a run's file may say of that; a network takes memory for each."""


class Ensemble:
    """One or several models of the same question.

    Attributes:
        members: at least one.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)

    @property
    def summary(self) -> ModelSummary:
        """How the first is used; the others answer the same question for the same images."""
        return self.members[0].summary

    def read(self, cases: Sequence[Case]) -> Iterator[Callable[[], Scan]]:
        """Yield what returns the scan of each case, read ahead where a GPU answers."""
        return read_ahead(_read, cases, self.members[0].device)

    def answer(
        self, case: Case, read: Callable[[], Scan] | None = None
    ) -> tuple[Scan, list[tuple[Tensor, Affine]]]:
        """Return a scan, and each member's probabilities with where they lie.

        Args:
            case: that is asked about.
            read: what returns its scan, where that is read ahead.

        Raises:
            DataError: the image cannot be read or prepared, or has other channels.
        """
        scan = _read(case) if read is None else read()
        prepared: dict[str, Placed] = {}
        answers = []
        for member in self.members:
            said = member.summary
            whole = None if said.patches else said.size  # patches are cut from the image as it is
            key = repr((said.preprocessing, whole, said.slices))
            if key not in prepared:
                prepared[key] = member.place(scan, case.name)
            placed = prepared[key]
            answers.append((member.probabilities(placed.image), placed.affine))
        return scan, answers

    def label(self, case: Case, read: Callable[[], Scan] | None = None) -> ScanAnswer:
        """Return what the models say of each voxel of a case.

        Args:
            case: that is asked about.
            read: as for `answer`.

        Raises:
            DataError: as for `answer`.
        """
        scan, answers = self.answer(case, read)
        return ScanAnswer(scan, tuple(answers))

    def grade(self, case: Case, read: Callable[[], Scan] | None = None) -> GradeAnswer:
        """Return what the models say of a case.

        Args:
            case: that is asked about.
            read: as for `answer`.

        Raises:
            DataError: as for `answer`.
        """
        _, answers = self.answer(case, read)
        return GradeAnswer(tuple(probabilities for probabilities, _ in answers))


def load_ensemble(
    runs: Sequence[str | Path], *, device: str, mirror: bool, console: Console
) -> Ensemble:
    """Return the models of fine-tuning runs, once it is seen that they answer one question.

    Raises:
        ModelFileError: a folder holds no model.
        ConfigError: none is named, one is named twice, they answer different questions, or there
            is no such device.
    """
    if not runs:
        raise ConfigError("name the folder of a finished fine-tuning run, or several")
    folders = [Path(run).expanduser().resolve() for run in runs]
    twice = next((run for run in folders if folders.count(run) > 1), None)
    if twice is not None:
        raise ConfigError(f"{twice} is named twice: an ensemble has each model once")
    where = choose_prediction_device(device)
    members: list[Member] = []
    for run in runs:
        model, summary = load_model(run)
        if members:
            _check_same_question(members[0].summary, summary, runs[0], run)
        loud = console if not members else None
        axes = _mirror_axes(summary, loud) if mirror else ()
        said = _said_by(Path(run).expanduser())
        members.append(Member(model, summary, where, axes, *said))
    return Ensemble(members)


def _said_by(run: Path) -> tuple[int, str]:
    """Return how many windows the run answered together, and its precision.

    So its answers are these again.
    """
    if not (run / CONFIG).is_file():
        return WINDOWS, "32-true"
    said = RunFolder(run).settings()
    windows, precision = said.get("batch_size"), said.get("precision")
    if not (isinstance(windows, int) and 1 <= windows <= MOST_WINDOWS):
        windows = WINDOWS
    return windows, str(precision)


def _read(case: Case) -> Scan:
    with one_thread():
        return case.read()


def _check_same_question(
    first: ModelSummary, other: ModelSummary, one: str | Path, two: str | Path
) -> None:
    """See that two models answer one question for the same images."""
    asked: Mapping[str, tuple[object, object]] = {
        "downstream task": (type(first.downstream).__name__, type(other.downstream).__name__),
        "labels": (dict(first.labels), dict(other.labels)),
        "channels": (first.in_channels, other.in_channels),
        "slices": (first.slices is None, other.slices is None),
    }
    for what, (mine, theirs) in asked.items():
        if mine != theirs:
            raise ModelFileError(
                f"{one} and {two} cannot form an ensemble: their {what} differ: {mine} and {theirs}"
            )
    check_channels(
        f"the model in {one}",
        learned_channels(first.data),
        f"the data of the model in {two}",
        learned_channels(other.data),
    )


def _mirror_axes(summary: ModelSummary, console: Console | None) -> tuple[int, ...]:
    """Return the axes to mirror along, and say so."""
    axes = summary.flips or tuple(range(summary.backbone.spatial_dims))
    said = f"mirrored along the axes {', '.join(map(str, axes))}"
    if not summary.flips:
        said += "; training flipped none (augment.flips), so the network may know no mirror images"
    if console is not None:
        console.print(said)
    return axes


def choose_prediction_device(device: str) -> torch.device:
    """Return where to compute.

    Raises:
        ConfigError: a GPU is asked for, and there is none, or another device.
    """
    if device not in ("auto", "cpu", "gpu"):
        raise ConfigError(f"device={device}: choose auto, cpu or gpu")
    gpu = torch.cuda.is_available()
    if device == "gpu" and not gpu:
        raise ConfigError("device=gpu, but torch sees no GPU: set device=cpu or device=auto")
    return torch.device("cuda" if gpu and device != "cpu" else "cpu")
