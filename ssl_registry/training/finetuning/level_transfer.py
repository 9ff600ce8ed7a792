"""Which levels of a pretrained encoder are taken over: all, or only the finest."""

import torch
from torch import Tensor

from ssl_registry.backbone import Encoder, check_levels
from ssl_registry.errors import ConfigError


def take_over(pretrained: Encoder, fresh: Encoder, levels: int, image: Tensor) -> frozenset[str]:
    """Leave a pretrained encoder its finest levels, and begin the coarser ones anew.

    Which weights a level is computed from is found by following the gradient, so that it
    holds for any backbone. A weight that both fine and coarse levels come from is a fine one.

    Args:
        pretrained: changed in place.
        fresh: of the same structure, with the weights to begin with.
        levels: how many of the finest levels to keep.
        image: `[B, C, *S]`, one that the encoder can take.

    Returns:
        The names of the parameters that were kept.

    Raises:
        ConfigError: the encoder has fewer levels.
    """
    check_levels(pretrained, levels, "transfer_levels")
    kept = _weights_of(pretrained, levels, image)
    anew = {name for name, _ in pretrained.named_parameters()} - kept
    # Statistics go with the weights of their layer; those of a layer without any stay.
    layers = {_layer_of(name) for name in anew} - {_layer_of(name) for name in kept}
    begun = {
        name: value
        for name, value in fresh.state_dict().items()
        if name in anew or _layer_of(name) in layers
    }
    pretrained.load_state_dict({**pretrained.state_dict(), **begun})
    return kept


def levels_to_take(asked: int | None, pretrained: int | None, whose: str) -> int | None:
    """Return how many levels are taken over: those asked for, or those pretrained; None is all.

    Raises:
        ConfigError: fewer were pretrained than are asked for.
    """
    if asked is not None and pretrained is not None and asked > pretrained:
        raise ConfigError(
            f"transfer_levels={asked}: of {whose} only the {pretrained} finest levels were "
            f"pretrained; ask for {pretrained} at most, or leave it out"
        )
    return pretrained if asked is None else asked


def _layer_of(name: str) -> str:
    return name.rpartition(".")[0]


def _weights_of(encoder: Encoder, levels: int, image: Tensor) -> frozenset[str]:
    """Return the names of the parameters that the finest levels are computed from."""
    training = encoder.training
    named = dict(encoder.named_parameters())
    with torch.enable_grad():
        finest = encoder.eval()(image)[:levels]
        total = torch.stack([level.float().sum() for level in finest]).sum()
        gradients = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    encoder.train(training)
    pairs = zip(named, gradients, strict=True)
    return frozenset(name for name, gradient in pairs if gradient is not None)
