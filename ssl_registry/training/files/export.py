"""Encoders for other people's code: plain state dicts under their library's own names."""

from pathlib import Path
from typing import Final

import torch
from safetensors.torch import save_file

from ssl_registry.backbone import LibraryWeights
from ssl_registry.data.atomic_files import write_whole
from ssl_registry.errors import ConfigError
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.training.files.encoder_file import load_encoder, read_encoder_summary

SUFFIXES: Final = (".pt", ".pth", ".safetensors")
OUTPUTS: Final = 2
"""Classes or output channels of the whole network, where nobody says how many."""


def export_encoder(
    folder: str | Path, out: str | Path, *, outputs: int = OUTPUTS, in_channels: int | None = None
) -> LibraryWeights:
    """Write a run's encoder as a state dict that its network's library loads strictly.

        export_encoder("runs/rotation", "densenet.pt", outputs=5)

    What pretraining did not make (a decoder, a classifier) is drawn anew, always the same. A
    decoder that was kept is not part of it: no other library's network has a place for it. It
    lies in the run's folder, as plain tensors, in `decoder.safetensors`.

    Args:
        folder: of a finished run.
        out: a new file: `.pt` or `.pth`, which `torch.load(..., weights_only=True)` reads, or
            `.safetensors`.
        outputs: classes or output channels of the whole network.
        in_channels: of the images it is for, as in `load_encoder`.

    Raises:
        ConfigError: the file exists, or has another suffix.
        EncoderFileError: there is no encoder in the folder, or it has no place there.
    """
    path = Path(out).expanduser()
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"out={out}: name a file that ends in {', '.join(SUFFIXES)}")
    if path.exists():
        raise ConfigError(f"out={out} exists: name another file, so that nothing is lost")
    if outputs < 1:
        raise ConfigError(f"outputs={outputs}: a network has one output or more")
    backbone = read_encoder_summary(folder).backbone
    encoder = load_encoder(folder, in_channels=in_channels)
    with lend_to_torch(derive_generator(0, "export")):
        weights = backbone.library_weights(encoder, outputs)
    state = {name: value.detach().cpu().clone() for name, value in weights.state.items()}
    if path.suffix == ".safetensors":
        write_whole(path, lambda beside: save_file(state, beside))
    else:
        write_whole(path, lambda beside: torch.save(state, beside))
    return weights


def loading_lines(path: Path, weights: LibraryWeights) -> str:
    """Return the Python that makes the network and loads what was written to `path`."""
    if path.suffix == ".safetensors":
        load = f'from safetensors.torch import load_file\nstate = load_file("{path}")'
    else:
        load = f'import torch\nstate = torch.load("{path}", weights_only=True)'
    return f"{weights.usage}\n{load}\nmodel.load_state_dict(state)"
