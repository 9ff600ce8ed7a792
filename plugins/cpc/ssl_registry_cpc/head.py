"""Codes of tiles, what is read of them in order, and what is predicted."""

from collections.abc import Sequence
from itertools import product
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry import Encoder
from ssl_registry_cpc.lattice import Plan

ContextKind: TypeAlias = Literal["gru", "masked"]
_CONV = {2: F.conv2d, 3: F.conv3d}


class RecurrentContext(nn.Module):
    """A gated recurrent unit reads the tiles above, row by row, and the tile itself last.

    Reference: Taleb et al. 2020 (arXiv:2006.03829), section 3.1.
    """

    def __init__(self, plan: Plan, code: int, hidden: int) -> None:
        super().__init__()
        self.register_buffer("order", plan.context, persistent=False)
        self.read = nn.GRU(code, hidden, batch_first=True)

    def forward(self, codes: Tensor) -> Tensor:
        """Return contexts `[B, N, H]` of codes `[B, T, D]`."""
        nothing = codes.new_zeros(len(codes), 1, codes.shape[2])
        order: Tensor = self.get_buffer("order")  # what is outside is the last one, and zero
        seen = torch.cat([codes, nothing], dim=1)[:, order]
        _, last = self.read(seen.flatten(0, 1))
        contexts: Tensor = last[0].view(len(codes), len(order), -1)
        return contexts


class MaskedContext(nn.Module):
    """Convolutions over the grid that see the row above and the tile itself, one after another.

    A tile's own row and the rows that follow are masked: what is predicted is not seen.

    Reference: van den Oord et al. 2016 (arXiv:1606.05328), for the masks; Henaff et al. 2020
    (arXiv:1905.09272), for the context network.
    """

    def __init__(
        self,
        plan: Plan,
        grid: tuple[int, ...],
        axis: int,
        *,
        code: int,
        hidden: int,
        layers: int,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.register_buffer("centres", plan.centres, persistent=False)
        self.register_buffer("mask", _mask(len(grid), axis), persistent=False)
        self.enter = nn.Linear(code, hidden)
        kernel = (hidden, hidden, *(3,) * len(grid))
        self.weights = nn.ParameterList(
            nn.init.kaiming_normal_(torch.empty(kernel), nonlinearity="relu") for _ in range(layers)
        )
        self.biases = nn.ParameterList(torch.zeros(hidden) for _ in range(layers))

    def forward(self, codes: Tensor) -> Tensor:
        """Return contexts `[B, N, H]` of codes `[B, T, D]`."""
        mask = self.get_buffer("mask")
        x = self.enter(codes).transpose(1, 2).reshape(len(codes), -1, *self.grid)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = x + _CONV[len(self.grid)](x.relu(), weight * mask, bias, padding=1)
        contexts: Tensor = x.flatten(2).transpose(1, 2)[:, self.get_buffer("centres")]
        return contexts


def _mask(dims: int, axis: int) -> Tensor:
    """Return `[3, ...]`: 1 for all of the row above and for the tile itself."""
    mask = torch.zeros((3,) * dims)
    for tap in product(range(3), repeat=dims):
        itself = all(place == 1 for place in tap)
        mask[tap] = float(tap[axis] == 0 or itself)
    return mask


class CodingHead(nn.Module):
    """Codes of all tiles, and what is predicted of some of them.

    Shape: a list of `[B, T, C_l, *S_l]` to predicted codes `[B, Q, D]` and codes `[B, T, D]`.
    """

    def __init__(
        self, encoder: Encoder, context: nn.Module, plan: Plan, *, code: int, hidden: int
    ) -> None:
        super().__init__()
        self.encode = nn.Linear(encoder.channels[-1], code)
        self.context = context
        self.predict = nn.ModuleList(
            nn.Linear(hidden, code) for _ in range(int(plan.step.max()) + 1)
        )
        self.register_buffer("asked", plan.asked, persistent=False)
        self.register_buffer("step", plan.step, persistent=False)

    def forward(self, pyramid: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return what is predicted, and the codes, both of length 1 and float32."""
        codes = self.encode(pyramid[-1].flatten(3).mean(3))
        contexts = self.context(codes)
        said = torch.stack([predict(contexts) for predict in self.predict], dim=2)
        predicted = said[:, self.get_buffer("asked"), self.get_buffer("step")]
        return F.normalize(predicted.float(), dim=-1), F.normalize(codes.float(), dim=-1)
