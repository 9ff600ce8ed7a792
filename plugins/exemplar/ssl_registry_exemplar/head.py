"""One embedding for anchors and copies alike."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry import Encoder, distributed, heads


class EmbeddingHead(nn.Module):
    """A classifier's layers that end in a point on the unit sphere.

    One set of weights serves anchors and copies. With a set for each, as in the authors'
    code, the biases alone can tell them apart and the encoder need not learn anything.

    Each coordinate is standardised over the batch before the embedding gets its length of
    1. Without that, what all images have in common makes up most of an embedding, and two
    cheap ways out are open, both seen in training: to give all images one embedding, and
    to carry the whole batch ever farther away from the memory.

    Args:
        encoder: whose pyramid will come.
        view_shape: spatial shape of a view in voxels.
        embedding: length of an embedding (D).
        hidden: units of the hidden layer.

    Where P processes train together, each of them compares its images with those of all:
    the embeddings are gathered before they are standardised, so P processes with B images
    do what one with P * B would. In evaluation each keeps to its own.

    Shape: a list of `[B, 2, C_l, *S_l]` to `[2, P * B, D]` float32: the anchors and their copies.
    """

    def __init__(
        self, encoder: Encoder, view_shape: tuple[int, ...], *, embedding: int, hidden: int
    ) -> None:
        super().__init__()
        self.embed = heads.ClassifierHead(
            encoder, view_shape, views=1, classes=embedding, hidden=hidden
        )
        self.standardise = nn.BatchNorm1d(embedding, affine=False)

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Return the points of a pyramid with levels `[B, 2, C_l, *S_l]`."""
        views = pyramid[-1].transpose(0, 1).flatten(0, 1).unsqueeze(1)
        raw = self.embed([views]).float().unflatten(0, (2, -1))
        everyone = distributed.gather(raw) if self.training else raw[None]
        points = F.normalize(self._standardised(everyone.transpose(0, 1).flatten(0, 2)), dim=1)
        return points.unflatten(0, (2, -1))

    def _standardised(self, raw: Tensor) -> Tensor:
        """Return raw embeddings `[2 * P * B, D]` with mean 0 and deviation 1 in each coordinate.

        One image would leave its two views nothing but their difference, so a batch of
        one goes by the running statistics, as evaluation does.
        """
        if len(raw) > 2:
            standardised: Tensor = self.standardise(raw)
            return standardised
        mean, variance = self.standardise.running_mean, self.standardise.running_var
        return F.batch_norm(raw, mean, variance)
