"""Affines as scanners write them, and how well two masks agree."""

import math

import numpy as np
import numpy.typing as npt
import torch
from hypothesis import strategies as st

Affine = npt.NDArray[np.float64]


def turn(x: float, y: float, z: float) -> Affine:
    skew = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    matrix: Affine = torch.matrix_exp(skew).numpy()
    return matrix


@st.composite
def affines(draw: st.DrawFn) -> Affine:
    """Draw axes in any order and direction, of unequal spacing, turned by up to 25 degrees."""
    order = draw(st.permutations([0, 1, 2]))
    signs = draw(st.tuples(*[st.sampled_from([-1, 1])] * 3))
    spacing = draw(st.tuples(*[st.sampled_from([0.8, 1.0, 1.6])] * 3))
    degrees = draw(st.tuples(*[st.integers(-25, 25)] * 3))
    affine = np.eye(4)
    affine[:3, :3] = turn(*map(math.radians, degrees)) @ (np.eye(3)[:, order] * signs * spacing)
    affine[:3, 3] = draw(st.tuples(*[st.integers(-200, 200)] * 3))
    return affine


def dice(one: torch.Tensor, other: torch.Tensor) -> float:
    return 2 * int((one & other).sum()) / int(one.sum() + other.sum())


def middle(mask: torch.Tensor) -> torch.Tensor:
    return mask.nonzero().double().mean(0)
