"""Watching features form: their rank and spread, and probes, every so many epochs of pretraining.

A loss says nothing of the features. So a fixed sample of training images goes through the encoder
now and then, in evaluation mode and without gradients: no bit of the weights changes.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from ssl_registry.backbone import Encoder, whole_encoder
from ssl_registry.data.cache.prepared import Prepared, SeenImage, seen_images
from ssl_registry.data.preparing.sizes import Size, sides_of
from ssl_registry.data.sources.cases import Source
from ssl_registry.errors import ConfigError, ImageShapeError
from ssl_registry.pretext_model import kept_encoder
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.training.engine.callbacks import Callback
from ssl_registry.training.pretraining.examination import RANK, VARIATION, variation_of
from ssl_registry.training.pretraining.pretext_training import Pretraining
from ssl_registry.training.probes.features import voxel_features
from ssl_registry.training.probes.models import Items, fit_linear, fit_nearest, stack
from ssl_registry.training.settings.runs import PretrainSettings

SAMPLE: Final = 32
"""Images that are watched: as many give a rank of up to 32."""

SHARE: Final = 0.01
"""Share of the time of training that watching may take."""

STEP_COST: Final = 3
"""A training step takes this many forward passes of an image, or more: forward and backward."""

MOST_VALUES: Final = 2**26
"""Intensities of the sample that are kept in memory: 256 MB."""

VOXELS: Final = 24
"""Voxels of each class and image that a probe of label maps learns from or is scored on."""


class FeatureSample:
    """A fixed sample of training images, and what is known of them.

    Args:
        cases: training cases; those with labels first, patients in turn.
        source: where they come from.
        size: of what the encoder sees.
        seed: of the run.
    """

    def __init__(self, cases: Sequence[Prepared], source: Source, size: Size, seed: int) -> None:
        self.source = source
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

    def features(self, encoder: Encoder) -> list[list[Tensor]]:
        """Return the pyramid `[C_l, *S_l]` of each image, on the CPU."""
        device = next(encoder.parameters()).device
        taken = encoder.in_channels
        with torch.no_grad(), lend_to_torch(derive_generator(0, "watch")):
            return [
                [
                    level[0].float().cpu()
                    for level in encoder(_as_many(image, taken)[None].to(device))
                ]
                for image in self.images
            ]

    def items(self, pyramids: Sequence[Sequence[Tensor]]) -> Items:
        """Return what probes learn from: images with their classes, or voxels with theirs."""
        parts = []
        for one, image, group, pyramid in zip(
            self.seen, self.images, self.groups, pyramids, strict=True
        ):
            if not one.case.labelled:
                continue
            if self.graded:
                means = torch.cat([level.flatten(1).mean(1) for level in pyramid])
                grade = np.array([int(one.label())])
                parts.append(Items(means[None].double().numpy(), grade, [group]))
            else:
                label = _middle(one.label()[None], self.sides)[0]
                parts.append(_voxel_items(pyramid, label, group, image.shape[1:]))
        return stack(parts)


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


@dataclass(frozen=True)
class Watched:
    """What was seen of the features in one epoch.

    Attributes:
        rank: RankMe: the exponential of the entropy of the singular values, as many as the sample
            has images at most.
        spread: how much the features differ, as a share of their size.
        linear, knn: balanced accuracy of probes on the other patients of the sample; None without
            labels.
    """

    rank: float
    spread: float
    linear: float | None
    knn: float | None

    def as_row(self) -> dict[str, float]:
        """Return the columns of `metrics.csv`."""
        said = {
            "watch_rank": self.rank,
            "watch_spread": self.spread,
            "watch_linear": self.linear,
            "watch_knn": self.knn,
        }
        return {name: value for name, value in said.items() if value is not None}

    @property
    def collapsed(self) -> bool:
        """Whether the encoder gives almost the same for all images."""
        finite = math.isfinite(self.rank) and math.isfinite(self.spread)
        return not finite or self.spread < VARIATION or self.rank < RANK


def rank_me(features: Tensor) -> float:
    """Return the effective rank of features `[N, F]`.

    It is the exponential of the entropy of the singular values' shares, the features not centred.

    Reference: Garrido et al. 2023, "RankMe" (arXiv:2210.02885), equation 1.
    """
    if not features.isfinite().all():
        return math.nan
    values = torch.linalg.svdvals(features.double())
    total = values.sum()
    if float(total) == 0:
        return 1.0
    shares = values / total + 1e-7
    return float(torch.special.entr(shares).sum().exp())


@contextmanager
def _at_rest(encoder: Encoder) -> Iterator[None]:
    """Let an encoder be in evaluation mode; afterwards each of its layers has the mode it had."""
    modes = {layer: layer.training for layer in encoder.modules()}
    encoder.eval()
    try:
        yield
    finally:
        for layer, mode in modes.items():
            layer.training = mode


def watch_features(encoder: Encoder, sample: FeatureSample) -> Watched:
    """Return what the features of a sample are like; the encoder keeps its mode and its weights."""
    with _at_rest(encoder):
        pyramids = sample.features(encoder)
    coarsest = torch.stack([pyramid[-1].flatten(1).mean(1) for pyramid in pyramids]).double()
    rank, spread = rank_me(coarsest), variation_of(coarsest)
    if not sample.probed or not coarsest.isfinite().all():
        return Watched(rank, spread, None, None)
    scores = _probe(sample.items(pyramids))
    return Watched(rank, spread, *(scores or (None, None)))


def _probe(items: Items) -> tuple[float, float] | None:
    """Return the balanced accuracy of the linear and the nearest-neighbour probe.

    Fitted to every other patient, scored on the others, and the other way round.
    """
    groups = list(dict.fromkeys(items.groups))
    halves = [
        np.array([place for place, g in enumerate(items.groups) if groups.index(g) % 2 == half])
        for half in (0, 1)
    ]
    found: list[list[float]] = []
    for fitted, scored in (halves, halves[::-1]):
        learned, asked = items[fitted], items[scored]
        if len(set(learned.classes)) < 2 or len(set(asked.classes)) < 2:
            return None
        scores = []
        for fit in (fit_linear, fit_nearest):
            probe = fit(learned)
            answers = probe.predict(asked.features @ probe.matrix.T + probe.offset)
            scores.append(_balanced_accuracy(answers, asked.classes))
        found.append(scores)
    linear, knn = np.mean(found, axis=0)
    return float(linear), float(knn)


def _balanced_accuracy(answers: Any, truth: Any) -> float:
    shares = [float((answers[truth == value] == value).mean()) for value in np.unique(truth)]
    return sum(shares) / len(shares)


def epochs_between(images: int, views: int, sample: int) -> int:
    """Return after how many epochs the features are looked at, so that it costs next to nothing.

    By the number of forward passes: the same on every machine, and the same when resumed.

    Args:
        images: that training sees in an epoch.
        views: of each.
        sample: images that are watched.
    """
    return max(1, math.ceil(sample / (STEP_COST * images * max(1, views) * SHARE)))


class FeatureWatch(Callback):
    """Looks at the features every so many epochs, and says so when they collapse.

    Args:
        sample: that is looked at.
        every: epochs between two looks.
        keep_best: keep the weights of the best linear probe.
        console: where a collapse is said.
    """

    def __init__(
        self, sample: FeatureSample, every: int, *, keep_best: bool, console: Console
    ) -> None:
        self.sample, self.every, self.console = sample, every, console
        self.keep_best = keep_best
        self.first: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self.collapsed_in: int | None = None
        self.best: dict[str, Any] | None = None

    def measure(self, epoch: int, model: nn.Module) -> Mapping[str, float]:
        """Return what the features are like, where it is time to look."""
        assert isinstance(model, Pretraining)
        if epoch % self.every:
            return {}
        seen = watch_features(whole_encoder(kept_encoder(model.model)), self.sample)
        row = seen.as_row()
        self.last = {"epoch": epoch, **row}
        if seen.collapsed and self.collapsed_in is None:
            self.collapsed_in = epoch
            self.console.print(
                f"epoch {epoch}: THE ENCODER IS COLLAPSING: its features of "
                f"{len(self.sample.images)} images differ by {seen.spread:.2g} of their size, in "
                f"{seen.rank:.1f} directions"
            )
        elif not seen.collapsed:
            self.collapsed_in = None
        self._consider(epoch, seen, model.model)
        return row

    def _consider(self, epoch: int, seen: Watched, model: nn.Module) -> None:
        if not self.keep_best or seen.linear is None or seen.collapsed:
            return
        if self.best is None or seen.linear > self.best["linear"]:
            weights = {name: v.detach().cpu().clone() for name, v in model.state_dict().items()}
            self.best = {"epoch": epoch, "linear": seen.linear, "weights": weights}

    def as_result(self) -> dict[str, Any]:
        """Return what `result.json` says."""
        kept = None if self.best is None else {k: self.best[k] for k in ("epoch", "linear")}
        return {
            "every": self.every,
            "images": len(self.sample.images),
            "first": self.first,
            "last": self.last,
            "collapsed_in": self.collapsed_in,
            "kept": kept,
        }

    def spell(self) -> str:
        """Return in words how the features went; nothing where nobody looked."""
        if not self.last:
            return ""
        rank, spread = ("watch_rank", "watch_spread")
        said = f"rank of the features {self.last[rank]:.1f}, spread {self.last[spread]:.2g}"
        said += f" ({self.first[rank]:.1f} and {self.first[spread]:.2g} before training)"
        if "watch_linear" in self.last:
            said += f", linear probe {self.last['watch_linear']:.2f}"
        if self.collapsed_in is not None:
            said += f"; collapsed in epoch {self.collapsed_in}"
        if self.best is not None:
            said += f"; kept are the weights of epoch {self.best['epoch']}, of the best probe"
        return said

    def state_dict(self) -> dict[str, Any]:
        """Return what was seen for the checkpoint."""
        return {
            "first": self.first,
            "last": self.last,
            "collapsed_in": self.collapsed_in,
            "best": self.best,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what the run that is resumed has seen."""
        self.first, self.last = dict(state_dict["first"]), dict(state_dict["last"])
        self.collapsed_in, self.best = state_dict["collapsed_in"], state_dict["best"]


class WatchPlan(NamedTuple):
    """What will be looked at, and after how many epochs each time."""

    sample: FeatureSample
    every: int


def plan_watching(
    settings: PretrainSettings, cases: Sequence[Prepared], source: Source
) -> WatchPlan | None:
    """Return what of a run's training images will be looked at; None where nothing will.

    Raises:
        ConfigError: weights are to be chosen by a probe, and there will be none.
    """
    every = settings.watch
    if every is None:
        count = min(SAMPLE, len(seen_images(cases)))
        every = epochs_between(len(cases) * max(1, settings.patches), 1, count)
    wanted = settings.keep == "best-probe"
    if every == 0 or every > settings.epochs:
        if wanted:
            raise ConfigError(
                f"keep=best-probe: the features are looked at every {every} of "
                f"{settings.epochs} epochs, so there is nothing to choose by: say watch=1, or more"
            )
        return None
    sample = FeatureSample(cases, source, settings.size, settings.seed)
    if wanted and not sample.probed:
        raise ConfigError(
            "keep=best-probe: the training images have no labels of two patients or more to probe "
            "with; leave it out"
        )
    return WatchPlan(sample, every)


def start_watching(
    plan: WatchPlan | None, settings: PretrainSettings, encoder: Encoder, console: Console
) -> FeatureWatch | None:
    """Return what looks at the features of a run, after a first look; None where nothing will."""
    if plan is None:
        return None
    wanted = settings.keep == "best-probe"
    try:
        first = watch_features(encoder, plan.sample)
    except ImageShapeError as error:
        if wanted:
            raise
        console.print(f"the features are not watched, for whole images do not suit: {error}")
        return None
    watch = FeatureWatch(plan.sample, plan.every, keep_best=wanted, console=console)
    watch.first = {"epoch": 0, **first.as_row()}
    return watch


def kept_weights(watch: FeatureWatch | None, model: nn.Module) -> None:
    """Give a model the weights that were kept, where some were."""
    if watch is not None and watch.best is not None:
        model.load_state_dict(watch.best["weights"])
