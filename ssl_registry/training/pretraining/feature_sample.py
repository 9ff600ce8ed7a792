"""The fixed sample of training images whose features are watched, and the labels it has."""

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from ssl_registry.backbone import Encoder
from ssl_registry.data.cache.prepared import Prepared, SeenImage, seen_images
from ssl_registry.data.preparing.sizes import Size, sides_of
from ssl_registry.data.sources.cases import Source
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.training.probes.features import voxel_features
from ssl_registry.training.probes.models import Items

SAMPLE: Final = 32
"""Images that are watched: as many give a rank of up to 32."""


MOST_VALUES: Final = 2**26
"""Intensities of the sample that are kept in memory: 256 MB."""


VOXELS: Final = 8
"""Voxels of each class and image that a probe of label maps learns from or is scored on: few, for
how long a probe takes does not shrink with the images."""

BATCH: Final = 8
"""Images that go through the encoder together, where nobody says how many."""


class FeatureSample:
    """A fixed sample of training images, and what is known of them.

    Args:
        cases: training cases; those with labels first, patients in turn.
        source: where they come from.
        size: of what the encoder sees.
        seed: of the run.
        batch_size: images that go through the encoder together; as many as in training have room.
    """

    def __init__(
        self,
        cases: Sequence[Prepared],
        source: Source,
        size: Size,
        seed: int,
        batch_size: int = BATCH,
    ) -> None:
        self.source, self.batch_size = source, batch_size
        self.graded = source.graded
        self.seen = self._choose(cases, seed)
        sides = sides_of(size, len(self.seen[0].image().shape) - 1)
        room = max(3, MOST_VALUES // (self.seen[0].image().shape[0] * math.prod(sides)))
        self.seen = self.seen[:room]
        self.sides = sides
        self.images = [_middle(one.image(), sides) for one in self.seen]
        self.groups = [source.group_of(one.case) for one in self.seen]

    def _choose(self, cases: Sequence[Prepared], seed: int) -> list[SeenImage]:
        """Return some images: each patient once before any comes twice."""
        seen = seen_images(cases)
        generator = derive_generator(seed, "watch", "sample")
        order = torch.randperm(len(seen), generator=generator).tolist()
        turns: dict[str, int] = {}
        ranked = []
        for place in order:
            group = self.source.group_of(seen[place].case)
            turns[group] = turns.get(group, 0) + 1
            ranked.append((not seen[place].case.labelled, turns[group], place))
        return [seen[place] for *_, place in sorted(ranked)[:SAMPLE]]

    @property
    def probed(self) -> bool:
        """Whether there are labels of two patients or more to probe with."""
        labelled = [g for g, one in zip(self.groups, self.seen, strict=True) if one.case.labelled]
        return len(set(labelled)) > 1

    def pyramids(self, encoder: Encoder) -> Iterator[list[Tensor]]:
        """Yield the pyramid `[C_l, *S_l]` of each image, where the encoder computes.

        One after the other, for all of them would fill the memory.
        """
        # The weights of a teacher that is kept are buffers.
        device = next(chain(encoder.parameters(), encoder.buffers())).device
        for start in range(0, len(self.images), self.batch_size):
            some = self.images[start : start + self.batch_size]
            batch = torch.stack([_as_many(image, encoder.in_channels) for image in some])
            with torch.no_grad(), lend_to_torch(derive_generator(0, "watch")):
                levels = [level.float() for level in encoder(batch.to(device))]
            yield from ([level[place] for level in levels] for place in range(len(some)))

    def items(self, place: int, pyramid: Sequence[Tensor]) -> Items | None:
        """Return what probes learn from one image: itself with its class, or voxels with theirs.

        None where it has no label.
        """
        one, group = self.seen[place], self.groups[place]
        if not one.case.labelled:
            return None
        if self.graded:
            means = torch.cat([level.flatten(1).mean(1) for level in pyramid]).cpu()
            return Items(means[None].double().numpy(), np.array([int(one.label())]), [group])
        label = _middle(one.label()[None], self.sides)[0]
        return _voxel_items(pyramid, label, group, self.images[place].shape[1:])


def _as_many(image: Tensor, channels: int) -> Tensor:
    """Return an image `[C, *S]` for an encoder of tiles stacked as channels: itself, repeated."""
    if len(image) == channels:
        return image
    return image.repeat(-(-channels // len(image)), *[1] * (image.ndim - 1))[:channels]


def _middle(image: Tensor, sides: Sequence[int]) -> Tensor:
    """Return the middle of an image `[C, *S]`, with zeros around where it is smaller."""
    for axis, side in enumerate(sides, start=1):
        there = image.shape[axis]
        if there > side:
            image = image.narrow(axis, (there - side) // 2, side)
        elif there < side:
            before = (side - there) // 2
            padding = [0, 0] * (image.ndim - 1 - axis) + [before, side - there - before]
            image = nn.functional.pad(image, padding)
    return image.contiguous()


def _voxel_items(
    pyramid: Sequence[Tensor], label: Tensor, group: str, shape: Sequence[int]
) -> Items:
    """Return a few voxels of each class in a label map, spread evenly."""
    chosen = []
    for value in torch.unique(label):
        places = (label == value).nonzero()
        step = max(1, len(places) // VOXELS)
        chosen.append(places[::step][:VOXELS])
    voxels = torch.cat(chosen)
    classes = label[tuple(voxels.T)].numpy().astype(np.int64)
    return Items(voxel_features(pyramid, voxels, shape), classes, [group] * len(classes))
