"""Settings of data: which images there are, and how they are divided."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ssl_registry.data.preparing.slice_axes import SliceAxis, SlicesSpec
from ssl_registry.data.sources.layouts import LayoutName, Reading, patterns_in
from ssl_registry.errors import ConfigError
from ssl_registry.training.settings.options import Workers


class DataSettings(BaseModel):
    """Which images, and how they are divided."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    data: str = Field(
        "phantoms",
        description="a Decathlon folder, a table of graded pictures, class folders, images with "
        "masks, a MedMNIST archive, a folder of images, phantoms, phantoms:N",
    )
    group_column: str | None = Field(
        None, description="column of the table that names the patient; no patient is split"
    )
    group_pattern: str | None = Field(
        None, description="the same from the names: a regular expression such as '(.+)_'"
    )
    layout: LayoutName = Field(
        "auto",
        description="how the data are to be read where they can be read in several ways; auto "
        "finds it out, and says which it took",
    )
    channels: tuple[str, ...] = Field(
        (),
        description="files of the channels, in order, for channels in files of their own: patterns "
        "such as '{case}_t1.nii.gz,{case}_t2.nii.gz', or, of BIDS, suffixes such as 'T1w,FLAIR'",
    )
    label_maps: str | None = Field(
        None, description="file of the label map, as a pattern such as '{case}_seg.nii.gz'"
    )
    slices: SlicesSpec = Field(
        None,
        description="take volumes by their slices, for tasks and networks in the plane: thick is "
        "across the axis of the largest spacing, or x, y or z; none takes pictures",
    )
    split: Path | None = Field(
        None,
        description="file that says which cases train, validate and test: a .csv of case,part, or "
        "nnU-Net's splits_final.json; new cases train",
    )
    test_cases: Path | None = Field(
        None,
        description="file that fixes the test set: a case a line, or a .csv with a column case",
    )
    on_bad_data: Literal["stop", "skip"] = Field(
        "stop", description="what to do about files that cannot be used: stop, or leave them out"
    )
    verify: bool = Field(
        False, description="read all files anew, whatever their sizes, dates and inode numbers say"
    )
    test_fraction: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="share of the labelled cases kept for the test score; folds know their own",
    )
    validation_fraction: float = Field(
        0.1, ge=0, lt=1, description="share of the labelled cases kept for the validation curve"
    )
    split_seed: int = Field(0, ge=0, description="which cases these are")
    folds: int = Field(
        1, ge=1, description="divide the labelled cases into so many test sets; 1 holds one out"
    )

    @model_validator(mode="before")
    @classmethod
    def _data_is_text(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("data"), Path):
            values = {**values, "data": str(values["data"])}
        return values

    @field_validator("channels", mode="before")
    @classmethod
    def _channels_are_a_list(cls, value: Any) -> Any:
        """Take channels that are one text with commas, as on a command line."""
        return patterns_in(value) if isinstance(value, str) else value

    @property
    def reading(self) -> Reading:
        """How the data are to be read."""
        return Reading(self.layout, self.channels, self.label_maps)

    @property
    def across(self) -> SliceAxis | None:
        """Across which axis volumes are seen by their slices; None sees images whole."""
        return None if self.slices == "none" else self.slices

    @model_validator(mode="after")
    def _reading_goes_together(self) -> Self:
        _ = self.reading
        return self

    @model_validator(mode="after")
    def _one_split(self) -> Self:
        if self.split is not None and self.test_cases is not None:
            raise ConfigError("split and test_cases both fix the test set: keep one")
        if self.test_cases is not None and self.folds > 1:
            raise ConfigError(
                f"test_cases fixes one test set, but folds={self.folds} asks for several: keep one"
            )
        return self

    @model_validator(mode="after")
    def _splits_leave_something(self) -> Self:
        test, named = self.test_fraction, f"test_fraction={self.test_fraction}"
        if self.folds > 1:
            test, named = 1 / self.folds, f"folds={self.folds}"
        if test + self.validation_fraction >= 1:
            raise ConfigError(
                f"{named} and validation_fraction={self.validation_fraction} leave nothing to "
                "train on: change one of them"
            )
        if self.group_column is not None and self.group_pattern is not None:
            raise ConfigError("group_column and group_pattern both name the patient: keep one")
        return self


class SplitSettings(Workers, DataSettings):
    """Which of the divisions that the data settings allow."""

    fold: int = Field(0, ge=0, description="which of the `folds` is the test set, from 0")

    @model_validator(mode="after")
    def _fold_is_there(self) -> Self:
        # A splits_final.json knows its own folds.
        if self.fold >= self.folds and (self.split is None or self.folds > 1):
            raise ConfigError(f"fold={self.fold}: folds={self.folds} are counted from 0")
        return self
