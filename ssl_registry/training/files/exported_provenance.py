"""Where weights come from: what an exported file, or the folder of an encoder, says of its data."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file

from ssl_registry.backbone import Backbone, Encoder
from ssl_registry.documents import read_json
from ssl_registry.errors import EncoderFileError, spell
from ssl_registry.training.files.encoder_file import load_encoder
from ssl_registry.training.files.encoder_summary import SUMMARY, WEIGHTS, read_encoder_summary
from ssl_registry.training.files.image_recipe import METADATA, read_metadata

DATA: Final = "data"
"""Key under which an export says what the encoder has seen, as `encoder.json` does."""


def beside_of(path: Path) -> Path:
    """Return the file beside a `.pt` that says what its weights cannot say."""
    return path.with_suffix(path.suffix + ".json")


def read_provenance(place: str | Path) -> Mapping[str, Any]:
    """Return what is said of the data that weights were learned from.

    Args:
        place: folder of an encoder, or a file that `export_encoder` wrote.

    Raises:
        EncoderFileError: there is neither, or the file does not say it.
    """
    path = Path(place).expanduser()
    if path.is_dir() or path.name in (SUMMARY, WEIGHTS):
        return read_encoder_summary(path).data
    said: object = None
    if path.suffix == ".safetensors":
        try:
            said = json.loads(read_metadata(path)[METADATA])
        except (KeyError, ValueError, RecursionError):
            said = None
    elif beside_of(path).is_file():
        said = read_json(beside_of(path), EncoderFileError)
    data = said.get(DATA) if isinstance(said, Mapping) else None
    if not isinstance(data, Mapping):
        raise EncoderFileError(
            f"{spell(path)} does not say what its weights were learned from: name the folder of an "
            "encoder, or a file that `ssl-registry export` wrote (a .pt with its .json beside it)"
        )
    return data


def has_weights_of(place: Path, encoder: Encoder, backbone: Backbone) -> bool:
    """Whether an encoder has, bit for bit, the weights of a folder or an exported file.

    Of a `.pt` it is not known: it would have to be unpickled.

    Raises:
        EncoderFileError: they cannot be read.
    """
    path = place.expanduser()
    if path.suffix == ".safetensors" and path.name != WEIGHTS:
        theirs = load_file(path)
        weights = backbone.library_weights(encoder, 0)
        ours = {name: t for name, t in weights.state.items() if name not in weights.drawn}
    elif path.is_dir() or path.name in (SUMMARY, WEIGHTS):
        theirs = load_encoder(path).state_dict()
        ours = encoder.state_dict()
    else:
        return False
    return all(name in theirs and torch.equal(value, theirs[name]) for name, value in ours.items())
