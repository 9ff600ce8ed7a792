"""How an encoder's images are prepared: as settings, as files keep it, and in words."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open

from ssl_registry.component import explain
from ssl_registry.data.formats.headers import THINNEST
from ssl_registry.data.preparing.foreground import AIR, SPECKS
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.preparing.sizes import Size, sides_of, spell_sides
from ssl_registry.data.preparing.slice_axes import SliceAxis
from ssl_registry.documents import brief, read_json
from ssl_registry.errors import EncoderFileError, spell
from ssl_registry.training.files.handed_files import MOST_CHANNELS
from ssl_registry.training.settings.size_setting import WrittenSize

METADATA: Final = "ssl_registry"
"""Key of a safetensors file's metadata under which an export says where it comes from, as JSON."""

IMAGES: Final = "images"
"""Key of that JSON under which the recipe stands."""


class ImageRecipe(BaseModel):
    """What has to be done to an image before an encoder may see it.

    Attributes:
        dims: 2 for pictures and slices of volumes, 3 for volumes.
        channels: of the image; None where that is not known.
        size: side in pixels or voxels of what the network saw, or its sides along each axis.
        patches: 0 where that was the whole image, fitted; else it was a patch of it.
        preprocessing: the steps, with their numbers.
        slices: across which axis volumes are seen by their slices; None sees images whole.
    """

    model_config = ConfigDict(frozen=True)

    dims: Literal[2, 3]
    channels: int | None = Field(None, ge=1, le=MOST_CHANNELS)
    size: WrittenSize
    patches: int = Field(0, ge=0)
    preprocessing: Preprocessing
    slices: SliceAxis | None = None

    @property
    def of_volumes(self) -> bool:
        """Whether images are volumes, seen whole or by their slices."""
        return self.dims == 3 or self.slices is not None

    @model_validator(mode="after")
    def _sides_fit(self) -> Self:
        sides_of(self.size, self.dims)
        return self

    @property
    def prepared_size(self) -> Size | None:
        """Size of the prepared image; None where it keeps its own, for patches are cut from it."""
        return None if self.patches else self.size

    def as_json(self) -> dict[str, Any]:
        """Return it as files keep it, with its steps in words for readers without this library."""
        return {**self.model_dump(mode="json"), "steps": self.steps()}

    def steps(self) -> list[str]:
        """Return what is done, in its order, in words."""
        how, volume = self.preprocessing, self.of_volumes
        unit = "voxels" if volume else "pixels"
        steps = [self._read()]
        if volume and how.spacing is not None:
            steps.append(f"resample to voxels of {how.spacing} mm, linearly, smoothed beforehand")
        if how.crop:
            what = "slices" if volume else "rows and columns"
            steps.append(
                f"crop outer {what} in which no more than {SPECKS:.0%} of the {unit} rise above "
                f"{AIR:.0%} of {self._range()}, along axes of which {THINNEST} or more are left"
            )
        if self.slices is not None:
            axis = f"the axis {self.slices}"
            if self.slices == "thick":
                axis = "the axis of the scan's largest spacing, the last of equal ones"
            steps.append(f"take the slices across {axis}, each as an image [C, H, W]")
        unit = "voxels" if self.dims == 3 else "pixels"
        side = f"{spell_sides(sides_of(self.size, self.dims))} {unit}"
        if self.patches:
            steps.append(f"keep the image's own sides; the network saw patches of {side}")
        else:
            fitted = {
                "stretch": "each side by itself",
                "pad": "proportions kept, the rest filled with 0 on both sides",
                "crop": "proportions kept, what is over cut off at both ends",
            }
            steps.append(
                f"resample to {side}, linearly, smoothed where that is coarser, {fitted[how.fit]}"
            )
        return [*steps, *self._rescaling()]

    def differences(self, other: Preprocessing) -> list[str]:
        """Return in words in what a run prepares images unlike those that the encoder saw."""
        mine, theirs = self.preprocessing.model_dump(), other.model_dump()
        return [
            f"saw images with preprocessing.{field}={brief(mine[field])}, and these have "
            f"{brief(theirs[field])}"
            for field in mine
            if mine[field] != theirs[field]
        ]

    def _rescaling(self) -> list[str]:
        how, steps = self.preprocessing, []
        if how.window is not None or how.intensities == "range":
            steps.append(f"clip to {self._range()}, and bring that to 0 ... 1")
        if how.intensities == "zscore":
            of = "each channel" if how.channels == "each" else "all channels together"
            steps.append(f"subtract the mean of {of}, and divide by its standard deviation")
        if how.mean is not None:
            steps.append(
                f"subtract {_spell(how.mean)}, and divide by {_spell(how.deviation or ())}, "
                "channel by channel (their averages, where the image has other channels)"
            )
        return steps

    def _read(self) -> str:
        counted = "" if self.channels is None else f" of {self.channels} channels"
        if not self.of_volumes:
            return f"read a picture{counted} as float32 [C, H, W], upright as its EXIF says"
        return f"read a volume{counted} as float32 [C, X, Y, Z], and turn its axes to RAS+"

    def _range(self) -> str:
        how = self.preprocessing
        if how.window is not None:
            return f"{how.window[0]:g} ... {how.window[1]:g}"
        low, high = how.percentiles
        of = "of each channel" if how.channels == "each" else "of all channels together"
        return f"the percentiles {low:g} ... {high:g} {of}"


def _spell(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)


def read_metadata(path: Path) -> Mapping[str, str]:
    """Return what a safetensors file says beside its tensors.

    Raises:
        EncoderFileError: it is no such file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise EncoderFileError(f"{spell(path)} cannot be read: {error}") from error


def read_recipe(path: Path) -> ImageRecipe:
    """Return what an exported safetensors file, or the `.json` beside a `.pt`, says of images.

    Raises:
        EncoderFileError: it is no such file, or says nothing of them.
    """
    try:
        if path.suffix == ".json":
            said = read_json(path, EncoderFileError)[IMAGES]
        else:
            said = json.loads(read_metadata(path)[METADATA])[IMAGES]
        return ImageRecipe.model_validate({k: v for k, v in said.items() if k != "steps"})
    except ValidationError as error:
        reasons = explain(error, METADATA, ImageRecipe).replace("\n", "; ")
        raise EncoderFileError(f"{spell(path)}: its metadata are damaged: {reasons}") from error
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise EncoderFileError(
            f"{spell(path)} does not say how images are prepared: name the folder of the encoder, "
            "or a .safetensors file that `ssl-registry export` wrote"
        ) from error
