"""At which levels of a pyramid images are compared, and projections of them."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry import Encoder, PretextTask
from ssl_registry.errors import ConfigError


def levels_of(task: PretextTask, encoder: Encoder, default: int) -> tuple[int, ...]:
    """Return the levels that a task names, or the default one, 1 being the finest.

    Raises:
        ConfigError: the encoder has fewer.
    """
    there = len(encoder.channels)
    for level in task.levels:
        if level > there:
            raise ConfigError(
                f"levels={list(task.levels)}: the encoder has {there} levels; name levels from 1, "
                f"the finest, to {there}"
            )
    return task.levels or (default,)


def perceptron(fed: int, hidden: int, made: int, *, norm: bool = False) -> nn.Sequential:
    """Return a projection `[N, fed]` to `[N, made]` with one hidden layer.

    Args:
        fed: features that come in.
        hidden: units of the hidden layer.
        made: numbers that come out.
        norm: standardise the hidden units over the batch.
    """
    between: list[nn.Module] = [nn.BatchNorm1d(hidden)] if norm else []
    return nn.Sequential(
        nn.Linear(fed, hidden, bias=not norm), *between, nn.ReLU(), nn.Linear(hidden, made)
    )


def unit(points: Tensor) -> Tensor:
    """Return points `[..., D]` in float32 and of length 1."""
    return F.normalize(points.float(), dim=-1)


class Projections(nn.Module):
    """A projection of the averaged features of each of some levels.

    Args:
        encoder: whose pyramid will come.
        levels: which, 1 being the finest.
        hidden: units of the hidden layer.
        made: length of an embedding (D).
        norm: standardise the hidden units over the batch.

    Shape: a list of `[N, C_l, *S_l]` to `[N, D]` for each level, by its number.
    """

    def __init__(
        self,
        encoder: Encoder,
        levels: Sequence[int],
        *,
        hidden: int,
        made: int,
        norm: bool = False,
    ) -> None:
        super().__init__()
        self.of_level = nn.ModuleDict(
            {
                str(level): perceptron(encoder.channels[level - 1], hidden, made, norm=norm)
                for level in levels
            }
        )

    def forward(self, pyramid: Sequence[Tensor]) -> Mapping[str, Tensor]:
        """Return the embeddings of each level."""
        return {
            name: project(pyramid[int(name) - 1].flatten(2).mean(2))
            for name, project in self.of_level.items()
        }
