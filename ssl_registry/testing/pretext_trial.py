"""A pretext task on trial."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from ssl_registry.backbone import Backbone, FinestLevels
from ssl_registry.errors import ImageShapeError
from ssl_registry.pretext import PretextBatch, PretextTask
from ssl_registry.pretext_model import CaseInfo, Moment, PretextModel, check_model
from ssl_registry.question_model import QuestionModel
from ssl_registry.randomness import lend_to_torch
from ssl_registry.testing.networks import Answering, Asking, build, seeded, takes_images
from ssl_registry.testing.trial import BATCH, LearningTrial, Shape
from ssl_registry.trees import Tree, move, tensors_of


@dataclass(frozen=True)
class PretextTrial(LearningTrial):
    """A pretext task on trial; `backbone` None stands for the small encoder."""

    component: PretextTask
    backbone: Backbone | None = None

    def accepts(self, shape: Shape) -> bool:
        """Return whether the task has a view of images of that shape, which the backbone takes."""
        try:
            view = self.component.view_shape(shape)
        except ImageShapeError:
            return False
        return takes_images(self.backbone, view)

    @cached_property
    def batch(self) -> PretextBatch:
        """A batch made of `images()`."""
        return self.component.make_batch(self.images(), seeded(1))

    @property
    def moment(self) -> Moment:
        """The first of ten steps, for as many cases as `images()` has."""
        names = [f"case {place}" for place in range(BATCH)]
        spacing = (1.0,) * self.dims
        return Moment(0, 10, 0, [CaseInfo(name, name, spacing) for name in names])

    def model(
        self,
        channels: int | None = None,
        levels: int | None = None,
        shape: Shape | None = None,
    ) -> PretextModel:
        """Return the task's model, in training mode, on the finest `levels` of an encoder."""
        fed = self.component.view_channels(channels or self.channels[0])
        with lend_to_torch(seeded(1)):
            encoder = build(self.backbone, fed, self.dims)
            seen = encoder if levels is None else FinestLevels(encoder, levels)
            built = self.component.build_model(seen, shape or self.shapes[0])
            return check_model(built, self.label)

    @property
    def compares(self) -> bool:
        """Whether the question's model compares a head's outputs with a target."""
        return type(self.component).build_model is PretextTask.build_model

    @property
    def without_values(self) -> bool:
        """Whether the network can be tried on tensors that have shapes alone."""
        return self.compares

    def compiled(self, network: nn.Module) -> nn.Module:
        """Return all of it, or the encoder of a model that makes its views itself."""
        return network.model.encoder if isinstance(network, Asking) else network

    @property
    def target_moves(self) -> bool:
        """Whether the features alone tell if it was learnt."""
        return any(one.judged_by() == "features" for one in self.component.judged_tasks().values())

    def network(self) -> nn.Module:
        """Return a network from views to outputs, or, of a model of its own, images to loss."""
        model = self.model()
        if isinstance(model, QuestionModel) and self.compares:
            return Answering(model)
        return Asking(model, self.moment)

    def inputs(self, count: int = BATCH) -> Tensor:
        """Return views `[count, V, C, *S]`, or images where the model is the task's own."""
        return self.batch.views[:count] if self.compares else self.images(count)

    def loss(self, outputs: Tree) -> Tensor:
        """Return the task's loss of a network's outputs."""
        if not self.compares:
            assert isinstance(outputs, Tensor)
            return outputs
        first = next(tensors_of(outputs))
        loss = self.component.loss(outputs, move(self.batch.target, first.device))
        return loss if isinstance(loss, Tensor) else torch.stack(list(loss.values())).sum()

    def has_to_learn(self, network: nn.Module) -> nn.Module:
        """Return what the model adds to the encoder, of which a task may see some levels only."""
        assert isinstance(network, (Answering, Asking))
        return network.added()
