"""The folder that an imported encoder is written into, and what is to be known of it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from safetensors.torch import save

from ssl_registry.backbone import Backbone
from ssl_registry.component import explain
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.errors import EncoderFileError, spell
from ssl_registry.foreign_weights import ForeignWeights
from ssl_registry.training.files.encoder_file import write_encoder
from ssl_registry.training.files.encoder_summary import REST
from ssl_registry.training.files.exported_provenance import beside_of, read_provenance
from ssl_registry.training.files.image_recipe import ImageRecipe, read_recipe
from ssl_registry.training.files.provenance import versions_of
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.importing.fitting import SHOWN, Fit, TensorRow
from ssl_registry.training.settings.runs import DEFAULT_SIZES

TABLE: Final = "import.csv"
"""What became of each tensor: `file,encoder,shape,fate`."""


@dataclass(frozen=True)
class ImportedEncoder:
    """What was made of a file of weights.

    Attributes:
        folder: of the encoder.
        format: as which the file was read.
        backbone: the network.
        rows: what became of each tensor.
        notes: what is to be known of it, in words.
    """

    folder: Path
    format: str
    backbone: Backbone
    rows: tuple[TensorRow, ...]
    notes: tuple[str, ...]

    def count(self, fate: str) -> int:
        """Return how many tensors have that fate: `fitted`, `left`, `missing` or `counter`."""
        return sum(row.fate == fate for row in self.rows)


def write_imported(
    folder: Path,
    path: Path,
    structure: Backbone,
    weights: ForeignWeights,
    fit: Fit,
    seen: str | None,
) -> ImportedEncoder:
    """Write the encoder's files and the table, and say what is to be known."""
    preprocessing = _preprocessing(weights, path)
    size = weights.size or DEFAULT_SIZES[structure.spatial_dims]
    data = _declared_data(path, weights, fit, seen)
    ours = _exported(path)
    if ours is not None:
        # What is declared is added to what an export has seen, and never stands in its place.
        declared = {"declared": seen, "complete": True} if seen is not None else {}
        data, recipe = {**ours[0], **declared}, ours[1]
        preprocessing, size = recipe.preprocessing, recipe.size
    # Copied, for two names of a file may share one tensor.
    left = {name: weights.tensors[name].clone().contiguous() for name in fit.names("left")}
    if left:
        RunFolder(folder).write_bytes(REST, save(left))
    RunFolder(folder).write(TABLE, fit.as_csv())
    write_encoder(
        folder,
        fit.encoder,
        backbone=structure,
        task=None,
        preprocessing=preprocessing,
        size=size,
        patches=ours[1].patches if ours else int(weights.patches),
        data=data,
        versions=versions_of(structure),
        decoder=weights.decoder or None,
        imported=_origin(path, weights, fit),
    )
    notes = _notes(weights, fit, seen, ours is not None)
    return ImportedEncoder(folder, weights.format, structure, fit.rows, notes)


def _origin(path: Path, weights: ForeignWeights, fit: Fit) -> dict[str, Any]:
    """Return what `encoder.json` says of the file that was imported."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "file": path.name,
        "sha256": digest,
        "format": weights.format,
        "learned_from": weights.learned_from,
        "drawn_anew": fit.names("missing"),
    }


def _declared_data(
    path: Path, weights: ForeignWeights, fit: Fit, seen: str | None
) -> dict[str, Any]:
    """Return what `encoder.json` says of the data, as far as somebody declares it."""
    return {
        "name": seen or weights.learned_from or f"whatever {path.name} was trained on",
        "image_channels": fit.encoder.in_channels,
        "seen": {},
        "complete": seen is not None,
        **({"declared": seen} if seen else {}),
    }


def _preprocessing(weights: ForeignWeights, path: Path) -> Preprocessing:
    try:
        return Preprocessing.model_validate(dict(weights.images))
    except ValidationError as error:
        reasons = explain(error, "preprocessing", Preprocessing).replace("\n", "; ")
        raise EncoderFileError(
            f"{spell(path)}: what it says of images cannot be used: {reasons}"
        ) from error


def _exported(path: Path) -> tuple[Mapping[str, Any], ImageRecipe] | None:
    """Return what one of our own exports says of its data and images; None for another file."""
    try:
        data = read_provenance(path)
        return data, read_recipe(path if path.suffix == ".safetensors" else beside_of(path))
    except EncoderFileError:
        return None


def _notes(weights: ForeignWeights, fit: Fit, seen: str | None, ours: bool) -> tuple[str, ...]:
    notes = []
    if ours:
        notes.append("the file says what it has seen and how images are prepared: it is an export")
    if missing := fit.names("missing"):
        notes.append(f"{len(missing)} tensors are drawn anew: {', '.join(missing[:SHOWN])}, ...")
    if ours:
        return tuple(notes)
    if weights.learned_from:
        notes.append(f"the file says that it was trained on {spell(weights.learned_from)}")
    if weights.images:
        notes.append(f"images are prepared as it expects: {json.dumps(dict(weights.images))}")
    else:
        notes.append(
            "the file does not say how images are prepared: they are as this library does it; set "
            "preprocessing=... where you use it"
        )
    if seen is None:
        notes.append(
            "what it has seen is unknown: import it with --seen, or set assume_unseen=true where "
            "it is scored"
        )
    return tuple(notes)
