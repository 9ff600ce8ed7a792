"""Prediction: a fine-tuned model labels new images, each on its own grid."""

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import torch
from torch import Tensor

from ssl_registry.data.atomic_files import write_whole
from ssl_registry.data.cache.index import Done
from ssl_registry.data.formats.label_files import ARRAY, PICTURE, VOLUME, write_labels, write_values
from ssl_registry.data.formats.scans import Scan
from ssl_registry.data.label_classes import as_values
from ssl_registry.data.sources.cases import Case, FileCase
from ssl_registry.data.sources.layouts import LayoutName, Reading
from ssl_registry.errors import BadFileError, DataError, ImageShapeError, RunError, SslRegistryError
from ssl_registry.progress import ProgressBar
from ssl_registry.training.ensemble import Ensemble, load_ensemble
from ssl_registry.training.ensemble_answers import ScanAnswer
from ssl_registry.training.preparation.cases import quiet_or_loud
from ssl_registry.training.unlabelled_images import LeaveOut, open_unlabelled

TABLE: Final = "predictions.csv"
"""Where classes are written: a row for each image."""

PROBABILITIES: Final = "_probabilities"
AGREEMENT: Final = "_agreement"
"""What stands behind the name of an image in the names of further files."""

LONGEST_NAME: Final = 200
"""Bytes of an image's name without suffix: file systems allow 255, ours and what is added to be
written safely included."""

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
    run: str | Path | Sequence[str | Path],
    images: str | Path,
    out: str | Path,
    *,
    probabilities: bool = False,
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
    with its header, or a mask `NAME.png` for each picture, with the values that stand for the
    labels in the data that it learned from; a classification gives `predictions.csv`. An image that
    cannot be predicted is left out and said.

    Args:
        run: folder of a finished fine-tuning run; of several, their probabilities are averaged,
            and how many of them agree is written too: `NAME_agreement.nii.gz` or `.npz`, the share
            of the models whose own answer it is, or a column of the table.
        images: a folder of images, one image (a file, or a folder of DICOM slices), or whatever
            else `data` may name; labels that are there are not looked at. Files called
            `<case>_0000`, `<case>_0001` in nnU-Net's way are the channels of one image, `<case>`.
        out: folder for the predictions.
        probabilities: write the probabilities of all labels, in the order of their values, too, on
            the image's own grid:
            `NAME_probabilities.nii.gz` `[X, Y, Z, K]`, or of a picture `.npz` `[H, W, K]`, float32.
            A table of classes has them always.
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
    console = quiet_or_loud(quiet)
    runs = [run] if isinstance(run, (str, Path)) else list(run)
    ensemble = load_ensemble(runs, device=device, mirror=mirror, console=console)
    summary = ensemble.summary
    failed: dict[str, str] = {}

    def leave_out(name: str, error: SslRegistryError) -> None:
        failed[name] = str(error)
        console.print(f"left out: {error}")

    reading = Reading(layout, tuple(channels))
    cases, notes = open_unlabelled(str(images), summary, reading, leave_out)
    for note in notes:
        console.print(f"{images}: {note}")
    work = _Work(ensemble, cases, Path(out).expanduser(), existing, leave_out, probabilities)
    with ProgressBar(console) as bar:
        mask = summary.downstream.target_kind == "mask"
        files = work.label_all(bar.advance) if mask else work.grade_all(bar.advance)
    return Predictions(work.folder, tuple(files), failed)


@dataclass(frozen=True)
class _Work:
    """What is to be predicted, by which models, and where it goes."""

    ensemble: Ensemble
    cases: Sequence[Case]
    folder: Path
    existing: Existing
    leave_out: LeaveOut
    probabilities: bool

    def label_all(self, done: Done) -> list[Path]:
        """Write a label map for each image; return the files."""
        suffix = PICTURE if self.ensemble.summary.image_dims == 2 else VOLUME
        cases = [case for case in self.cases if self._may_be_named(case)]
        files = {self.folder / f"{case.name}{suffix}": case for case in cases}
        made = {file: [file, *self._further_files(case)] for file, case in files.items()}
        _check_apart([file for some in made.values() for file in some], cases)
        wanted = _wanted(made, self.existing)
        written = []
        scans = self.ensemble.read([files[file] for file in wanted])
        for count, (file, read) in enumerate(zip(wanted, scans, strict=True), start=1):
            case = files[file]
            try:
                answer = self.ensemble.label(case, read)
                labels = answer.labels()
            except (DataError, ImageShapeError) as error:
                self.leave_out(case.name, error)
            else:
                source = getattr(case, "image", None)
                with _writing(self.folder):
                    self._write_further(case, answer, labels)
                    values = as_values(labels, self.ensemble.summary.label_values)
                    write_labels(file, values, answer.scan, source)
                written.append(file)
            done("predicting", count, len(wanted))
        return written

    def _may_be_named(self, case: Case) -> bool:
        """Whether files may be called after a case; if not, it is left out."""
        length = len(os.fsencode(Path(case.name).name))
        if length > LONGEST_NAME:
            what = f"has a name of {length} bytes: predictions could not be called after it"
            file = case.image if isinstance(case, FileCase) else case.name
            self.leave_out(case.name, BadFileError(file, what, "rename it"))
        return length <= LONGEST_NAME

    def _further_files(self, case: Case) -> list[Path]:
        """Return what is written beside the label map of a case."""
        suffix = ARRAY if self.ensemble.summary.image_dims == 2 else VOLUME
        names = [PROBABILITIES] if self.probabilities else []
        names += [AGREEMENT] if len(self.ensemble.members) > 1 else []
        return [self.folder / f"{case.name}{name}{suffix}" for name in names]

    def _write_further(self, case: Case, answer: ScanAnswer, labels: Tensor) -> None:
        """Write probabilities, and how many models agree, beside the label map of a case."""
        source = getattr(case, "image", None)
        if self.probabilities:
            shares = torch.stack(list(answer.probabilities()), dim=-1)
            self._write_values(f"{case.name}{PROBABILITIES}", shares, answer.scan, source)
        if len(answer.placed) > 1:
            agreement = answer.agreement(labels)
            self._write_values(f"{case.name}{AGREEMENT}", agreement, answer.scan, source)

    def _write_values(self, name: str, values: Tensor, scan: Scan, source: Path | None) -> None:
        picture = self.ensemble.summary.image_dims == 2
        file = self.folder / f"{name}{ARRAY if picture else VOLUME}"
        write_values(file, values, scan, source)

    def grade_all(self, done: Done) -> list[Path]:
        """Write a table with the class of each image and the probabilities of all classes."""
        wanted = _wanted({self.folder / TABLE: [self.folder / TABLE]}, self.existing)
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        labels, several = self.ensemble.summary.labels, len(self.ensemble.members) > 1
        further = ["agreement"] if several else []
        table.writerow(["image", "class", "label", *(f"p_{value}" for value in labels), *further])
        cases = self.cases if wanted else ()
        scans = self.ensemble.read(cases)
        for count, (case, read) in enumerate(zip(cases, scans, strict=True), start=1):
            try:
                answer = self.ensemble.grade(case, read)
            except (DataError, ImageShapeError) as error:
                self.leave_out(case.name, error)
            else:
                shares = [f"{share:.6g}" for share in answer.probabilities.tolist()]
                agreed = [f"{answer.agreement:.6g}"] if several else []
                row = [case.name, answer.grade, labels[answer.grade], *shares, *agreed]
                table.writerow(row)
            done("predicting", count, len(self.cases))
        for file in wanted:
            with _writing(self.folder):
                write_whole(file, lambda beside: beside.write_text(text.getvalue(), "utf-8"))
        return wanted


def _check_apart(files: Sequence[Path], cases: Sequence[Case]) -> None:
    """See that no prediction takes the place of an image, or of another prediction.

    Raises:
        RunError: one would.
    """
    for file, count in Counter(files).items():
        if count > 1:
            raise RunError(f"{file} would be written for two images: rename one of them")
    images = [image for case in cases if isinstance(case, FileCase) for image in case.images]
    known = {(found.st_dev, found.st_ino) for found in map(os.stat, filter(Path.exists, images))}
    for file in files:
        if file.exists() and (file.stat().st_dev, file.stat().st_ino) in known:
            raise RunError(f"{file} is one of the images themselves: name another folder")


def _wanted(made: Mapping[Path, Sequence[Path]], existing: Existing) -> list[Path]:
    """Return the files to write, each of which stands for all that is written with it.

    Raises:
        RunError: some are there already, and nobody said what to do with them.
    """
    there = [file for files in made.values() for file in files if file.exists()]
    if there and existing == "refuse":
        raise RunError(
            f"{len(there)} predictions are there already ({there[0]}, ...): use --overwrite, or "
            "--skip-existing to make the others alone, or name another folder"
        )
    if existing != "skip":
        return list(made)
    return [file for file, files in made.items() if not all(one.exists() for one in files)]


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"out={folder} cannot be written: {error.strerror or error}") from error
