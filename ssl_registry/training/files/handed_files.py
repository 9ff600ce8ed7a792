"""Model files that a user was handed: what they say is checked before memory is taken for it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from safetensors.torch import load_file
from torch import Tensor, nn

from ssl_registry.backbone import Backbone
from ssl_registry.component import explain
from ssl_registry.data.preparing.sizes import Size, sides_of
from ssl_registry.documents import brief, read_json
from ssl_registry.errors import ConfigError, SslRegistryError, spell
from ssl_registry.training.files.room import TooLargeError, count_values

MOST_CHANNELS: Final = 2**14
"""Channels that a network may be said to take."""

MOST_SAID: Final = 1000
"""Characters of what torch says about weights that do not fit; it names every one of them."""

M = TypeVar("M", bound=BaseModel)


def read_described(
    path: Path, model: type[M], format_number: int, error: type[SslRegistryError]
) -> M:
    """Return what a JSON file beside the weights says.

    Raises:
        error: it cannot be read, is of another format, or does not say what `model` needs.
    """
    said = read_json(path, error)
    written = said.get("format", format_number) if isinstance(said, dict) else format_number
    if written != format_number:
        raise error(
            f"{spell(path)} has format {brief(written)}; this release reads format {format_number}"
        )
    try:
        return model.model_validate(said)
    except ValidationError as cause:
        reasons = explain(cause, path.name, model).replace("\n", "; ")
        raise error(f"{spell(path)} is damaged: {reasons}") from cause


def check_written_size(
    size: Size, backbone: Backbone, path: Path, error: type[SslRegistryError]
) -> None:
    """See that a size in a file has a side for each axis that the network works on.

    Raises:
        error: it has not.
    """
    try:
        sides_of(size, backbone.spatial_dims, "images of its network")
    except ConfigError as cause:
        raise error(f"{spell(path)} is damaged: {cause}") from cause


def check_room(
    build: Callable[[], nn.Module],
    weights: Mapping[str, Tensor],
    path: Path,
    error: type[SslRegistryError],
) -> None:
    """See, before memory is taken for a network, that it has no more weights than there are.

    Args:
        build: makes the network; here it does so without memory, or within bounds of it.
        weights: what the file holds.
        path: the file.
        error: what to raise.

    Raises:
        error: the network has more.
        RuntimeError: it has more than can be counted.
    """
    there = sum(value.numel() for value in weights.values())
    try:
        needed = count_values(build, weights)
    except TooLargeError:
        needed = None
    if needed is None or needed > there:
        has = "more" if needed is None else f"{needed:,}"
        raise error(
            f"{spell(path)} holds {there:,} weights, but the network that is described beside it "
            f"has {has}"
        )


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Raises:
        OSError: there is no such file. A pipe in its place, which would be waited for, is none.
        SafetensorError: it is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {spell(path.name)}")
    return load_file(path)


def misfit(path: Path, summary: str, cause: BaseException) -> str:
    """Return in words that weights are not those of the network that a summary describes."""
    said = " ".join(str(cause).split())  # torch writes a line for each weight
    return f"{spell(path)} does not hold the weights of {summary}: {said[:MOST_SAID]}"
