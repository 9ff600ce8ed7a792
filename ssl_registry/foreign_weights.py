"""Weights under the names of other libraries: as their files hold them, and as they load ours."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from torch import Tensor

COUNTER: Final = "num_batches_tracked"
"""How many batches a batch normalisation has seen: older files lack it, and nothing reads it."""

DEEPEST: Final = 8
"""Dictionaries within one another that are looked into; a file may hold one that holds itself."""


class ForeignWeights(NamedTuple):
    """Weights of a network under the names of another library, and what its file says of them.

    Attributes:
        format: what kind of file it is, one of the backbone's `weight_formats`.
        tensors: all that the file holds, by their names there.
        names: under which name the encoder's `state_dict()` has each; those without one are left.
        images: how images are to be prepared, as fields of `preprocessing`; what is not said is
            as the library does it by default.
        size: side in pixels or voxels of what the network saw, or one a spatial axis; None where
            nothing is said.
        patches: whether that were patches of an image.
        decoder: weights of a decoder beside the encoder, under the names of
            `ssl_registry.heads.UNetDecoder`; empty where there is none.
        learned_from: what the file says of the data it was trained on, in words.
    """

    format: str
    tensors: Mapping[str, Tensor]
    names: Mapping[str, str]
    images: Mapping[str, Any] = {}
    size: int | tuple[int, ...] | None = None
    patches: bool = False
    decoder: Mapping[str, Tensor] = {}
    learned_from: str = ""


def state_in(content: Mapping[str, Any]) -> Mapping[str, Tensor] | None:
    """Return the state dict that the content of a file is, or the only one that it holds.

    None where it holds none, or several.
    """
    found = list(states_in(content).values())
    return found[0] if len(found) == 1 else None


def states_in(content: Mapping[str, Any], where: str = "") -> dict[str, Mapping[str, Tensor]]:
    """Return every state dict in the content of a file, by its place: `"model"`, `"a.b"`."""
    if content and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        return {where: content}
    found: dict[str, Mapping[str, Tensor]] = {}
    if where.count(".") >= DEEPEST:
        return found
    for key, value in content.items():
        if isinstance(key, str) and isinstance(value, Mapping) and "optim" not in key:
            found |= states_in(value, f"{where}.{key}" if where else key)
    return found


class LibraryWeights(NamedTuple):
    """A network's weights under the names that some library gives them.

    Attributes:
        library: whose names they are.
        state: for `model.load_state_dict(state)`, without a key too many or too few.
        usage: lines of Python that make such a `model`.
        drawn: names of the tensors in `state` that the encoder does not have, as the library
            draws them.
        features: Python for the encoder's coarsest level of `images` `[B, C, *S]`, by that `model`.
        remark: where that differs from the encoder after all, in words.
        content: what a file for that library holds, where it is more than `state`.
        loading: what loads such a file, with `{file}` for its name; without it the Python that
            loads a state dict.
    """

    library: str
    state: Mapping[str, Tensor]
    usage: str
    drawn: frozenset[str] = frozenset()
    features: str = ""
    remark: str = ""
    content: Mapping[str, Any] | None = None
    loading: str = ""
