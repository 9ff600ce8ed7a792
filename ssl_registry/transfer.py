"""What was drawn on the host, taken to the images' device: all of it at once.

A copy to a GPU costs about as much for a number as for a thousand, and while the host waits for
one, the GPU waits for the host. So a task draws on the generator's device all that it needs, takes
it over in one copy, and leaves `drawn` where it was drawn.
"""

import torch
from torch import Tensor

_ALIGNED = 16
"""Bytes at multiples of which each tensor begins, so that any dtype can be seen there."""


def carry(device: torch.device, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Return tensors on a device, taken there in a single copy.

        corners, target = transfer.carry(images.device, corners, target)

    Args:
        device: of the images.
        tensors: of any shapes and dtypes, all on one device; not modified, and returned as they
            are where they are there already.
    """
    if all(tensor.device == device for tensor in tensors):
        return tensors
    parts = [tensor.contiguous().flatten().view(torch.uint8) for tensor in tensors]
    starts, end = [], 0
    for part in parts:
        starts.append(end)
        end += -(-len(part) // _ALIGNED) * _ALIGNED
    packed = torch.zeros(end, dtype=torch.uint8, device=tensors[0].device)
    for start, part in zip(starts, parts, strict=True):
        packed[start : start + len(part)] = part
    if device.type == "cuda" and packed.device.type == "cpu":
        packed = packed.pin_memory()  # so that the host need not wait for the copy
    there = packed.to(device, non_blocking=True)
    return tuple(
        there[start : start + len(part)].view(tensor.dtype).view(tensor.shape)
        for start, part, tensor in zip(starts, parts, tensors, strict=True)
    )
