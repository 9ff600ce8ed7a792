"""FSDP2: each process keeps a share of every weight, of its gradient, and of the optimiser's state.

What learns is a copy of the model whose weights are shared out; a unit's weights are put together
only while it computes. The model itself stays whole: it is filled in from the copy wherever it is
validated, looked at or written, so that files are the same as with any other strategy.

Reference: Zhao et al. 2023, "PyTorch FSDP" (arXiv:2304.11277), in the second form, `fully_shard`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.strategies.model_parallel import ModelParallelStrategy
from torch import Tensor, distributed, nn

from ssl_registry.errors import ConfigError
from ssl_registry.training.engine.units import units_of

if TYPE_CHECKING:  # torch without distributed training has none of it
    from torch.distributed.device_mesh import DeviceMesh


def sharding_strategy(processes: int) -> ModelParallelStrategy:
    """Return Lightning's strategy for sharing weights among so many processes.

    Raises:
        ConfigError: this torch has no FSDP2.
    """
    try:
        from torch.distributed.fsdp import fully_shard  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"strategy=fsdp needs torch 2.6 or newer, with distributed training; here is "
            f"{torch.__version__}: set strategy=auto, or install another"
        ) from error
    return ModelParallelStrategy(_shard, data_parallel_size=processes, tensor_parallel_size=1)


def _shard(network: nn.Module, mesh: "DeviceMesh") -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    for part in (*units_of(network), network):
        fully_shard(part, mesh=mesh["data_parallel"])
    return network


@contextmanager
def put_together(network: nn.Module) -> Iterator[None]:
    """Let every process have all weights of a sharded network for a while."""
    from torch.distributed.fsdp import FSDPModule

    parts = [part for part in network.modules() if isinstance(part, FSDPModule)]
    for part in parts:
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()


def fill_in(whole: nn.Module, sharded: nn.Module) -> None:
    """Give a whole network the weights and buffers of its sharded copy; every process must ask."""
    state = sharded.state_dict()
    with torch.no_grad():
        for name, value in whole.state_dict().items():
            value.copy_(gather_whole(state[name]))


def share_out(whole: nn.Module, sharded: nn.Module) -> None:
    """Give a sharded network the weights and buffers of a whole one; every process must ask."""
    state = whole.state_dict()
    with torch.no_grad():
        for name, value in sharded.state_dict().items():
            value.copy_(_alike(state[name], value))


def gather_whole(value: Any) -> Any:
    """Return a tensor whole, and anything else as it is."""
    from torch.distributed.tensor import DTensor

    return value.full_tensor() if isinstance(value, DTensor) else value


def whole_optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return an optimiser's state as one of whole weights has it; every process must ask."""
    state = optimizer.state_dict()
    kept = {
        index: {name: gather_whole(value) for name, value in entries.items()}
        for index, entries in state["state"].items()
    }
    return {**state, "state": kept}


def sharded_optimizer_state(
    optimizer: torch.optim.Optimizer, state: Mapping[str, Any]
) -> dict[str, Any]:
    """Return such a state as an optimiser of sharded weights takes it; every process must ask."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    shared = {
        index: {
            name: _alike(value, weights[index]) if isinstance(value, Tensor) else value
            for name, value in entries.items()
        }
        for index, entries in state["state"].items()
    }
    return {**state, "state": shared}


def _alike(value: Tensor, like: Tensor) -> Tensor:
    """Return a whole tensor shared out as another of its shape is; as it is, if that is none."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


def share_buffers(network: nn.Module) -> None:
    """Give all processes the main one's buffers, in one message for each type of number."""
    kinds: dict[torch.dtype, list[Tensor]] = {}
    for buffer in network.buffers():
        kinds.setdefault(buffer.dtype, []).append(buffer)
    for buffers in kinds.values():
        packed = torch.cat([buffer.flatten() for buffer in buffers])
        distributed.broadcast(packed, 0)
        came = torch.split(packed, [buffer.numel() for buffer in buffers])
        for buffer, part in zip(buffers, came, strict=True):
            buffer.copy_(part.view_as(buffer))
