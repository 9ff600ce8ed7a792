"""The lines of Python that load an exported encoder in its own library."""

from collections.abc import Collection
from pathlib import Path
from typing import Final

from ssl_registry.foreign_weights import LibraryWeights
from ssl_registry.training.files.export import Export
from ssl_registry.training.files.image_recipe import IMAGES

SHOWN: Final = 20
"""Layers that are named one by one."""


def loading_lines(path: Path, export: Export) -> str:
    """Return the Python that makes the network and loads what was written to `path`.

    Comments say what is to be known of it: what was drawn anew, how to take features, and how
    images are prepared.
    """
    weights = export.weights
    if weights.loading:
        return "\n".join([weights.loading.format(file=path), *_comments(export)])
    if path.suffix == ".safetensors":
        load = f'from safetensors.torch import load_file\nstate = load_file("{path}")'
    else:
        load = f'import torch\nstate = torch.load("{path}", weights_only=True)'
    lines = [weights.usage, load, "model.load_state_dict(state)", *_comments(export)]
    return "\n".join(lines)


def _comments(export: Export) -> list[str]:
    lines = [f"# {line}" for line in _remarks(export.weights)]
    lines.append("# images, as ssl_registry.prepare_image(file, encoder) prepares them:")
    steps = export.about[IMAGES]["steps"]
    return lines + [f"#   {number}. {step}" for number, step in enumerate(steps, start=1)]


def _remarks(weights: LibraryWeights) -> list[str]:
    remarks = []
    if weights.drawn:
        remarks.append(
            f"{len(weights.drawn)} of the {len(weights.state)} tensors are drawn anew, not "
            f"learned: {_spell_layers(weights.drawn)}"
        )
    if weights.features:
        remarks.append(f"features, the encoder's coarsest level: {weights.features}")
    if weights.remark:
        remarks.append(weights.remark)
    return remarks


def _spell_layers(names: Collection[str]) -> str:
    """Return the layers that tensors belong to."""
    layers = sorted({name.rpartition(".")[0] or name for name in names})
    more = f" and {len(layers) - SHOWN} more layers" if len(layers) > SHOWN else ""
    return ", ".join(layers[:SHOWN]) + more
