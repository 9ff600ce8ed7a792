"""The parts of a network that are taken one at a time, to recompute them or to share them out."""

from collections.abc import Iterator

from torch import nn

_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)


def units_of(network: nn.Module) -> list[nn.Module]:
    """Return a network's units, in order, none within another.

    A unit is what a list or a sequence of modules is made of, where that has several layers with
    weights of its own: a block of a U-Net, a dense layer, a transformer's block. A sequence of
    plain layers is one unit.
    """
    return list(_units(network))


def _units(module: nn.Module) -> Iterator[nn.Module]:
    within_list = isinstance(module, _CONTAINERS)
    for child in module.children():
        if not _composite(child):
            continue
        if isinstance(child, _CONTAINERS):
            whole = can_be_called(child) and not any(map(_composite, child.children()))
        else:
            whole = within_list
        if whole:
            yield child
        else:
            yield from _units(child)


def _composite(module: nn.Module) -> bool:
    """Say whether a module holds several layers with weights of their own."""
    weighted = (any(True for _ in one.parameters(recurse=False)) for one in module.modules())
    return sum(weighted) > 1


def can_be_called(module: nn.Module) -> bool:
    """Say whether a module computes something, which a mere list of modules does not."""
    return type(module).forward is not nn.Module.forward
