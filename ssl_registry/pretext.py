"""Pretext tasks: a question about an image, and the model that learns to answer it."""

from abc import ABC
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from ssl_registry.backbone import Encoder
from ssl_registry.component import Component
from ssl_registry.errors import ImageShapeError, ImageTypeError, PluginError
from ssl_registry.pretext_model import PAGE, JudgedBy, PretextModel
from ssl_registry.trees import Tree


class PretextBatch(NamedTuple):
    """What a pretext task makes of a batch of images.

    Attributes:
        views: `[B, V, C', *S']`, what the encoder sees; V views of each image.
        target: `[B]` class index (int64), `[B, Q]` where one image is asked Q questions, an
            image to reconstruct, a tuple or mapping of several such tensors, or None.
        drawn: what chance decided (turn, corners in voxels, permutation), so that a
            figure, a test or a replay can tell.
    """

    views: Tensor
    target: Tree
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

    There are two ways to write one. **The question** implements `make_batch`, `build_head` and
    `loss`: views are made, the encoder sees them, a head answers, the loss compares. **The
    model** overrides `build_model` alone and owns its forward pass: teachers, several passes,
    crops of several sizes.
    """

    levels: tuple[int, ...] = Field(
        (),
        repr=False,
        exclude_if=lambda levels: not levels,
        description="at which levels of the encoder's pyramid the loss is taken, 1 being the "
        "finest, each with a head of its own; by default once, on the whole pyramid",
    )

    @field_validator("levels", mode="before")
    @classmethod
    def _one_level_is_a_list(cls, value: object) -> object:
        return (value,) if isinstance(value, int) else value

    @field_validator("levels")
    @classmethod
    def _levels_are_counted_from_one(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(level < 1 for level in value) or len(set(value)) < len(value):
            raise ValueError("levels are counted from 1, the finest, and each is named once")
        return tuple(sorted(value))

    def build_model(self, encoder: Encoder, image_shape: tuple[int, ...]) -> PretextModel:
        """Return the model that learns this task: `model(images, generator)` is loss and metrics.

        Args:
            encoder: built for `view_channels(C)` channels.
            image_shape: spatial shape of the images in voxels, without batch and channels.

        Raises:
            ImageShapeError: the task cannot work on that shape.
            ConfigError: the encoder is none, or has fewer levels than are asked for.
        """
        from ssl_registry.question_model import QuestionModel

        return QuestionModel(self, encoder, image_shape)

    @classmethod
    def listed_fields(cls) -> tuple[str, ...]:
        """Return the task's own fields, and behind them what every task has."""
        shared = PretextTask.model_fields
        own = [name for name in cls.model_fields if name not in shared]
        return (*own, *shared)

    @classmethod
    def asks(cls) -> bool:
        """Return whether there are views and a question to look at, model of its own or not."""
        return cls.make_batch is not PretextTask.make_batch

    @classmethod
    def missing_methods(cls) -> list[str]:
        """Return the question's methods that are missing; none where there is a model."""
        missing = super().missing_methods()
        if cls.build_model is not PretextTask.build_model:
            return missing
        asked = ("build_head", "loss", "make_batch")
        return [*missing, *(m for m in asked if getattr(cls, m) is getattr(PretextTask, m))]

    def for_shape(self, image_shape: tuple[int, ...]) -> Self:
        """Return the task as it is asked of images of that shape.

        It is the task itself, unless which answers there are depends on the shape: then a copy
        whose fields say them. `chance` is asked of such a copy.

        Raises:
            ImageShapeError: the task cannot work on that shape; says what to change.
        """
        return self

    def view_channels(self, image_channels: int) -> int:
        """Return the channels of a view of an image with `image_channels` channels."""
        return image_channels

    def view_shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the spatial shape of a view, in voxels, of an image of `image_shape`.

        Raises:
            ImageShapeError: the task cannot work on that shape; says what to change.
        """
        return image_shape

    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        """Make views and targets of `images` `[B, C, *S]`, on the images' own device.

        It is called outside autocast: coordinates in bfloat16 would move a picture by up to half
        a pixel. All chance comes from `generator`, which may live on the CPU while the images are
        on a GPU (then only the drawn numbers travel, never an image).

        Raises:
            ImageTypeError: the images are not floating point.
            ImageShapeError: their shape does not suit the task.
        """
        raise self._not_asked("make_batch")

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        """Return the module that turns the pyramid of all views into the outputs.

        It is called with a list, finest level first, of `[B, V, C_l, *S_l]`.

        A head with a `decoder`, or that is a `heads.UNetDecoder`, has it kept beside the encoder.
        """
        raise self._not_asked("build_head")

    def loss(self, outputs: Any, target: Any) -> Tensor | Mapping[str, Tensor]:
        """Return the scalar to be lowered, or several by name, which are added up.

        Args:
            outputs: of the head: a tensor or a tree of tensors.
            target: of the batch.
        """
        raise self._not_asked("loss")

    def metrics(self, outputs: Any, target: Any) -> dict[str, Tensor]:
        """Return scalars that measure how well the question is answered, such as accuracy."""
        return {}

    def chance(self, images: int) -> Chance | None:
        """Return what guessing reaches on a batch of `images`; None where nobody can say.

        The metric `accuracy`, which has to be the share of right answers, is tested against it
        where the task is `judged_by` its answers.
        """
        return None

    def judged_by(self) -> JudgedBy:
        """Return by what the task is judged to be learnt at the end of pretraining.

        `"answers"`: the metric `accuracy` on validation images, against `chance`. `"loss"`: the
        validation loss, against the untrained network's. `"features"`: that the features of
        validation images changed and did not collapse, where the loss says nothing because its
        target moves, as a teacher's does. Without more it is the answers where `chance` is
        known, and else the loss.
        """
        return "loss" if self.chance(2) is None else "answers"

    def smallest_batch(self) -> int:
        """Return how many images a batch needs at least for a step to teach anything.

        A run whose batches are smaller is refused before it starts. Fewer may come in evaluation.
        """
        return 1

    def judged_tasks(self) -> Mapping[str, "PretextTask"]:
        """Return the tasks that are judged at the end, by the prefix of their metrics.

        It is this one alone, without a prefix, unless it is made of several.
        """
        return {"": self}

    def question(self, batch: PretextBatch, index: int) -> Question:
        """Return what image `index` of a batch was asked, for `ssl-registry preview`."""
        text = (type(self).__doc__ or type(self).__name__).strip().splitlines()[0]
        target = batch.target
        if isinstance(target, Tensor) and not target.is_floating_point():
            text += f" Here: {target[index].tolist()}"
        return Question(text, [f"view {view + 1}" for view in range(batch.views.shape[1])])

    def _not_asked(self, method: str) -> PluginError:
        name = type(self).__name__
        return PluginError(
            f"{name} implements no {method}: a pretext task implements make_batch, build_head and "
            f"loss, or build_model alone; see {PAGE}"
        )

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
