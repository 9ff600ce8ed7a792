"""Which tensor of a file becomes which of an encoder: names compared, shapes never bent."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor

from ssl_registry.backbone import Backbone, Encoder
from ssl_registry.errors import EncoderFileError, spell
from ssl_registry.foreign_weights import COUNTER, ForeignWeights
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.training.files.handed_files import MOST_CHANNELS

SHOWN: Final = 5
"""Tensors that a message names."""

MOST_SHARING: Final = 16
"""How often more numbers the tensors of a file may name than it holds."""

Fate = Literal["fitted", "left", "missing", "counter"]
"""What became of a tensor: taken; found no place; drawn anew, as it lacked one; set to 0."""


class TensorRow(NamedTuple):
    """A row of the table: one tensor of the file, or of the encoder, or of both.

    Attributes:
        file: its name in the file; empty where the file lacks it.
        encoder: its name in the encoder; empty where that has no place for it.
        shape: of it.
        fate: what became of it.
    """

    file: str
    encoder: str
    shape: tuple[int, ...]
    fate: Fate


@dataclass(frozen=True)
class Fit:
    """How the tensors of a file fit an encoder.

    Attributes:
        encoder: with the file's weights.
        rows: one for each tensor of either.
    """

    encoder: Encoder
    rows: tuple[TensorRow, ...]

    def names(self, fate: Fate) -> list[str]:
        """Return the tensors with that fate, by their names in the encoder or else the file."""
        return [row.encoder or row.file for row in self.rows if row.fate == fate]

    def as_csv(self) -> str:
        """Return the table as text."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(TensorRow._fields)
        for row in self.rows:
            table.writerow((row.file, row.encoder, "x".join(map(str, row.shape)), row.fate))
        return text.getvalue()


def fit_weights(weights: ForeignWeights, build: Callable[[int], Encoder], place: str) -> Fit:
    """Return an encoder with the weights of a file, as far as they go.

    Args:
        weights: what the file holds, and under which names the encoder has it.
        build: makes the encoder for so many channels.
        place: the file, for messages.

    Raises:
        EncoderFileError: a tensor has another shape than the encoder's, holds values that are no
            numbers or others than the encoder computes with, or nothing fits at all.
    """
    _check_stored(weights.tensors, place)
    by_name = _by_own_name(weights, place)
    encoder = build(1)
    channels = _channels(weights, by_name, encoder.state_dict())
    if channels != 1:
        encoder = build(channels)
    own = encoder.state_dict()
    taken = {name: by_name[name] for name in own if name in by_name}
    _check_shapes({n: (f, weights.tensors[f]) for n, f in taken.items()}, own, place)
    state = {name: weights.tensors[file] for name, file in taken.items()}
    _check_kinds({n: (taken[n], value) for n, value in state.items()}, own, place)
    numbers = {taken[name]: value.to(own[name].dtype) for name, value in state.items()}
    _check_numbers({**weights.decoder, **numbers}, place)
    if not state:
        raise EncoderFileError(
            f"{place}: none of its {len(weights.tensors)} tensors ({_some(weights.tensors)}) is "
            f"one of the network's {len(own)} ({_some(own)}): name the backbone that they are of, "
            "or a file with their names (--names FILE; --names order if they lie in its order)"
        )
    counters = {
        name: torch.zeros_like(value)
        for name, value in own.items()
        if name not in state and name.rpartition(".")[2] == COUNTER
    }
    encoder.load_state_dict({**own, **state, **counters})
    return Fit(encoder.eval(), _rows(weights, taken, own, counters))


def _by_own_name(weights: ForeignWeights, place: str) -> dict[str, str]:
    """Return which tensor of the file each of the encoder's is."""
    twice = [name for name, count in Counter(weights.names.values()).items() if count > 1]
    if twice:
        both = [file for file, name in weights.names.items() if name == twice[0]]
        said = " and ".join(map(spell, both[:2]))
        raise EncoderFileError(f"{place}: {said} both stand for {spell(twice[0])}")
    return {name: file for file, name in weights.names.items() if file in weights.tensors}


def _rows(
    weights: ForeignWeights,
    taken: Mapping[str, str],
    own: Mapping[str, Tensor],
    counters: Mapping[str, Tensor],
) -> tuple[TensorRow, ...]:
    rows = []
    for name, value in own.items():
        fate: Fate = "fitted" if name in taken else "counter" if name in counters else "missing"
        rows.append(TensorRow(taken.get(name, ""), name, tuple(value.shape), fate))
    used = {*taken.values(), *weights.decoder}
    rows += [
        TensorRow(file, "", tuple(value.shape), "left")
        for file, value in weights.tensors.items()
        if file not in used
    ]
    return tuple(rows)


def _channels(
    weights: ForeignWeights, by_name: Mapping[str, str], own: Mapping[str, Tensor]
) -> int:
    """Return how many channels the file's network takes, by its first convolutions.

    Those are the weights `[out, in, *K]` that differ from the ones for one channel in the second
    axis alone.
    """
    for name, mine in own.items():
        theirs = weights.tensors[by_name[name]] if name in by_name else mine
        if theirs.ndim == mine.ndim > 2 and mine.shape[1] == 1 < theirs.shape[1] <= MOST_CHANNELS:
            alike = (theirs.shape[0], 1, *theirs.shape[2:]) == tuple(mine.shape)
            if alike:
                return theirs.shape[1]
    return 1


def _check_shapes(
    pairs: Mapping[str, tuple[str, Tensor]], own: Mapping[str, Tensor], place: str
) -> None:
    """See that each tensor has the shape of the encoder's.

    Raises:
        EncoderFileError: one has not.
    """
    odd = [name for name, (_, value) in pairs.items() if value.shape != own[name].shape]
    if odd:
        file, value = pairs[odd[0]]
        more = f", and {len(odd) - 1} more differ" if len(odd) > 1 else ""
        raise EncoderFileError(
            f"{place}: {spell(file)} has the shape {list(value.shape)}, and the network's {odd[0]} "
            f"{list(own[odd[0]].shape)}{more}: it is of another network; name its backbone with "
            "the fields that it was made with"
        )


def _check_stored(tensors: Mapping[str, Tensor], place: str) -> None:
    """See that tensors are plain ones, and that a file names no more numbers than it holds.

    Raises:
        EncoderFileError: one is sparse, quantized or without values, or names more.
    """
    held: dict[int, int] = {}
    named = 0
    for name, value in tensors.items():
        if value.layout != torch.strided or value.is_meta or value.is_quantized:
            raise EncoderFileError(
                f"{place}: {spell(name)} is sparse, quantized or without values: save it as a "
                "plain tensor of floating-point numbers"
            )
        storage = value.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        named += value.numel() * value.element_size()
    if named > MOST_SHARING * sum(held.values()):
        raise EncoderFileError(
            f"{place}: its tensors name {named} bytes, and it holds {sum(held.values())}: they "
            "repeat the same numbers, as weights do not"
        )


def _check_kinds(
    pairs: Mapping[str, tuple[str, Tensor]], own: Mapping[str, Tensor], place: str
) -> None:
    """See that numbers are of the kind that the network computes with.

    Raises:
        EncoderFileError: weights are whole or complex numbers.
    """
    for name, (file, value) in pairs.items():
        if own[name].is_floating_point() and not value.is_floating_point():
            raise EncoderFileError(
                f"{place}: {spell(file)} holds {str(value.dtype).removeprefix('torch.')}, and the "
                f"network's {name} {str(own[name].dtype).removeprefix('torch.')}: take weights "
                "that are not quantized"
            )


def _check_numbers(state: Mapping[str, Tensor], place: str) -> None:
    odd = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if odd:
        raise EncoderFileError(
            f"{place}: {spell(odd[0])} holds values that are NaN or infinite"
            + (f", and so do {len(odd) - 1} more tensors" if len(odd) > 1 else "")
            + ": training had diverged; take an earlier checkpoint"
        )


def _some(names: Mapping[str, Tensor]) -> str:
    shown = map(spell, list(names)[:SHOWN])
    return ", ".join(shown) + (", ..." if len(names) > SHOWN else "")


def drawn_encoder(structure: Backbone, channels: int) -> Encoder:
    """Return a network of weights drawn always alike, which those of a file replace."""
    with lend_to_torch(derive_generator(0, "import")):
        return structure.build(channels)
