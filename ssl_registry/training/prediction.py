"""Prediction: a fine-tuned model labels new images, each on its own grid."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import torch
from rich.console import Console
from torch import Tensor

from ssl_registry.data.atomic_files import write_whole
from ssl_registry.data.cache.index import Done
from ssl_registry.data.cache.threads import one_thread
from ssl_registry.data.formats.label_files import PICTURE, VOLUME, write_labels
from ssl_registry.data.formats.scans import Scan
from ssl_registry.data.preparing.preprocessing import Placed
from ssl_registry.data.preparing.scan_grid import label_scan
from ssl_registry.data.preparing.slice_answers import answer_slices, as_volume
from ssl_registry.data.preparing.sliding_window import slide
from ssl_registry.data.sources.cases import Case, FileCase
from ssl_registry.data.sources.layouts import LayoutName, Reading
from ssl_registry.errors import (
    ConfigError,
    DataError,
    ImageShapeError,
    RunError,
    SslRegistryError,
)
from ssl_registry.progress import ProgressBar
from ssl_registry.training.finetuning.downstream_model import DownstreamModel
from ssl_registry.training.finetuning.mirroring import mirrored
from ssl_registry.training.finetuning.model_file import ModelSummary, load_model
from ssl_registry.training.preparation.cases import quiet_or_loud
from ssl_registry.training.unlabelled_images import LeaveOut, open_unlabelled

TABLE: Final = "predictions.csv"
"""Where classes are written: a row for each image."""

WINDOWS: Final = 4
"""Windows of one image, or slices of one volume, that are answered together."""

Existing = Literal["refuse", "skip", "overwrite"]


@dataclass(frozen=True)
class Predictions:
    """What was predicted.

    Attributes:
        folder: where the files are.
        files: the files that were written: a label map an image, or one table.
        failed: why an image could not be predicted, by its name.
    """

    folder: Path
    files: tuple[Path, ...]
    failed: Mapping[str, str]


def predict(
    run: str | Path,
    images: str | Path,
    out: str | Path,
    *,
    existing: Existing = "refuse",
    layout: LayoutName = "auto",
    channels: Sequence[str] = (),
    mirror: bool = False,
    device: Literal["auto", "cpu", "gpu"] = "auto",
    quiet: bool = False,
) -> Predictions:
    """Let the model of a fine-tuning run label images, and write what it says to `out`.

        predict("runs/rpl-10", images="../new", out="../labels")

    A segmentation gives a NIfTI label map `NAME.nii.gz` for each volume, on the volume's own grid
    with its header, or a mask `NAME.png` for each picture; a classification gives
    `predictions.csv`. An image that cannot be predicted is left out and said.

    Args:
        run: folder of a finished fine-tuning run.
        images: a folder of images, one image, or whatever else `data` may name; labels that
            are there are not looked at. Files called `<case>_0000`, `<case>_0001` in nnU-Net's
            way are the channels of one image, `<case>`.
        out: folder for the predictions.
        existing: what to do where a prediction is there already: refuse to begin, skip that
            image, or overwrite.
        layout: how the images are to be read, as in a run.
        channels: patterns of the files of the channels, as in a run.
        mirror: take the mean of the answers for an image and its mirror images, along the axes
            that training flipped; along all where it flipped none, which is said.
        device: where to compute.
        quiet: print nothing.

    Raises:
        SslRegistryError: there is no model, there are no images, or `out` cannot be written.
    """
    model, summary = load_model(run)
    console = quiet_or_loud(quiet)
    axes = _mirror_axes(summary, console) if mirror else ()
    answer = _Answer(model, summary, _choose(device), axes)
    failed: dict[str, str] = {}

    def leave_out(name: str, error: SslRegistryError) -> None:
        failed[name] = str(error)
        console.print(f"left out: {error}")

    reading = Reading(layout, tuple(channels))
    cases, notes = open_unlabelled(str(images), summary, reading, leave_out)
    for note in notes:
        console.print(f"{images}: {note}")
    work = _Work(answer, cases, Path(out).expanduser(), existing, leave_out)
    with ProgressBar(console) as bar:
        mask = summary.downstream.target_kind == "mask"
        files = work.label_all(bar.advance) if mask else work.grade_all(bar.advance)
    return Predictions(work.folder, tuple(files), failed)


def _mirror_axes(summary: ModelSummary, console: Console) -> tuple[int, ...]:
    """Return the axes to mirror along, and say so."""
    axes = summary.flips or tuple(range(summary.backbone.spatial_dims))
    said = f"mirrored along the axes {', '.join(map(str, axes))}"
    if not summary.flips:
        said += "; training flipped none (augment.flips), so the network may know no mirror images"
    console.print(said)
    return axes


def _choose(device: str) -> torch.device:
    gpu = torch.cuda.is_available()
    if device == "gpu" and not gpu:
        raise ConfigError("device=gpu, but torch sees no GPU: say device=cpu or device=auto")
    return torch.device("cuda" if gpu and device != "cpu" else "cpu")


class _Answer:
    """A model that answers for one image at a time."""

    def __init__(
        self,
        model: DownstreamModel,
        summary: ModelSummary,
        device: torch.device,
        mirror: tuple[int, ...],
    ) -> None:
        dense = summary.downstream.target_kind == "mask"
        self.model = mirrored(model.to(device), mirror, dense=dense)
        self.summary = summary
        self.device = device

    def probabilities(self, image: Tensor) -> Tensor:
        """Return the probabilities `[K, *S]`, or `[K]`, for an image `[C, *S]`, on the CPU."""
        with torch.inference_mode():
            image = image.to(self.device)
            if self.summary.slices is None:
                answered = self.summary.downstream.probabilities(self._outputs(image[None]))
                return answered[0].cpu()
            outputs = answer_slices(image, WINDOWS, self._outputs)
            if self.summary.downstream.target_kind == "class":
                outputs = as_volume(outputs)[None]
                return self.summary.downstream.probabilities(outputs)[0].cpu()
            return as_volume(self.summary.downstream.probabilities(outputs).cpu())

    def _outputs(self, images: Tensor) -> Tensor:
        """Return the outputs for images `[B, C, *S]`, in one piece or by sliding windows."""
        if not self.summary.patches:
            return self.model(images)
        return torch.stack(
            [slide(image, self.summary.size, WINDOWS, self.model) for image in images]
        )

    def read(self, case: Case) -> tuple[Scan, Placed]:
        """Return an image as it is and as the model sees it.

        Raises:
            DataError: it cannot be read or prepared, or has other channels.
        """
        summary = self.summary
        with one_thread():
            scan = case.read()
        channels = scan["image"].data.shape[0]
        if channels != summary.in_channels:
            raise DataError(
                f"{case.name} has {channels} channels; the model takes {summary.in_channels}"
            )
        size = None if summary.patches else summary.size
        with one_thread():
            return scan, summary.preprocessing.place(scan, size, case.name, summary.slices)

    def label(self, case: Case) -> tuple[Tensor, Scan]:
        """Return the label of each voxel `[X, Y, Z]` uint8, on the image's own grid, and that."""
        scan, placed = self.read(case)
        probabilities = self.probabilities(placed.image)
        with one_thread():
            return label_scan(probabilities, placed.affine, scan), scan


@dataclass(frozen=True)
class _Work:
    """What is to be predicted, by whom, and where it goes."""

    answer: _Answer
    cases: Sequence[Case]
    folder: Path
    existing: Existing
    leave_out: LeaveOut

    def label_all(self, done: Done) -> list[Path]:
        """Write a label map for each image; return the files."""
        suffix = PICTURE if self.answer.summary.image_dims == 2 else VOLUME
        files = {self.folder / f"{case.name}{suffix}": case for case in self.cases}
        wanted = _wanted(files, self.existing)
        for file in wanted:
            _check_apart(file, files[file])
        written = []
        for count, file in enumerate(wanted, start=1):
            case = files[file]
            try:
                labels, scan = self.answer.label(case)
            except (DataError, ImageShapeError) as error:
                self.leave_out(case.name, error)
            else:
                with _writing(self.folder):
                    write_labels(file, labels, scan, getattr(case, "image", None))
                written.append(file)
            done("predicting", count, len(wanted))
        return written

    def grade_all(self, done: Done) -> list[Path]:
        """Write a table with the class of each image and the probabilities of all classes."""
        wanted = _wanted([self.folder / TABLE], self.existing)
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        labels = self.answer.summary.labels
        table.writerow(["image", "class", "label", *(f"p_{value}" for value in labels)])
        for count, case in enumerate(self.cases if wanted else (), start=1):
            try:
                shares = self.answer.probabilities(self.answer.read(case)[1].image).tolist()
            except (DataError, ImageShapeError) as error:
                self.leave_out(case.name, error)
            else:
                best = shares.index(max(shares))
                table.writerow([case.name, best, labels[best], *(f"{s:.6g}" for s in shares)])
            done("predicting", count, len(self.cases))
        for file in wanted:
            with _writing(self.folder):
                write_whole(file, lambda beside: beside.write_text(text.getvalue(), "utf-8"))
        return wanted


def _check_apart(file: Path, case: Case) -> None:
    """See that a prediction does not take the place of its image.

    Raises:
        RunError: it would.
    """
    if isinstance(case, FileCase) and file.exists() and any(map(file.samefile, case.images)):
        raise RunError(f"{file} is one of the images themselves: name another folder")


def _wanted(files: Iterable[Path], existing: Existing) -> list[Path]:
    """Return the files to write.

    Raises:
        RunError: some are there already, and nobody said what to do with them.
    """
    there = [file for file in files if file.exists()]
    if there and existing == "refuse":
        raise RunError(
            f"{len(there)} predictions are there already ({there[0]}, ...): say --overwrite, or "
            "--skip-existing to make the others alone, or name another folder"
        )
    done = set(there) if existing == "skip" else set()
    return [file for file in files if file not in done]


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"out={folder} cannot be written: {error.strerror or error}") from error
