"""One image file, prepared as the images were that an encoder learned from."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ssl_registry.backbone import Encoder
from ssl_registry.data.cache.threads import one_thread
from ssl_registry.data.formats.pictures import is_picture
from ssl_registry.data.formats.volumes import case_name
from ssl_registry.data.sources.cases import FileCase
from ssl_registry.errors import ConfigError, DataError, spell
from ssl_registry.training.files.encoder_summary import (
    WEIGHTS,
    encoder_folder,
    read_encoder_summary,
)
from ssl_registry.training.files.image_recipe import ImageRecipe, read_recipe


def prepare_image(file: str | Path | Sequence[str | Path], encoder: str | Path | Encoder) -> Tensor:
    """Return an image as an encoder's training saw it, bit for bit.

        image = prepare_image("scan.nii.gz", "runs/rpl")  # [C, 64, 64, 64]
        pyramid = load_encoder("runs/rpl")(image[None])

    Args:
        file: a volume, a picture, or the folder of a DICOM series; several where each channel
            has its own, in their order.
        encoder: the folder of an encoder, an encoder that `load_encoder` returned, or a
            `.safetensors` file that `export` wrote.

    Returns:
        `[C, *S]` float32. An encoder that learned from patches has seen parts of it. For one that
        learned from the slices of volumes, all slices, `[N, C, H, W]`.

    Raises:
        DataError: the image cannot be read or prepared, or is of other dimensions or channels
            than those that the encoder learned from.
        EncoderFileError: nothing says how images are prepared.
    """
    recipe = _recipe_of(encoder)
    first, *further = _files(file)
    flat = is_picture(first)
    if flat == recipe.of_volumes:
        kinds = {True: "a picture", False: "a volume"}
        raise DataError(
            f"{spell(first)} is {kinds[flat]}; the encoder learned from "
            f"{'volumes' if recipe.of_volumes else 'pictures'}"
        )
    # Grey pictures among coloured ones became like them, as in training.
    alike = recipe.channels if flat and not further and recipe.channels in (1, 3) else None
    case = FileCase(case_name(first), first, channels=alike, further=tuple(further))
    with one_thread():
        scan = case.read()
        found = scan["image"].data.shape[0]
        if recipe.channels is not None and found != recipe.channels:
            raise DataError(
                f"{spell(first)} has {found} channels; the images that the encoder learned from "
                f"had {recipe.channels}"
            )
        placed = recipe.preprocessing.place(scan, recipe.prepared_size, case.name, recipe.slices)
        return placed.image if placed.across is None else placed.image.movedim(1, 0).contiguous()


def _files(file: str | Path | Sequence[str | Path]) -> list[Path]:
    files = [file] if isinstance(file, (str, Path)) else list(file)
    paths = [Path(one).expanduser() for one in files]
    if not paths:
        raise ConfigError("file=[]: name the file of an image, or one for each channel")
    for path in paths:
        if not path.exists():
            raise DataError(f"{spell(path)}: there is no such file")
    return paths


def _recipe_of(encoder: str | Path | Encoder) -> ImageRecipe:
    if isinstance(encoder, Encoder):
        if not isinstance(encoder.image_recipe, ImageRecipe):
            raise ConfigError(
                f"this {type(encoder).__name__} was not loaded from files, so how its images were "
                "prepared is unknown: name the folder of the encoder"
            )
        return encoder.image_recipe
    path = encoder_folder(encoder)
    if path.suffix == Path(WEIGHTS).suffix and path.is_file():
        return read_recipe(path)
    return read_encoder_summary(path).image_recipe
