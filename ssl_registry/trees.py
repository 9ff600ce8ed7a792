"""Trees of tensors: what a pretext task's targets and outputs may be made of.

A tree is a tensor, None, or a tuple, list or mapping of trees; a named tuple stays one. So a
mask, several answers or the state of a memory travel under their own names.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, Union, cast

import torch
from torch import Tensor

from ssl_registry.errors import PluginError

Tree: TypeAlias = Union[Tensor, Sequence["Tree"], Mapping[str, "Tree"], None]  # noqa: UP007
"""A tensor, None, or a tuple, list or mapping of trees."""


def map_tensors(function: Callable[[Tensor], Tensor], tree: Tree) -> Tree:
    """Return a tree of the same form with `function` of each tensor.

    Raises:
        PluginError: there is something else in it.
    """
    if tree is None:
        return None
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {name: map_tensors(function, part) for name, part in tree.items()}
    if isinstance(tree, Sequence) and not isinstance(tree, str):
        parts = [map_tensors(function, part) for part in tree]
        make: Any = getattr(type(tree), "_make", tuple if isinstance(tree, tuple) else list)
        return cast("Tree", make(parts))
    raise PluginError(
        f"a {type(tree).__name__} stands where a tree of tensors belongs: return a tensor, None, "
        "or a tuple, list or mapping of these"
    )


def tensors_of(tree: Tree) -> Iterator[Tensor]:
    """Yield the tensors of a tree, in its order.

    Raises:
        PluginError: there is something else in it.
    """
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(keep, tree)
    yield from found


def detach(tree: Tree) -> Tree:
    """Return a tree whose tensors are cut from the graph that computed them."""
    return map_tensors(Tensor.detach, tree)


def move(tree: Tree, device: torch.device | str) -> Tree:
    """Return a tree on a device."""
    return map_tensors(lambda tensor: tensor.to(device), tree)


def map_shapes(tree: Tree) -> Any:
    """Return the form of a tree as JSON has it, with each tensor's shape in its place."""
    if isinstance(tree, Tensor):
        return list(tree.shape)
    if isinstance(tree, Mapping):
        return {name: map_shapes(part) for name, part in tree.items()}
    return None if tree is None else [map_shapes(part) for part in tree]


def spell_tree(tree: object) -> str:
    """Return the form of a tree in words, for a message: `(float32 [4, 10], int64 [4])`."""
    if isinstance(tree, Tensor):
        return f"{str(tree.dtype).removeprefix('torch.')} {list(tree.shape)}"
    if isinstance(tree, Mapping):
        inside = ", ".join(f"{name}: {spell_tree(part)}" for name, part in tree.items())
        return f"{{{inside}}}"
    if isinstance(tree, (tuple, list)):
        return f"({', '.join(map(spell_tree, tree))})"
    return "None" if tree is None else type(tree).__name__
