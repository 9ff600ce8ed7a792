"""Trees of tensors: what targets and outputs may be made of."""

from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssl_registry.errors import PluginError
from ssl_registry.trees import detach, map_shapes, map_tensors, move, spell_tree, tensors_of


class Pair(NamedTuple):
    left: torch.Tensor
    right: Any


leaves = st.none() | st.lists(st.integers(0, 3), max_size=2).map(torch.zeros)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(trees)
def test_the_form_stays_and_every_tensor_is_reached(tree: Any) -> None:
    doubled = map_tensors(lambda tensor: tensor + 1, tree)
    assert map_shapes(doubled) == map_shapes(tree)
    assert [one.sum() for one in tensors_of(doubled)] == [one.numel() for one in tensors_of(tree)]


def test_a_named_tuple_stays_one_and_none_stays_none() -> None:
    tree = Pair(torch.ones(2), {"mask": None})
    moved = move(tree, "meta")
    assert isinstance(moved, Pair)
    assert moved.left.device.type == "meta"
    assert moved.right == {"mask": None}


def test_detached_tensors_have_no_graph() -> None:
    weight = torch.ones(2, requires_grad=True)
    (tensor,) = tensors_of(detach({"scores": weight * 2}))
    assert not tensor.requires_grad


@pytest.mark.parametrize("tree", [3, "scores", {"a": [object()]}])
def test_anything_else_is_refused(tree: Any) -> None:
    with pytest.raises(PluginError, match="a tree of tensors belongs"):
        list(tensors_of(tree))


def test_a_tree_is_spelt_by_its_tensors() -> None:
    tree = {"scores": torch.zeros(4, 10), "mask": (torch.zeros(4).bool(), None)}
    assert spell_tree(tree) == "{scores: float32 [4, 10], mask: (bool [4], None)}"
