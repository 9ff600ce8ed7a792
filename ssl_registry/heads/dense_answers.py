"""Whether a decoder answers for as many voxels as were asked about."""

from collections.abc import Sequence

from torch import Tensor

from ssl_registry.errors import ImageShapeError


def check_dense(answers: Tensor, shape: Sequence[int]) -> None:
    """See that answers `[B, K, *S]` are of the grid that was asked about.

    A decoder interpolates up from the encoder's finest level, so sides that are no multiple of
    that level's stride come out larger or smaller.

    Args:
        answers: of a decoder.
        shape: spatial shape of the views in voxels.

    Raises:
        ImageShapeError: they differ.
    """
    if tuple(answers.shape[2:]) != tuple(shape):
        raise ImageShapeError(
            f"the decoder answers for {list(answers.shape[2:])} voxels, but {list(shape)} were "
            "asked about: make `size` a multiple of the backbone's finest stride, if the encoder's "
            "`strides` are true"
        )
