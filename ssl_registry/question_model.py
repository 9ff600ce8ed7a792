"""The question's model: views are made, the encoder sees them, a head answers, a loss compares."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from ssl_registry.authors_errors import blame, spell_component
from ssl_registry.backbone import (
    Encoder,
    FinestLevels,
    check_encoder,
    check_levels,
    check_pyramid,
    whole_encoder,
)
from ssl_registry.errors import ConfigError, ImageShapeError, ImageTypeError, PluginError
from ssl_registry.heads import decoder_of
from ssl_registry.pretext import PretextBatch, PretextTask
from ssl_registry.pretext_model import PAGE, Moment, PretextModel, check_called, check_column_names
from ssl_registry.trees import Tree, detach, spell_tree, tensors_of


class QuestionModel(PretextModel):
    """A pretext task, an encoder and a head for each level that the loss is taken at.

    `task.build_model(encoder, image_shape)` makes it, unless a task has a model of its own.

    Args:
        task: the question.
        encoder: built for `task.view_channels(C)` channels.
        image_shape: spatial shape of the images, without batch and channels.

    Raises:
        ConfigError: one of the three is something else, or the encoder has fewer levels.
        ImageShapeError: the task cannot work on that shape.

    Attributes:
        head: of the coarsest level that the loss is taken at, and the only one by default.
        finer: heads of the others, by their level.
    """

    def __init__(self, task: PretextTask, encoder: Encoder, image_shape: tuple[int, ...]) -> None:
        check_pieces(task, encoder, image_shape)
        for level in task.levels:
            check_levels(encoder, level, f"levels={list(task.levels)}, level")
        super().__init__(encoder)
        self.image_shape = tuple(image_shape)
        self.task = task = task.for_shape(self.image_shape)
        views = task.view_shape(self.image_shape)
        if not _are_sides(views, task.spatial_dims):
            raise PluginError(
                f"{spell_component(task)}: view_shape returned {views!r}; it has to return the "
                f"{task.spatial_dims} sides of a view in voxels; see {PAGE}"
            )
        *finer, coarsest = task.levels or (len(encoder.channels),)
        self.coarsest = coarsest
        self.finer = nn.ModuleDict({str(level): self._head(level, views) for level in finer})
        self.head = self._head(coarsest, views)

    def _head(self, level: int, view_shape: tuple[int, ...]) -> nn.Module:
        seen = self.encoder
        if level != len(seen.channels):
            seen = FinestLevels(seen, level)
        head = self.task.build_head(seen, view_shape)
        if not isinstance(head, nn.Module):
            raise PluginError(
                f"{spell_component(self.task)}: build_head returned a {type(head).__name__}; it "
                f"has to return an nn.Module; see {PAGE}"
            )
        return head

    def forward(
        self, images: Tensor, generator: torch.Generator, moment: Moment | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Ask the question of `images` `[B, C, *S]`; return the loss and the metrics.

        Views are made in full precision, whatever the network computes in. With several levels
        the loss is the mean over them, and each level's loss and metrics stand beside it.

        Raises:
            ConfigError: the images are no tensor, or the generator is none.
            ImageShapeError: the images' shape is not the one the model was built for.
            ImageTypeError: their type is not the weights'.
            PluginError: the task or the encoder returns something else than it has to.
        """
        check_called(images, generator)
        if tuple(images.shape[2:]) != self.image_shape:
            raise ImageShapeError(
                f"images have shape {list(images.shape)}, but the model was built for images "
                f"of {list(self.image_shape)}, behind the axes of batch and channels"
            )
        batch = self.make_batch(images, generator, moment)
        pyramid = self.encode(batch)
        loss, metrics = self.compare(self.head, pyramid[: self.coarsest], batch.target)
        losses = {self.coarsest: loss}
        for name, head in self.finer.items():
            losses[int(name)], more = self.compare(head, pyramid[: int(name)], batch.target)
            metrics |= {f"{metric}_level{name}": value for metric, value in more.items()}
        if self.finer:
            metrics |= {f"loss_level{level}": one.detach() for level, one in losses.items()}
            loss = torch.stack(list(losses.values())).mean()
        return loss, metrics

    def make_batch(
        self, images: Tensor, generator: torch.Generator, moment: Moment | None = None
    ) -> PretextBatch:
        """Return views and target of `images`, made outside of autocast.

        Raises:
            PluginError: the task returned something else.
        """
        with torch.autocast(images.device.type, enabled=False), blame(self.task, "make_batch"):
            batch = self.ask(images, generator, moment)
        if not isinstance(batch, PretextBatch) or not isinstance(batch.views, Tensor):
            raise PluginError(
                f"{spell_component(self.task)}: make_batch returned {spell_tree(batch)}; it has to "
                f"return a PretextBatch(views, target, drawn); see {PAGE}"
            )
        if batch.views.ndim != images.ndim + 1 or len(batch.views) != len(images):
            raise PluginError(
                f"{spell_component(self.task)}: make_batch returned views "
                f"{list(batch.views.shape)} of images {list(images.shape)}; views have the axes "
                f"[B, V, C, *S], with V = 1 for one view of each image; see {PAGE}"
            )
        self._check_tree(batch.target, "make_batch returned a target")
        return batch

    def _check_tree(self, tree: Tree, what: str) -> None:
        """See that something of the author's is a tree of tensors."""
        try:
            tuple(tensors_of(tree))
        except PluginError as error:
            raise PluginError(
                f"{spell_component(self.task)}: {what} of {spell_tree(tree)}: {error}; see {PAGE}"
            ) from error

    def ask(
        self, images: Tensor, generator: torch.Generator, moment: Moment | None
    ) -> PretextBatch:
        """Return what the task asks of `images`.

        A task whose question needs what is known of the cases overrides this in a model of its
        own; what it takes to the device goes there with what is drawn, in one copy.

        Args:
            images: `[B, C, *S]`.
            generator: for all that chance decides.
            moment: where training stands, with `cases`; None in a loop that does not say.
        """
        return self.task.make_batch(images, generator)

    def encode(self, batch: PretextBatch) -> list[Tensor]:
        """Return the encoder's levels `[B, V, C_l, *S_l]` of the views of a batch.

        A task whose encoder looks at more than the views, such as at a mask, overrides this in a
        model of its own.
        """
        return self._pyramid(batch.views)

    def answer(self, views: Tensor) -> Tree:
        """Return the outputs of the head for views `[B, V, C', *S']`."""
        with blame(self.task, "build_head's module"):
            outputs: Tree = self.head(self._pyramid(views)[: self.coarsest])
        return outputs

    def _pyramid(self, views: Tensor) -> list[Tensor]:
        """Return the levels `[B, V, C_l, *S_l]` of views `[B, V, C', *S']`."""
        seen = views.flatten(0, 1)
        if seen.shape[1] != self.encoder.in_channels:
            raise ImageShapeError(
                f"{spell_component(self.task)}: views {list(views.shape)} have {seen.shape[1]} "
                f"channels, but the encoder was built for {self.encoder.in_channels}: build it by "
                "backbone.build(task.view_channels(C)) for images of C channels"
            )
        try:
            features = self.encoder(seen)
        except RuntimeError as error:
            _explain_type(seen, self.encoder, error)
            raise
        pyramid = check_pyramid(self.encoder, features, seen)
        return [level.reshape(*views.shape[:2], *level.shape[1:]) for level in pyramid]

    def compare(
        self, head: nn.Module, pyramid: list[Tensor], target: Tree
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a head's answers, and metrics with each loss that has a name.

        A task whose answers are compared with what a head remembers overrides this in a model of
        its own.

        Args:
            head: of one level.
            pyramid: up to that level, each `[B, V, C_l, *S_l]`.
            target: of the batch.
        """
        with blame(self.task, "build_head's module"):
            outputs: Tree = head(pyramid)
        self._check_tree(outputs, "build_head's module returned outputs")
        with blame(self.task, "loss", outputs, target):
            loss, parts = self._total(self.task.loss(outputs, target))
        with blame(self.task, "metrics", outputs, target):
            metrics = self.task.metrics(detach(outputs), target)
        if not isinstance(metrics, Mapping):
            raise PluginError(
                f"{spell_component(self.task)}: metrics returned {spell_tree(metrics)}; it has to "
                f"return a mapping of tensors of one number, by name; see {PAGE}"
            )
        if shared := parts.keys() & metrics.keys():
            raise PluginError(
                f"{spell_component(self.task)}: {', '.join(sorted(shared))} is both a loss and a "
                f"metric: metrics has to call it otherwise; see {PAGE}"
            )
        return loss, {**parts, **metrics}

    def _total(self, loss: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Add up losses by name; return the sum and, for `metrics.csv`, the parts."""
        if not isinstance(loss, Mapping):
            return self._scalar(loss, "loss"), {}
        if not loss:
            raise PluginError(
                f"{spell_component(self.task)}: loss returned a mapping without any loss; see "
                f"{PAGE}"
            )
        check_column_names(loss, spell_component(self.task))
        if "loss" in loss:
            raise PluginError(
                f"{spell_component(self.task)}: loss named one of several losses 'loss', which is "
                f"the name of their sum in metrics.csv: give it another name; see {PAGE}"
            )
        parts = {name: self._scalar(part, name) for name, part in loss.items()}
        total = torch.stack([part.reshape(()) for part in parts.values()]).sum()
        return total, {name: part.detach() for name, part in parts.items()}

    def _scalar(self, value: object, name: str) -> Tensor:
        if isinstance(value, Tensor) and value.numel() == 1:
            return value
        raise PluginError(
            f"{spell_component(self.task)}: {name} is {spell_tree(value)}; loss has to return a "
            f"tensor of one number, or a mapping of such; see {PAGE}"
        )

    def parts(self) -> dict[str, nn.Module]:
        """Return the encoder, and the decoder of a head that has one."""
        decoder = decoder_of(self.head)
        kept: dict[str, nn.Module] = {"encoder": whole_encoder(self.encoder)}
        return kept if decoder is None else {**kept, "decoder": decoder}


def _explain_type(views: Tensor, encoder: Encoder, error: RuntimeError) -> None:
    """Say where views and weights are of other types or on other devices, if that was the error."""
    weight = next((one for one in encoder.parameters() if one.is_floating_point()), views)
    if views.dtype != weight.dtype or views.device != weight.device:
        raise ImageTypeError(
            f"the views are {spell_tree(views)} on {views.device}, and the encoder's weights "
            f"{str(weight.dtype).removeprefix('torch.')} on {weight.device}: give the model "
            f"images.to({str(weight.device)!r}, {weight.dtype}), or compute under torch.autocast"
        ) from error


def _are_sides(shape: object, dims: int) -> TypeGuard[Sequence[int]]:
    return (
        isinstance(shape, (tuple, list))
        and len(shape) == dims
        and all(isinstance(side, int) and side > 0 for side in shape)
    )


def check_pieces(task: object, encoder: object, image_shape: object) -> None:
    """See that a task can be joined with an encoder for images of a shape.

    Raises:
        ConfigError: the task or the encoder is none, or the shape is not a tuple of as many whole
            numbers as the task has dimensions.
    """
    if not isinstance(task, PretextTask):
        raise ConfigError(
            f"a model was to be built for {task!r}, which is no pretext task: "
            f"registry.pretext_task(name) makes one; see {PAGE}"
        )
    if not isinstance(encoder, Encoder):
        raise ConfigError(
            f"build_model was given a {type(encoder).__name__} as the encoder; it needs an "
            "ssl_registry.Encoder, which has in_channels, channels and strides and returns a list "
            "of features: registry.backbone(name).build(in_channels), or a class of your own, see "
            "docs/how-to/my-own-backbone.md"
        )
    dims = task.spatial_dims
    if not _are_sides(image_shape, dims):
        example = (48, 48, 48)[:dims]
        raise ConfigError(
            f"image_shape={image_shape!r}: {type(task).__name__} works in {dims}D and needs the "
            f"images' {dims} sides in voxels, without batch and channels, such as {example}"
        )
    check_encoder(encoder, dims)
