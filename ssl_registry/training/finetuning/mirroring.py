"""Mirroring at prediction: the mean of what a network says of an image and of its mirror images."""

from collections.abc import Callable, Sequence
from itertools import chain, combinations

import torch
from torch import Tensor


def mirrored(
    answer: Callable[[Tensor], Tensor], axes: Sequence[int], *, dense: bool
) -> Callable[[Tensor], Tensor]:
    """Return a function that answers for images `[B, C, *S]` as the mean over their mirror images.

    An image is flipped along every choice of the axes: of 3 axes, 8 times the work. Scores are
    averaged before the softmax, as in nnU-Net.

    Args:
        answer: from images to outputs.
        axes: spatial axes, from 0; with none it is `answer` itself.
        dense: whether outputs `[B, K, *S]` lie on the images' grid, and are to be flipped back.

    Reference: Isensee et al. 2021 (doi:10.1038/s41592-020-01008-z).
    """
    choices = chain.from_iterable(combinations(axes, count) for count in range(len(axes) + 1))
    flips = [tuple(axis + 2 for axis in choice) for choice in choices]

    def mean(images: Tensor) -> Tensor:
        total: Tensor | None = None
        for flip in flips:
            outputs = answer(torch.flip(images, flip)).float()
            outputs = torch.flip(outputs, flip) if dense else outputs
            total = outputs if total is None else total + outputs
        assert total is not None
        return total / len(flips)

    return mean if axes else answer
