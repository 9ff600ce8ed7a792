"""Tokens of hidden cubes, in networks that turn an image into tokens first.

Reference: Xie et al. 2022 (arXiv:2111.09886), who put a learned token in the place of hidden ones
behind the embedding of patches.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ssl_registry import Encoder
from ssl_registry_masked.cubes import spread


def patch_embedding(encoder: Encoder) -> nn.Module | None:
    """Return the module of an encoder that makes tokens of patches; None where there is none.

    It is called `PatchEmbed` in timm and in MONAI, and has a convolution `proj` as wide as its
    stride.
    """
    for module in encoder.modules():
        conv = getattr(module, "proj", None)
        if type(module).__name__ == "PatchEmbed" and isinstance(conv, (nn.Conv2d, nn.Conv3d)):
            return module if conv.kernel_size == conv.stride else None
    return None


def projection_of(embedding: nn.Module) -> nn.Conv2d | nn.Conv3d:
    """Return the convolution of a patch embedding, whose stride is the patch."""
    conv = embedding.proj
    assert isinstance(conv, (nn.Conv2d, nn.Conv3d))
    return conv


@contextmanager
def tokens_in_place(
    embedding: nn.Module, token: Tensor, hidden: Tensor, cube: Sequence[int], shape: Sequence[int]
) -> Iterator[None]:
    """While it is entered, `embedding` returns a token for every patch of a hidden cube.

    Args:
        embedding: of patches; it returns `[B, C, *grid]`, `[B, *grid, C]` or `[B, N, C]`.
        token: `[C]`.
        hidden: which cubes are, `[B, *cells]` bool.
        cube: side of a cube along each axis, in voxels; a multiple of a patch's.
        shape: of the images in voxels.
    """
    patch = projection_of(embedding).stride
    grid = tuple(-(-side // step) for side, step in zip(shape, patch, strict=True))
    widths = [width // step for width, step in zip(cube, patch, strict=True)]
    mask = spread(hidden, widths, grid)

    def put(_: nn.Module, given: Any, made: Tensor) -> Tensor:
        here = mask
        if tuple(made.shape[2:]) == grid:
            column = token.view(1, -1, *[1] * len(grid))
        else:
            column, here = token, mask.movedim(1, -1)
            here = here.flatten(1, -2) if made.ndim == 3 else here
        return torch.where(here, column.to(made.dtype), made)

    hook = embedding.register_forward_hook(put)
    try:
        yield
    finally:
        hook.remove()
