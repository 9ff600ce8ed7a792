"""Cases and sources: one image each, with or without labels, and the set they come from."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, TypeAlias

from ssl_registry.data.formats.pictures import is_picture, read_picture
from ssl_registry.data.formats.scans import Scan, read_scan
from ssl_registry.data.formats.volumes import files_of
from ssl_registry.data.problems import Problem
from ssl_registry.data.sources.contents import Contents
from ssl_registry.data.sources.counted_unit import CountedUnit, LabelCounting
from ssl_registry.data.sources.grouping import PatientNote, patients_by_column, patients_by_pattern
from ssl_registry.data.sources.patient_names import describe_spellings, one_spelling
from ssl_registry.errors import BadFileError

Part: TypeAlias = Literal["train", "validation", "test"]

CLASS: Final = "class "
"""What stands before the name of a class, where hashes of label maps stand elsewhere."""

Parts: TypeAlias = Mapping[str, Part]
"""The part in which each case lies, by its name."""


class Case(ABC):
    """One image of a source.

    Attributes:
        name: unique in its source.
        grade: the class of the whole image, where it has one.
        label_values: what may stand in its label map; empty where it has none, or where these are
            the classes.
    """

    name: str
    grade: int | None
    label_values: frozenset[int] = frozenset()

    @property
    @abstractmethod
    def labelled(self) -> bool:
        """Whether there is a class or a label map."""

    @property
    @abstractmethod
    def files(self) -> tuple[Path, ...]:
        """The files that `read` reads, in an order that means something."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Words on which, besides the content of `files`, depends what `read` returns."""

    @property
    @abstractmethod
    def bytes_on_disk(self) -> int:
        """Size of the image's file; 0 where it has none of its own."""

    def read(self) -> Scan:
        """Return the image and its label map, checked.

        Raises:
            BadFileError: a file is missing, unreadable or wrong; the error names it and the
                case.
        """
        try:
            return self._read()
        except BadFileError as error:
            error.case = self.name
            raise

    @abstractmethod
    def _read(self) -> Scan:
        """Return the image and its label map, checked; what `read` does."""


@dataclass(frozen=True)
class FileCase(Case):
    """An image in a file: a volume or a picture (png, jpg, tif); or a DICOM series in a folder.

    Channels may lie in files of their own, on one grid, and are stacked in their order.

    Attributes:
        image: the file, or that of the first channel.
        further: files of the other channels.
        label: file of the label map.
        label_values: what may stand in it.
        channels: of a picture, so that grey ones among coloured ones become like them.
        holds: values that its label map is known to hold, since they are the labels of its source.
        voxel_files: the files of volumes whose headers were read for them, by those of `images`
            and `label`; of others they are looked up when they are asked for.
    """

    name: str
    image: Path
    label: Path | None = None
    label_values: frozenset[int] = frozenset()
    grade: int | None = None
    channels: int | None = None
    further: tuple[Path, ...] = ()
    holds: frozenset[int] | None = field(default=None, compare=False)
    voxel_files: Mapping[Path, tuple[Path, ...]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def images(self) -> tuple[Path, ...]:
        """The files of the image, one alone or one a channel, without the label map."""
        return (self.image, *self.further)

    @property
    def image_files(self) -> tuple[Path, ...]:
        """All files that the image consists of: those of `images`, their voxels, all slices."""
        return tuple(file for image in self.images for file in self.files_of(image))

    @property
    def labelled(self) -> bool:  # noqa: D102
        return self.label is not None or self.grade is not None

    @property
    def files(self) -> tuple[Path, ...]:  # noqa: D102
        labels = () if self.label is None else self.files_of(self.label)
        return (*self.image_files, *labels)

    def files_of(self, image: Path) -> tuple[Path, ...]:
        """Return the files that one of its images, or the label map, consists of."""
        return self.voxel_files.get(image) or files_of(image)

    @property
    def identity(self) -> str:  # noqa: D102
        return (
            f"images:{len(self.images)}|channels:{self.channels}|labels:{sorted(self.label_values)}"
        )

    @property
    def bytes_on_disk(self) -> int:  # noqa: D102
        return sum(file.stat().st_size for file in self.image_files)

    def _read(self) -> Scan:
        if is_picture(self.image):
            return read_picture(
                self.image, self.label, self.label_values, self.channels, self.further
            )
        return read_scan(self.image, self.label, self.label_values, self.further)


@dataclass(frozen=True)
class Source:
    """Where images come from.

    Attributes:
        name: what the user called it.
        cases: in the order of their names, or of the list they stand in.
        dims: 2 for pictures, 3 for volumes.
        labels: what each label value or class means; empty where there are none. The classes that
            are learnt are the values in order, see `label_classes`.
        groups: patient of each case, by its name; empty where every case is its own.
        parts: division that the data's authors made; it may leave cases open.
        columns: further columns of the table that lists the cases, by the cases' names.
        modalities: channels that the images should have, where the data say so.
        notes: what was found and how it was handled, for the user to read.
        skipped: what was left out because it cannot be used.
        layout: as which the data were read, by the name that `layout=` takes.
        channel_names: what the channels show, where the data say so.
        regions: labels that are made of several values, by their names.
        left_out: files that are no part of any case, and why.
        contents: what each case shows, by its name, once the cases were read.
    """

    name: str
    cases: tuple[Case, ...]
    dims: Literal[2, 3]
    labels: Mapping[int, str] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    parts: Parts = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    modalities: int | None = None
    notes: tuple[str, ...] = ()
    skipped: tuple[Problem, ...] = ()
    layout: str = ""
    channel_names: tuple[str, ...] = ()
    regions: Mapping[str, frozenset[int]] = field(default_factory=dict)
    left_out: tuple[Problem, ...] = ()
    contents: Mapping[str, Contents] = field(default_factory=dict)

    @property
    def labelled(self) -> tuple[Case, ...]:
        """The cases that have labels."""
        return tuple(case for case in self.cases if case.labelled)

    @property
    def graded(self) -> bool:
        """Whether the labels are one class for each image, not one for each voxel."""
        return any(case.grade is not None for case in self.cases)

    def label_of(self, case: Case) -> str:
        """Return what a case is labelled with: a class by its name, or the hash of a label map."""
        if case.grade is not None:
            return f"{CLASS}{self.labels.get(case.grade, case.grade)}"
        return self.contents[case.name].label

    def classes_in(self, case: Case) -> frozenset[int] | None:
        """Return the label values, or the class, that a case shows; None where that is unknown.

        It is known of grades, and of label maps that were read.
        """
        if case.grade is not None:
            return frozenset({case.grade})
        if case.name in self.contents:
            return self.contents[case.name].values
        return case.holds if isinstance(case, FileCase) else None

    def without(self, names: Collection[str]) -> "Source":
        """Return the source without the cases of these names."""
        return replace(self, cases=tuple(c for c in self.cases if c.name not in names))

    def group_of(self, case: Case) -> str:
        """Return the patient of a case, or its own name."""
        return self.groups.get(case.name, case.name)

    def unit_of(self, count: LabelCounting) -> CountedUnit:
        """Return what is counted where patients are asked for: cases, if none are known."""
        return "patients" if self.groups and count != "cases" else "cases"

    def grouped(self, column: str | None, pattern: str | None) -> "Source":
        """Return the source with patients, from a column of its table or from the names.

        Args:
            column: of the table that lists the cases.
            pattern: regular expression whose one group is the patient, for instance
                `"(.+)_"`; matched at the start of a case's name, folder left out unless the
                pattern holds a `/`.

        Raises:
            DataError: there is no such column, or the pattern is wrong or misses a case.
        """
        if column is not None:
            patients = patients_by_column(column, self.columns, self.name)
        elif pattern is not None:
            patients = patients_by_pattern(pattern, [case.name for case in self.cases])
        else:
            return self
        notes = (note for note in self.notes if not isinstance(note, PatientNote))
        return replace(self, notes=tuple(notes)).with_patients(patients)

    def with_patients(self, groups: Mapping[str, str]) -> "Source":
        """Return the source with the patient of each case, however often one is misspelt."""
        same = one_spelling(groups)
        return replace(self, groups=same, notes=(*self.notes, *describe_spellings(groups, same)))
