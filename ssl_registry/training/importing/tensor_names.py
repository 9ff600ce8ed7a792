"""A file's tensors under the names that the user gives them."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from ssl_registry.backbone import Backbone
from ssl_registry.documents import read_json, read_text
from ssl_registry.errors import ConfigError, EncoderFileError, spell
from ssl_registry.foreign_weights import state_in, states_in
from ssl_registry.registry import registry
from ssl_registry.training.importing.fitting import drawn_encoder

IN_ORDER: Final = "order"
"""Said in place of a file of names: the tensors are the network's in their order."""


MOST_NAMES: Final = 2**24
"""Bytes that a file of names may have."""


def rename_tensors(
    content: Mapping[str, Any],
    names: str | Path | Mapping[str, str],
    backbone: Backbone | None,
    path: Path,
) -> Mapping[str, Tensor]:
    """Return the file's tensors under the names that the user gives them.

    Raises:
        EncoderFileError: the file holds no state dict, or several.
        ConfigError: a name is not in the file, two tensors get the same one, or the order does
            not suit.
    """
    state = state_in(content)
    if state is None:
        held = ", ".join(map(spell, states_in(content))) or "none"
        raise EncoderFileError(
            f"{spell(path)}: names are given to one state dict, and it holds {held}: use --part"
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
    named = {said.get(name, name): value for name, value in state.items()}
    if len(named) < len(state):
        twice = Counter(said.get(name, name) for name in state).most_common(1)[0][0]
        both = [spell(name) for name in state if said.get(name, name) == twice]
        raise ConfigError(f"names: {' and '.join(both[:2])} would both be called {spell(twice)}")
    return named


def _in_order(
    state: Mapping[str, Tensor], backbone: Backbone | None, path: Path
) -> Mapping[str, Tensor]:
    """Return tensors under the names of a network that has as many of the same shapes, in order."""
    if backbone is None:
        raise ConfigError("names=order: say of which backbone")
    encoder = drawn_encoder(backbone, 3 if backbone.spatial_dims == 2 else 1)
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
