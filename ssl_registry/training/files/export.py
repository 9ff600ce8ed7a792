"""Encoders for other people's code: plain state dicts under their library's own names."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ssl_registry.data.atomic_files import write_whole
from ssl_registry.documents import brief
from ssl_registry.errors import ConfigError, EncoderFileError, RunError, spell
from ssl_registry.foreign_weights import COUNTER, LibraryWeights
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.registry import registry
from ssl_registry.training.files.decoder_file import read_decoder
from ssl_registry.training.files.encoder_file import check_in_channels, load_encoder
from ssl_registry.training.files.encoder_summary import (
    REST,
    EncoderSummary,
    encoder_folder,
    read_encoder_summary,
)
from ssl_registry.training.files.exported_provenance import DATA, beside_of
from ssl_registry.training.files.handed_files import read_weights
from ssl_registry.training.files.image_recipe import IMAGES, METADATA
from ssl_registry.training.files.seen_cases import handed_on

SUFFIXES: Final = (".pt", ".pth", ".safetensors")

PICKLED: Final = (".pth", ".pt")
"""Of files for other programs, which are more than tensors."""

LIBRARY: Final = "library"
"""Said for the library that the network comes from."""

OUTPUTS: Final = 2
"""Classes or output channels of the whole network, where nobody says how many."""


@dataclass(frozen=True)
class Export:
    """What is written for somebody else's code.

    Attributes:
        weights: the state of the library's network, and how it is made.
        about: what goes with them: how images are prepared, what is drawn anew.
        note: what was done to the encoder first, in words; empty for nothing.
    """

    weights: LibraryWeights
    about: dict[str, Any]
    note: str


def export_encoder(
    folder: str | Path,
    out: str | Path,
    *,
    to: str = LIBRARY,
    outputs: int = OUTPUTS,
    in_channels: int | None = None,
    names: bool = False,
) -> LibraryWeights:
    """Write a run's encoder as a state dict that its network's library loads strictly.

        export_encoder("runs/rotation", "densenet.pt", outputs=5)

    What pretraining did not make (a decoder, a classifier) is drawn anew, always the same. A
    decoder that was kept is not part of it: no other library's network has a place for it. It
    lies in the run's folder, as plain tensors, in `decoder.safetensors`. Files for other programs
    (`to`) take it where it fits.

    How images are prepared, which tensors were drawn anew, and what the encoder has seen, as hashes
    of the images, stands under `ssl_registry` in the metadata of a `.safetensors` file, and beside
    a `.pt` in a file of the same name with `.json`. `save_encoder(..., started_from=FILE)` keeps
    it, so that an encoder that comes back is not scored on what it has seen.

    Args:
        folder: of a finished run.
        out: a new file: `.pt` or `.pth`, which `torch.load(..., weights_only=True)` reads, or
            `.safetensors`.
        to: `"library"`, or a program that the backbone writes files for: `"nnunet"`.
        outputs: classes or output channels of the whole network; 0 leaves out the layer that
            gives them.
        in_channels: of the images it is for. Where nothing is said, those of the images that the
            encoder learned from; one that takes others (tiles stacked as channels) is converted,
            as `load_encoder` does.
        names: whether to write what the images were called, and which were held out.

    Raises:
        ConfigError: the file exists, or has another suffix, a number is out of bounds, or the
            backbone writes no files for that program.
        EncoderFileError: there is no encoder in the folder, or it has no place there.
        RunError: the file cannot be written.
    """
    done = write_export(folder, out, to=to, outputs=outputs, in_channels=in_channels, names=names)
    return done.weights


def write_export(
    folder: str | Path,
    out: str | Path,
    *,
    to: str = LIBRARY,
    outputs: int = OUTPUTS,
    in_channels: int | None = None,
    names: bool = False,
) -> Export:
    """Write what `export_encoder` writes, and return all that is to be said of it."""
    path = _check_new(out, to)
    if not isinstance(outputs, int) or outputs < 0:
        raise ConfigError(
            f"outputs={brief(outputs)}: a network has one output or more, or 0 for no head"
        )
    check_in_channels(in_channels)
    summary = read_encoder_summary(folder)
    _check_format(summary, to)
    channels = summary.image_channels if in_channels is None else in_channels
    encoder = load_encoder(folder, in_channels=channels)
    with lend_to_torch(derive_generator(0, "export")):
        if to == LIBRARY:
            weights = summary.backbone.library_weights(encoder, outputs)
            weights = _with_rest(weights, encoder_folder(folder))
        else:
            kept = read_decoder(folder, summary.decoder) if summary.decoder else None
            weights = summary.backbone.export_weights(to, encoder, kept, outputs)
    state = {name: value.detach().cpu().clone() for name, value in weights.state.items()}
    about = {
        IMAGES: summary.image_recipe.as_json(),
        "drawn_anew": sorted(weights.drawn),
        DATA: handed_on(summary.data, names=names),
    }
    content = state if weights.content is None else _on_cpu(weights.content)
    try:
        _write(path, state, content, json.dumps(about, indent=2))
    except (OSError, SafetensorError) as error:
        raise RunError(f"out={spell(out)} cannot be written: {error}") from error
    return Export(weights, about, _converted(summary, encoder.in_channels, in_channels))


def _write(path: Path, state: dict[str, Tensor], content: Any, said: str) -> None:
    """Write the weights, and what goes with them."""
    if path.suffix == ".safetensors":
        # One key alone: safetensors writes several in another order each time.
        write_whole(path, lambda beside: save_file(state, beside, {METADATA: said}))
        return
    write_whole(beside_of(path), lambda text: text.write_text(said + "\n", "utf-8"))
    write_whole(path, lambda beside: torch.save(content, beside))


def _with_rest(weights: LibraryWeights, folder: Path) -> LibraryWeights:
    """Return the weights of a network with what was left over of it when it was imported.

    Raises:
        EncoderFileError: it cannot be read.
    """
    path = folder / REST
    if not path.is_file():
        return weights
    try:
        rest = read_weights(path)
    except (OSError, SafetensorError, MemoryError) as error:
        raise EncoderFileError(f"{spell(path)} cannot be read: {error}") from error
    known = {
        name: rest[name]
        for name in weights.drawn
        if name in rest and rest[name].shape == weights.state[name].shape
    }
    counters = {name for name in weights.drawn if _counts_for(name, known)}
    state, drawn = {**weights.state, **known}, weights.drawn - known.keys() - counters
    remark = "" if not drawn and "drawn anew" in weights.remark else weights.remark
    return weights._replace(state=state, drawn=drawn, remark=remark)


def _counts_for(name: str, known: Mapping[str, Tensor]) -> bool:
    """Whether that is the counter of a normalisation that is known, which files may lack."""
    layer, _, own = name.rpartition(".")
    return own == COUNTER and f"{layer}.running_mean" in known


def _on_cpu(value: Any) -> Any:
    """Return tensors, and mappings of such, cut from any graph; what has two names is kept once."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {key: _on_cpu(part) for key, part in value.items()}
    return value


def _check_format(summary: EncoderSummary, to: str) -> None:
    """See that a backbone writes files for that program.

    Raises:
        ConfigError: it does not.
    """
    formats = (LIBRARY, *summary.backbone.export_formats)
    if to in ("onnx", "torch-export"):
        raise ConfigError(f"to={to} is a graph: ssl_registry.export_graph writes these")
    if to not in formats:
        name = registry.entry_of(summary.backbone).name
        known = [entry.name for entry in registry.entries("backbone") if to in entry.name]
        others = f"; {', '.join(known)} may know {to}" if known else ""
        raise ConfigError(
            f"to={to}: {name} is exported to {', '.join(formats)}{others}; onnx and torch-export "
            "take its graph"
        )


def _check_new(out: str | Path, to: str) -> Path:
    """Return the file to write, once it is seen that there is none yet.

    Raises:
        ConfigError: there is, or it has another suffix.
    """
    path = Path(out).expanduser()
    suffixes = SUFFIXES if to == LIBRARY else PICKLED
    if path.suffix not in suffixes:
        raise ConfigError(f"out={out}: name a file that ends in {', '.join(suffixes)}")
    for file in (path, beside_of(path)):
        if file.exists():
            raise ConfigError(f"out={file} exists: name another file, so that nothing is lost")
    return path


def _converted(summary: EncoderSummary, taken: int, asked: int | None) -> str:
    if taken == summary.in_channels:
        return ""
    why = "as you asked" if asked is not None else f"as the images it learned from have {taken}"
    return (
        f"the encoder takes {summary.in_channels} channels; its first convolution was converted to "
        f"{taken}, {why} (--in-channels {summary.in_channels} keeps it)"
    )
