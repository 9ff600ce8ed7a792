"""Watching features form: their rank and spread, and probes, every so many epochs of pretraining.

A loss says nothing of the features. So a fixed sample of training images goes through the encoder
now and then, in evaluation mode and without gradients: no bit of the weights changes.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from rich.console import Console
from torch import nn

from ssl_registry.backbone import Encoder, whole_encoder
from ssl_registry.data.cache.prepared import Prepared, seen_images
from ssl_registry.data.sources.cases import Source
from ssl_registry.errors import ConfigError, ImageShapeError
from ssl_registry.pretext_model import kept_encoder
from ssl_registry.training.engine.callbacks import Callback
from ssl_registry.training.pretraining.feature_quality import Watched, watch_features
from ssl_registry.training.pretraining.feature_sample import SAMPLE, FeatureSample
from ssl_registry.training.pretraining.pretext_training import Pretraining
from ssl_registry.training.settings.runs import PretrainSettings

SHARE: Final = 0.01
"""Share of the time of training that the passes of watching may take."""

LEAST_STEPS: Final = 400
"""Training steps between two looks: however small the images, their probes take some time."""

STEP_COST: Final = 3
"""A training step takes this many forward passes of an image, or more: forward and backward."""


def epochs_between(images: int, views: int, sample: int, batch_size: int = 1) -> int:
    """Return after how many epochs the features are looked at, so that it costs next to nothing.

    By the number of forward passes: the same on every machine, and the same when resumed.

    Args:
        images: that training sees in an epoch.
        views: of each.
        sample: images that are watched.
        batch_size: images of a training step.
    """
    by_passes = math.ceil(sample / (STEP_COST * images * max(1, views) * SHARE))
    return max(1, by_passes, math.ceil(LEAST_STEPS * batch_size / images))


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
        there = len(seen_images(cases))
        images = there * max(1, settings.patches)
        if settings.steps_per_epoch is not None:
            images = settings.steps_per_epoch * settings.batch_size
        every = epochs_between(images, 1, min(SAMPLE, there), settings.batch_size)
    wanted = settings.keep == "best-probe"
    if every == 0 or every > settings.epochs:
        if wanted:
            raise ConfigError(
                f"keep=best-probe: the features are looked at every {every} of "
                f"{settings.epochs} epochs, so there is nothing to choose by: set watch=1, or more"
            )
        return None
    sample = FeatureSample(cases, source, settings.size, settings.seed, settings.batch_size)
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
        console.print(f"the features are not watched, for whole images do not fit: {error}")
        return None
    watch = FeatureWatch(plan.sample, plan.every, keep_best=wanted, console=console)
    watch.first = {"epoch": 0, **first.as_row()}
    return watch


def kept_weights(watch: FeatureWatch | None, model: nn.Module) -> None:
    """Give a model the weights that were kept, where some were."""
    if watch is not None and watch.best is not None:
        model.load_state_dict(watch.best["weights"])
