"""Anybody's weights as an encoder folder like any other."""

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from safetensors.torch import save
from torch import Tensor

from ssl_registry.backbone import Backbone, Encoder, read_backbone
from ssl_registry.component import explain
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.documents import read_json, read_text
from ssl_registry.errors import (
    ConfigError,
    EncoderFileError,
    PluginError,
    SslRegistryError,
    spell,
)
from ssl_registry.foreign_weights import ForeignWeights, state_in, states_in
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.registry import registry
from ssl_registry.training.files.encoder_file import REST, write_encoder
from ssl_registry.training.files.export import beside_of, read_provenance
from ssl_registry.training.files.image_recipe import ImageRecipe, read_recipe
from ssl_registry.training.files.provenance import versions_of
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.importing.checkpoint_file import read_checkpoint
from ssl_registry.training.importing.fitting import SHOWN, Fit, TensorRow, fit_weights
from ssl_registry.training.settings.runs import DEFAULT_SIZES

STATE_DICT: Final = "state-dict"
"""The format of a bare state dict under the backbone's own names."""

IN_ORDER: Final = "order"
"""Said in place of a file of names: the tensors are the network's in their order."""

TABLE: Final = "import.csv"
"""What became of each tensor: `file,encoder,shape,fate`."""

MOST_NAMES: Final = 2**24
"""Bytes that a file of names may have."""


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


def import_encoder(
    file: str | Path,
    out: str | Path,
    *,
    format: str | None = None,  # noqa: A002, the command's own word
    backbone: Backbone | str | Mapping[str, Any] | None = None,
    names: str | Path | Mapping[str, str] | None = None,
    part: str | None = None,
    seen: str | None = None,
    allow_missing: bool = False,
) -> ImportedEncoder:
    """Write anybody's weights as an encoder folder, which everything here takes.

        import_encoder("resnet18.pth", "runs/imagenet", backbone="timm:resnet18",
                       seen="ImageNet-1k")

    What the file holds besides, such as a classifier, is kept beside the encoder: `export_encoder`
    gives the whole network back.

    Args:
        file: `.safetensors`, or a file of PyTorch's, of which nothing is run.
        out: a new folder: `encoder.safetensors`, `encoder.json`, and `import.csv`, the table of
            what became of each tensor.
        format: whose file it is, where that cannot be told from it: a name in the
            `weight_formats` of a backbone, or `"state-dict"` for the backbone's own names.
        backbone: the network, where the file does not say it.
        names: a `.json` file `{"name in the file": "name in the network"}`, a `.csv` of two such
            columns, or a mapping; `"order"` takes tensors in their order, if their shapes agree.
        part: which state dict to take, where the file holds several: `"model_ema"`.
        seen: what the weights were trained on, in words, for nothing else says so: with it you
            vouch that they have seen no other images. Without, runs that score them ask.
        allow_missing: take a file that lacks some of the encoder's tensors; these are drawn anew.

    Raises:
        EncoderFileError: the file cannot be read, would run something, is of another network, lacks
            tensors, or holds values that are no numbers. Nothing was written.
        ConfigError: what is said contradicts itself, or `out` exists.
    """
    path, folder = Path(file).expanduser(), Path(out).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"out={folder} exists: name a new folder, so that nothing is lost")
    if seen is not None and not seen.strip():
        raise ConfigError('seen="": say what the weights were trained on, or leave it out')
    content = _part_of(read_checkpoint(path), part, path)
    chosen = None if backbone is None else read_backbone(backbone)
    structure, weights = _recognise(content, format, chosen, names, path)
    fit = fit_weights(weights, lambda channels: _build(structure, channels), spell(path))
    missing = fit.names("missing")
    if missing and not allow_missing:
        raise EncoderFileError(
            f"{spell(path)} lacks {len(missing)} of the {_own(fit)} tensors of "
            f"{registry.spec_of(structure)['name']} ({', '.join(missing[:SHOWN])}"
            f"{', ...' if len(missing) > SHOWN else ''}); {len(fit.names('fitted'))} fit and "
            f"{len(fit.names('left'))} are left over: is it another network? --allow-missing "
            "(allow_missing=True) draws them anew"
        )
    return _write(folder, path, structure, weights, fit, seen)


def _own(fit: Fit) -> int:
    return sum(bool(row.encoder) for row in fit.rows)


def _build(structure: Backbone, channels: int) -> Encoder:
    with lend_to_torch(derive_generator(0, "import")):
        return structure.build(channels)


def _part_of(content: Mapping[str, Any], part: str | None, path: Path) -> Mapping[str, Any]:
    """Return the state dict that was asked for, or all that the file holds.

    Raises:
        ConfigError: there is none of that name.
    """
    if part is None:
        return content
    found = states_in(content)
    if part not in found:
        raise ConfigError(
            f"part={part}: {spell(path)} holds {', '.join(map(spell, found)) or 'no state dict'}"
        )
    return found[part]


def _recognise(
    content: Mapping[str, Any],
    format_name: str | None,
    backbone: Backbone | None,
    names: str | Path | Mapping[str, str] | None,
    path: Path,
) -> tuple[Backbone, ForeignWeights]:
    """Return the network and its weights, by what is said or by what the file says.

    Raises:
        EncoderFileError: it cannot be told, or nothing in the file is of that network.
        ConfigError: there is no such format.
    """
    _check_format(format_name)
    if names is not None:
        content = _renamed(content, names, backbone, path)
    if backbone is None:
        backbone = _network_in(content, format_name, path)
    read = [] if format_name == STATE_DICT else [backbone.read_weights(content)]
    own = _under_own_names(content, backbone)
    if format_name in (None, STATE_DICT) and own is not None:
        read.append(own)
    found = [weights for weights in read if weights is not None]
    if format_name not in (None, STATE_DICT):
        found = [w for w in found if format_name in (w.format, *type(backbone).weight_formats)]
    if not found:
        raise EncoderFileError(_no_weights(content, format_name, backbone, path))
    return backbone, max(found, key=lambda weights: len(weights.names))


def _no_weights(
    content: Mapping[str, Any], format_name: str | None, backbone: Backbone, path: Path
) -> str:
    several = states_in(content)
    if len(several) > 1:
        return (
            f"{spell(path)} holds several state dicts: say which with --part (part=...): "
            f"{', '.join(map(spell, several))}"
        )
    keys = ", ".join(spell(str(key)) for key in list(content)[:SHOWN])
    kind = f"of the format {format_name} " if format_name else ""
    return (
        f"{spell(path)} holds nothing {kind}that is {registry.spec_of(backbone)['name']}'s: its "
        f"keys are {keys}{', ...' if len(content) > SHOWN else ''}"
    )


def weight_formats() -> dict[str, list[type[Backbone]]]:
    """Return the formats of other libraries, and the backbones that read them.

    A plugin that cannot be imported costs only itself.
    """
    formats: dict[str, list[type[Backbone]]] = {}
    for cls in _backbones():
        for name in cls.weight_formats:
            formats.setdefault(name, []).append(cls)
    return formats


def _backbones() -> Iterator[type[Backbone]]:
    for entry in registry.entries(kind="backbone"):
        try:
            cls = registry.get(entry.qualified_name)
        except PluginError:
            continue
        if issubclass(cls, Backbone):
            yield cls


def _check_format(format_name: str | None) -> None:
    if format_name in (None, STATE_DICT):
        return
    known = weight_formats()
    if format_name not in known:
        raise ConfigError(
            f"format={format_name}: there is no such format; there are "
            f"{', '.join([*sorted(known), STATE_DICT])}"
        )


def _network_in(content: Mapping[str, Any], format_name: str | None, path: Path) -> Backbone:
    """Return the network that a file says it is of.

    Raises:
        EncoderFileError: it says none, or could be of several.
    """
    classes = _backbones() if format_name is None else weight_formats().get(format_name, [])
    found = {registry.entry_of(cls).name: _recognised_by(cls, content) for cls in classes}
    told = {name: backbone for name, backbone in found.items() if backbone is not None}
    if len(told) == 1:
        return next(iter(told.values()))
    tried = f"of {' or '.join(told)}" if told else "of which network it is"
    keys = ", ".join(spell(str(key)) for key in list(state_in(content) or content)[:SHOWN])
    raise EncoderFileError(
        f"{spell(path)}: it cannot be told {tried} ({keys}, ...): say --backbone (backbone=...), "
        "for instance timm:resnet18; `ssl-registry list --kind backbone` shows which there are"
    )


def _recognised_by(cls: type[Backbone], content: Mapping[str, Any]) -> Backbone | None:
    """Return what a backbone sees in a file; one that stumbles over another's sees nothing."""
    try:
        return cls.recognise(content)
    except (SslRegistryError, ValidationError, TypeError, ValueError, LookupError, AttributeError):
        return None


def _under_own_names(content: Mapping[str, Any], backbone: Backbone) -> ForeignWeights | None:
    """Return a bare state dict under the backbone's own names, perhaps all with a prefix."""
    state = state_in(content)
    if state is None:
        return None
    own = _build(backbone, 1).state_dict().keys()
    best: dict[str, str] = {}
    for prefix in _prefixes(state):
        names = {
            name: name.removeprefix(prefix)
            for name in state
            if name.startswith(prefix) and name.removeprefix(prefix) in own
        }
        best = max(best, names, key=len)
    return ForeignWeights(STATE_DICT, state, best)


def _prefixes(state: Mapping[str, Tensor]) -> list[str]:
    """Return with what all names of a part of the network may begin: nothing, `encoder.`, ..."""
    found = {""}
    for name in state:
        parts = name.split(".")[:3]
        found |= {"".join(f"{part}." for part in parts[:count]) for count in range(1, len(parts))}
    return sorted(found, key=lambda prefix: (prefix.count("."), prefix))


def _renamed(
    content: Mapping[str, Any],
    names: str | Path | Mapping[str, str],
    backbone: Backbone | None,
    path: Path,
) -> Mapping[str, Tensor]:
    """Return the file's tensors under the names that the user gives them.

    Raises:
        EncoderFileError: the file holds no state dict, or several.
        ConfigError: a name is not in the file, or the order does not suit.
    """
    state = state_in(content)
    if state is None:
        held = ", ".join(map(spell, states_in(content))) or "none"
        raise EncoderFileError(
            f"{spell(path)}: names are given to one state dict, and it holds {held}: say --part"
        )
    if names == IN_ORDER:
        return _in_order(state, backbone, path)
    said = dict(names) if isinstance(names, Mapping) else _read_names(Path(names).expanduser())
    absent = [name for name in said if name not in state]
    if absent:
        raise ConfigError(
            f"names: {spell(path)} has no tensor {spell(absent[0])}"
            + (f", nor {len(absent) - 1} more" if len(absent) > 1 else "")
        )
    return {said.get(name, name): value for name, value in state.items()}


def _in_order(
    state: Mapping[str, Tensor], backbone: Backbone | None, path: Path
) -> Mapping[str, Tensor]:
    """Return tensors under the names of a network that has as many of the same shapes, in order."""
    if backbone is None:
        raise ConfigError("names=order: say of which backbone")
    encoder = _build(backbone, 3 if backbone.spatial_dims == 2 else 1)
    library = backbone.library_weights(encoder, _outputs(state))
    for own in (library.state, encoder.state_dict()):
        wanted = {name: v for name, v in own.items() if not name.endswith("num_batches_tracked")}
        there = {name: v for name, v in state.items() if not name.endswith("num_batches_tracked")}
        shapes = [value.shape for value in wanted.values()]
        if shapes == [value.shape for value in there.values()]:
            return dict(zip(wanted, there.values(), strict=True))
    raise EncoderFileError(
        f"{spell(path)}: its {len(state)} tensors have not the shapes of "
        f"{registry.spec_of(backbone)['name']}'s in their order, so names=order cannot be trusted"
    )


def _outputs(state: Mapping[str, Tensor]) -> int:
    """Return of how many classes a state dict's last layer is."""
    last = next((value for value in reversed(list(state.values())) if value.ndim > 0), None)
    return 1 if last is None else len(last)


def _read_names(path: Path) -> dict[str, str]:
    """Return what a file of names says.

    Raises:
        ConfigError: it cannot be read, or says something else.
    """
    if path.suffix == ".json":
        said = read_json(path, ConfigError)
    else:
        text = read_text(path, ConfigError, MOST_NAMES)
        rows: list[Sequence[str]] = [row for row in csv.reader(text.splitlines()) if row]
        if any(len(row) != 2 for row in rows):
            raise ConfigError(f"{spell(path)}: expected two columns, name in the file and in ours")
        said = {row[0].strip(): row[1].strip() for row in rows}
    if not isinstance(said, dict) or not all(isinstance(name, str) for name in said.values()):
        raise ConfigError(f'{spell(path)}: expected names: {{"in the file": "in the network"}}')
    return said


def _write(
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
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    imported = {
        "file": path.name,
        "sha256": digest,
        "format": weights.format,
        "learned_from": weights.learned_from,
        "drawn_anew": fit.names("missing"),
    }
    data: dict[str, Any] = {
        "name": seen or weights.learned_from or f"whatever {path.name} was trained on",
        "image_channels": fit.encoder.in_channels,
        "seen": {},
        "complete": seen is not None,
        **({"declared": seen} if seen else {}),
    }
    ours = _exported(path)
    if ours is not None:
        # What is declared is added to what an export has seen, and never stands in its place.
        declared = {"declared": seen, "complete": True} if seen is not None else {}
        data, recipe = {**ours[0], **declared}, ours[1]
        preprocessing, size = recipe.preprocessing, recipe.size
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
        imported=imported,
    )
    left = {name: weights.tensors[name].contiguous() for name in fit.names("left")}
    if left:
        RunFolder(folder).write_bytes(REST, save(left))
    RunFolder(folder).write(TABLE, fit.as_csv())
    notes = _notes(weights, fit, seen, ours is not None)
    return ImportedEncoder(folder, weights.format, structure, fit.rows, notes)


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
    if weights.learned_from:
        notes.append(f"the file says that it was trained on {spell(weights.learned_from)}")
    if ours:
        return tuple(notes)
    if weights.images:
        notes.append(f"images are prepared as it expects: {json.dumps(dict(weights.images))}")
    else:
        notes.append(
            "the file does not say how images are prepared: they are as this library does it; say "
            "preprocessing=... where you use it"
        )
    if seen is None:
        notes.append(
            "what it has seen is unknown: import it with --seen, or say assume_unseen=true where "
            "it is scored"
        )
    return tuple(notes)
