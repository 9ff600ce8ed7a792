"""Pretext tasks: the question, its answer, and the model that learns to give it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssl_registry.backbone import Encoder, FinestLevels
from ssl_registry.component import Component
from ssl_registry.errors import ImageShapeError, ImageTypeError


class PretextBatch(NamedTuple):
    """What a pretext task makes of a batch of images.

    Attributes:
        views: `[B, V, C', *S']`, what the encoder sees; V views of each image.
        target: `[B]` class index (int64), `[B, Q]` where one image is asked Q questions,
            or an image to reconstruct, or None.
        drawn: what chance decided (turn, corners in voxels, permutation), so that a
            figure, a test or a replay can tell.
    """

    views: Tensor
    target: Tensor | None
    drawn: Mapping[str, Tensor]


class Question(NamedTuple):
    """What one image of a batch was asked, in words for a figure.

    Attributes:
        text: the question and its right answer.
        views: a title for each view.
    """

    text: str
    views: list[str]


class Chance(NamedTuple):
    """What guessing reaches where a batch of images is asked a pretext task's question.

    Attributes:
        accuracy: probability that a guess is right.
        answers: how many answers, each right or wrong, the metric `accuracy` is the mean of.
    """

    accuracy: float
    answers: int


class PretextTask(Component, ABC):
    """A question that a network can be asked about an image without any label.

    A minimal task implements `make_batch`, `build_head` and `loss`.
    """

    def view_channels(self, image_channels: int) -> int:
        """Return the channels of a view of an image with `image_channels` channels."""
        return image_channels

    def view_shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the spatial shape of a view, in voxels, of an image of `image_shape`.

        Raises:
            ImageShapeError: the task cannot work on that shape; says what to change.
        """
        return image_shape

    @abstractmethod
    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        """Make views and targets of `images` `[B, C, *S]`, on the images' own device.

        It is called outside autocast: coordinates in bfloat16 would move a picture by up to half
        a pixel. All chance comes from `generator`, which may live on the CPU while the images are
        on a GPU (then only the drawn numbers travel, never an image).

        Raises:
            ImageTypeError: the images are not floating point.
            ImageShapeError: their shape does not suit the task.
        """

    @abstractmethod
    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        """Return the module that turns the pyramid of all views into the outputs.

        It is called with a list, finest level first, of `[B, V, C_l, *S_l]`.

        A head that keeps a queue of what it has seen, in its buffers, may have a method
        `remember(outputs, target)`: `PretextModel` calls it after the loss, in training
        only, with the outputs detached.
        """

    @abstractmethod
    def loss(self, outputs: Tensor, target: Tensor | None) -> Tensor:
        """Return the scalar to be lowered."""

    def metrics(self, outputs: Tensor, target: Tensor | None) -> dict[str, Tensor]:
        """Return scalars that tell how well the question is answered, such as accuracy."""
        return {}

    def chance(self, images: int) -> Chance | None:
        """Return what guessing reaches on a batch of `images`; None where nobody can say.

        By it the end of pretraining tells whether the task was learnt: the metric
        `accuracy`, which has to be the share of right answers, is tested against it. A task
        without it is taken for learnt if its validation loss is lower than the untrained
        network's.
        """
        return None

    def question(self, batch: PretextBatch, index: int) -> Question:
        """Return what image `index` of a batch was asked, for `ssl-registry preview`."""
        text = (type(self).__doc__ or type(self).__name__).strip().splitlines()[0]
        target = batch.target
        if target is not None and not target.is_floating_point():
            text += f" Here: {target[index].tolist()}"
        return Question(text, [f"view {view + 1}" for view in range(batch.views.shape[1])])

    def check_images(self, images: Tensor) -> None:
        """Raise an error that says what is wrong with a batch of images, if anything is."""
        if not images.is_floating_point():
            raise ImageTypeError(
                f"images have dtype {images.dtype}; {type(self).__name__} needs floating point: "
                "use images.float()"
            )
        axes = "[B, C, D, H, W]" if self.spatial_dims == 3 else "[B, C, H, W]"
        if images.ndim != self.spatial_dims + 2 or 0 in images.shape:
            raise ImageShapeError(
                f"images have shape {list(images.shape)}; {type(self).__name__} needs {axes}"
            )


class PretextModel(nn.Module):
    """A pretext task, an encoder and the task's head, joined for any training loop.

        encoder = backbone.build(task.view_channels(1))
        model = PretextModel(task, encoder, image_shape=(64, 64, 64))
        loss, metrics = model(images, generator)

    Args:
        task: the question.
        encoder: built for `task.view_channels(C)` channels.
        image_shape: spatial shape of the images, without batch and channels.
        levels: how many of the encoder's levels the head sees, the finest first; the others learn
            nothing. None for all of them.

    Raises:
        ImageShapeError: the task cannot work on that shape.
        ConfigError: the encoder has fewer levels.
    """

    def __init__(
        self,
        task: PretextTask,
        encoder: Encoder,
        image_shape: tuple[int, ...],
        *,
        levels: int | None = None,
    ) -> None:
        super().__init__()
        self.task = task
        self.encoder = encoder
        self.image_shape = tuple(image_shape)
        self.levels = levels
        seen = encoder if levels is None else FinestLevels(encoder, levels)
        self.head = task.build_head(seen, task.view_shape(self.image_shape))

    def forward(
        self, images: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Ask the question of `images` `[B, C, *S]`; return the loss and the metrics.

        Raises:
            ImageShapeError: the images' shape is not the one the model was built for.
        """
        if tuple(images.shape[2:]) != self.image_shape:
            raise ImageShapeError(
                f"images have shape {list(images.shape)}, but the model was built for images "
                f"of {list(self.image_shape)}"
            )
        with torch.autocast(images.device.type, enabled=False):  # views move in full precision
            batch = self.task.make_batch(images, generator)
        outputs = self.answer(batch.views)
        loss = self.task.loss(outputs, batch.target)
        remember = getattr(self.head, "remember", None)
        if self.training and remember is not None:
            remember(outputs.detach(), batch.target)
        return loss, self.task.metrics(outputs.detach(), batch.target)

    def answer(self, views: Tensor) -> Tensor:
        """Return the head's outputs for views `[B, V, C', *S']`."""
        pyramid: list[Tensor] = self.encoder(views.flatten(0, 1))[: self.levels]
        stacked = [level.reshape(*views.shape[:2], *level.shape[1:]) for level in pyramid]
        outputs: Tensor = self.head(stacked)
        return outputs
