"""Features of a frozen encoder: of a whole image, or of single voxels."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_registry.backbone import Encoder
from ssl_registry.data.cache.prepared import Prepared, SeenImage, seen_images

Array = npt.NDArray[np.float64]

_LINEAR = {2: "bilinear", 3: "trilinear"}


def pyramid_of(encoder: Encoder, case: SeenImage) -> list[Tensor]:
    """Return the features `[C_l, *S_l]` of one image, finest level first, on the CPU."""
    device = next(encoder.parameters()).device
    with torch.inference_mode():
        return [level[0].cpu() for level in encoder.eval()(case.image()[None].to(device))]


def image_features(encoder: Encoder, cases: Sequence[Prepared]) -> Array:
    """Return the features `[N, F]` of whole images: each level averaged over its voxels.

    All levels are taken, because a pretext task shapes the coarsest for its own question,
    and what serves another task best lies before it (Kolesnikov et al. 2019,
    arXiv:1901.09005). Those of a volume that is seen by its slices are the slices' mean.
    """
    means = [
        torch.stack([_mean_features(encoder, seen) for seen in seen_images([case])]).mean(0)
        for case in cases
    ]
    return torch.stack(means).double().numpy()


def _mean_features(encoder: Encoder, seen: SeenImage) -> Tensor:
    return torch.cat([level.flatten(1).mean(1) for level in pyramid_of(encoder, seen)])


def voxel_features(pyramid: Sequence[Tensor], voxels: Tensor, shape: Sequence[int]) -> Array:
    """Return the features `[N, F]` of single voxels: each level interpolated linearly there.

    Args:
        pyramid: levels `[C_l, *S_l]`, on any device.
        voxels: indices `[N, dims]` on the grid of the labels.
        shape: of that grid.
    """
    # The centre of voxel i lies at i + 1/2; the grid reaches from -1 to 1, last axis first.
    places = ((voxels + 0.5) / torch.tensor(shape) * 2 - 1).flip(-1)
    places = places.reshape(1, *(1,) * (len(shape) - 1), *voxels.shape)
    found = [
        F.grid_sample(
            level[None], places.to(level.device), padding_mode="border", align_corners=False
        ).cpu()
        for level in pyramid
    ]
    return torch.cat([part.flatten(2)[0] for part in found]).T.double().numpy()


def affine_map(
    pyramid: Sequence[Tensor], matrix: Array, offset: Array, shape: Sequence[int]
) -> Array:
    """Return `matrix @ features + offset` for every voxel, `[N, R]` in the order of the grid.

    The levels are mapped first and interpolated then, which is the same as the other way
    round, for both are linear, and needs R numbers a voxel instead of F.

    Args:
        pyramid: levels `[C_l, *S_l]`.
        matrix: `[R, F]`, for the levels' channels one after the other.
        offset: `[R]`.
        shape: of the grid of the labels.
    """
    total = torch.from_numpy(offset).float().reshape(1, -1, *(1,) * len(shape))
    first = 0
    for level in pyramid:
        part = torch.from_numpy(matrix[:, first : first + len(level)]).float()
        mapped = torch.einsum("rc,c...->r...", part, level)
        total = total + F.interpolate(mapped[None], size=tuple(shape), mode=_LINEAR[len(shape)])
        first += len(level)
    return total[0].flatten(1).T.double().numpy()
