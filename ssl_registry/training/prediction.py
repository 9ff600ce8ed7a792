"""Prediction: a fine-tuned model labels new images, each on its own grid."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import torch
from rich.console import Console
from torch import Tensor

from ssl_registry.data.cases import Case, FileCase
from ssl_registry.data.folders import find_images
from ssl_registry.data.formats import case_name
from ssl_registry.data.label_files import PICTURE, VOLUME, write_labels
from ssl_registry.data.pictures import is_picture
from ssl_registry.data.preprocessing import Placed
from ssl_registry.data.scan_grid import label_scan
from ssl_registry.data.scans import Scan
from ssl_registry.data.sliding_window import slide
from ssl_registry.data.sources import open_source
from ssl_registry.data.threads import one_thread
from ssl_registry.data.whole_files import write_whole
from ssl_registry.errors import BadFileError, ConfigError, DataError, ImageShapeError, RunError
from ssl_registry.training.downstream_model import DownstreamModel
from ssl_registry.training.model_file import ModelSummary, load_model
from ssl_registry.training.preparation import quiet_or_loud, show_progress

TABLE: Final = "predictions.csv"
"""Where classes are written: a row for each image."""

WINDOWS: Final = 4
"""Windows of one image that are answered together."""

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
            are there are not looked at.
        out: folder for the predictions.
        existing: what to do where a prediction is there already: refuse to begin, skip that
            image, or overwrite.
        device: where to compute.
        quiet: print nothing.

    Raises:
        SslRegistryError: there is no model, there are no images, or `out` cannot be written.
    """
    model, summary = load_model(run)
    answer = _Answer(model, summary, _choose(device))
    folder, console = Path(out).expanduser(), quiet_or_loud(quiet)
    unread: dict[str, str] = {}
    cases = _open_images(str(images), summary, unread)
    for problem in unread.values():
        console.print(f"left out: {problem}")
    if summary.downstream.target_kind == "mask":
        made = _label_images(answer, cases, folder, existing, console)
    else:
        made = _grade_images(answer, cases, folder, existing, console)
    return replace(made, failed={**unread, **made.failed})


def _choose(device: str) -> torch.device:
    gpu = torch.cuda.is_available()
    if device == "gpu" and not gpu:
        raise ConfigError("device=gpu, but torch sees no GPU: say device=cpu or device=auto")
    return torch.device("cuda" if gpu and device != "cpu" else "cpu")


def _open_images(images: str, summary: ModelSummary, unread: dict[str, str]) -> list[Case]:
    """Return the images, without what is known of them, shown in the model's channels.

    Files that cannot be opened at all go into `unread`.
    """
    path, dims = Path(images).expanduser(), summary.downstream.spatial_dims

    def meet(error: BadFileError) -> None:
        unread[Path(error.file).name] = str(error)

    found = find_images(path, path, meet) if path.is_dir() else {case_name(path): path}
    files = {name: file for name, file in found.items() if _fits(file, dims)}
    cases: Sequence[Case] = [FileCase(name, file) for name, file in files.items()]
    if not cases:
        cases = open_source(images, dims).cases
    channels = summary.in_channels if dims == 2 and summary.in_channels in (1, 3) else None
    return [
        replace(case, label=None, channels=channels) if isinstance(case, FileCase) else case
        for case in cases
    ]


def _fits(file: Path, dims: int) -> bool:
    return file.exists() and is_picture(file) == (dims == 2)


class _Answer:
    """A model that answers for one image at a time."""

    def __init__(self, model: DownstreamModel, summary: ModelSummary, device: torch.device) -> None:
        self.model = model.to(device)
        self.summary = summary
        self.device = device

    def probabilities(self, image: Tensor) -> Tensor:
        """Return the probabilities `[K, *S]`, or `[K]`, for an image `[C, *S]`, on the CPU."""
        with torch.inference_mode():
            if self.summary.patches:
                outputs = slide(image, self.summary.size, WINDOWS, self._outputs)
            else:
                outputs = self._outputs(image[None])[0]
            return self.summary.downstream.probabilities(outputs[None])[0]

    def _outputs(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.model(images.to(self.device)).cpu()
        return outputs

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
            return scan, summary.preprocessing.place(scan, size, case.name)

    def label(self, case: Case) -> tuple[Tensor, Scan]:
        """Return the label of each voxel `[X, Y, Z]` uint8, on the image's own grid, and that."""
        scan, placed = self.read(case)
        probabilities = self.probabilities(placed.image)
        with one_thread():
            return label_scan(probabilities, placed, scan), scan


def _label_images(
    answer: _Answer, cases: Sequence[Case], folder: Path, existing: Existing, console: Console
) -> Predictions:
    """Write a label map for each image."""
    suffix = PICTURE if answer.summary.downstream.spatial_dims == 2 else VOLUME
    files = {folder / f"{case.name}{suffix}": case for case in cases}
    wanted = {file: files[file] for file in _wanted(files, existing)}
    for file, case in wanted.items():
        if isinstance(case, FileCase) and file.exists() and file.samefile(case.image):
            raise RunError(f"{file} is one of the images themselves: name another folder")
    failed: dict[str, str] = {}
    with show_progress(console) as done:
        for count, (file, case) in enumerate(wanted.items(), start=1):
            try:
                labels, scan = answer.label(case)
            except (DataError, ImageShapeError) as error:
                failed[case.name] = str(error)
                console.print(f"left out: {error}")
                continue
            with _writing(folder):
                write_labels(file, labels, scan, getattr(case, "image", None))
            done("predicting", count, len(wanted))
    written = [file for file, case in wanted.items() if case.name not in failed]
    return Predictions(folder, tuple(written), failed)


def _grade_images(
    answer: _Answer, cases: Sequence[Case], folder: Path, existing: Existing, console: Console
) -> Predictions:
    """Write a table with the class of each image and the probabilities of all classes."""
    labels = answer.summary.labels
    wanted = _wanted([folder / TABLE], existing)
    if not wanted:
        return Predictions(folder, (), {})
    text, failed = io.StringIO(), {}
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["image", "class", "label", *(f"p_{value}" for value in labels)])
    with show_progress(console) as done:
        for count, case in enumerate(cases, start=1):
            try:
                shares = answer.probabilities(answer.read(case)[1].image).tolist()
            except (DataError, ImageShapeError) as error:
                failed[case.name] = str(error)
                console.print(f"left out: {error}")
                continue
            best = shares.index(max(shares))
            row = [case.name, best, labels[best], *(f"{share:.6g}" for share in shares)]
            table.writerow(row)
            done("predicting", count, len(cases))
    with _writing(folder):
        write_whole(wanted[0], lambda beside: beside.write_text(text.getvalue(), encoding="utf-8"))
    return Predictions(folder, tuple(wanted), failed)


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
    return [file for file in files if existing != "skip" or file not in there]


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"out={folder} cannot be written: {error.strerror or error}") from error
