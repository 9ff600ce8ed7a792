"""Of which network a file of weights is, and in whose format."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from ssl_registry.backbone import Backbone
from ssl_registry.errors import ConfigError, EncoderFileError, PluginError, SslRegistryError, spell
from ssl_registry.foreign_weights import ForeignWeights, state_in, states_in
from ssl_registry.registry import registry
from ssl_registry.training.importing.fitting import SHOWN, drawn_encoder
from ssl_registry.training.importing.tensor_names import rename_tensors

STATE_DICT: Final = "state-dict"
"""The format of a bare state dict under the backbone's own names."""


STUMBLED: Final = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
"""What code raises that takes a file for what it is not; a ValidationError is a ValueError."""


def recognise_weights(
    content: Mapping[str, Any],
    format_name: str | None,
    backbone: Backbone | None,
    names: str | Path | Mapping[str, str] | None,
    path: Path,
) -> tuple[Backbone, ForeignWeights]:
    """Return the network and its weights, by what is said or by what the file says.

    Raises:
        EncoderFileError: the network is not clear, or nothing in the file is of that network.
        ConfigError: there is no such format.
    """
    _check_format(format_name)
    if names is not None:
        content = rename_tensors(content, names, backbone, path)
    if backbone is None:
        backbone = _network_in(content, format_name, path)
    read = [] if format_name == STATE_DICT else [_read_by(backbone, content)]
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
    recognised: dict[str, Backbone] = {}
    refusals: list[EncoderFileError] = []
    for cls in classes:
        try:
            backbone = _recognised_by(cls, content)
        except EncoderFileError as refusal:
            refusals.append(refusal)
            continue
        if backbone is not None:
            recognised[registry.entry_of(cls).name] = backbone
    if len(recognised) == 1:
        return next(iter(recognised.values()))
    if refusals and not recognised:
        raise EncoderFileError(f"{spell(path)}: {refusals[0]}") from refusals[0]
    tried = f"whether it is {' or '.join(recognised)}" if recognised else "of which network it is"
    keys = ", ".join(spell(str(key)) for key in list(state_in(content) or content)[:SHOWN])
    raise EncoderFileError(
        f"{spell(path)}: it does not say {tried} ({keys}, ...): set --backbone (backbone=...), "
        "for instance timm:resnet18; `ssl-registry list --kind backbone` shows which there are"
    )


def _recognised_by(cls: type[Backbone], content: Mapping[str, Any]) -> Backbone | None:
    """Return what a backbone sees in a file; one that stumbles over another's sees nothing.

    Raises:
        EncoderFileError: it knows whose file it is, and has no such network.
    """
    try:
        return cls.recognise(content)
    except EncoderFileError:
        raise
    except (SslRegistryError, *STUMBLED):
        return None


def _read_by(backbone: Backbone, content: Mapping[str, Any]) -> ForeignWeights | None:
    """Return what a backbone reads in a file; nothing where it stumbles over one of others.

    What it refuses in words of its own is refused.
    """
    try:
        return backbone.read_weights(content)
    except SslRegistryError:
        raise
    except STUMBLED:
        return None


def _under_own_names(content: Mapping[str, Any], backbone: Backbone) -> ForeignWeights | None:
    """Return a bare state dict under the backbone's own names, perhaps all with a prefix."""
    state = state_in(content)
    if state is None:
        return None
    own = drawn_encoder(backbone, 1).state_dict().keys()
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
