"""Decoder files: what a pretext task taught its decoder, in `decoder.safetensors`.

`encoder.json` beside it describes it under `decoder`; without that entry there is none.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel, Field
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn

from ssl_registry.errors import EncoderFileError
from ssl_registry.training.files.handed_files import read_weights
from ssl_registry.training.files.run_folder import RunFolder

DECODER: Final = "decoder.safetensors"


class DecoderSummary(BaseModel):
    """What `encoder.json` says of the decoder beside it.

    Attributes:
        structure: class of the module that was trained.
        tensors: how many there are.
        parameters: how many numbers in all.
    """

    structure: str = Field(max_length=200)
    tensors: int = Field(ge=1)
    parameters: int = Field(ge=1)


def write_decoder(folder: Path, decoder: nn.Module | Mapping[str, Tensor]) -> DecoderSummary:
    """Write a decoder's weights, of a module or by name; return what `encoder.json` says of them.

    Raises:
        RunError: they cannot be written.
    """
    module = isinstance(decoder, nn.Module)
    named = decoder.state_dict() if isinstance(decoder, nn.Module) else decoder
    weights = {
        name: value.detach().cpu().clone().contiguous()  # tied weights have one place each
        for name, value in named.items()
    }
    RunFolder(folder).write_bytes(DECODER, save(weights))
    numbers = sum(value.numel() for value in weights.values())
    return DecoderSummary(
        structure=type(decoder).__name__ if module else "imported",
        tensors=len(weights),
        parameters=numbers,
    )


def read_decoder(folder: str | Path, summary: DecoderSummary) -> Mapping[str, Tensor]:
    """Return the weights of the decoder in a run's folder; nothing is unpickled.

    Raises:
        EncoderFileError: there are none, or others than `encoder.json` describes.
    """
    path = Path(folder).expanduser() / DECODER
    try:
        weights = read_weights(path)
    except (OSError, SafetensorError, MemoryError) as error:
        raise EncoderFileError(
            f"{path} cannot be read, though encoder.json describes it: {error}; copy the folder "
            "again as a whole, or set transfer=encoder"
        ) from error
    numbers = sum(value.numel() for value in weights.values())
    if (len(weights), numbers) != (summary.tensors, summary.parameters):
        raise EncoderFileError(
            f"{path} holds {len(weights)} tensors of {numbers:,} numbers, but encoder.json says "
            f"{summary.tensors} of {summary.parameters:,}: they belong to different runs"
        )
    return weights
