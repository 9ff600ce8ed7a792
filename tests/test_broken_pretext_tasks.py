"""The checks of a pretext task see one that breaks its contract in a single respect."""

import random
from typing import ClassVar, Literal

import numpy as np
import pytest
import torch
from pydantic import ConfigDict, Field
from torch import Tensor, nn

from ssl_registry import (
    Encoder,
    PretextBatch,
    PretextTask,
)
from ssl_registry.errors import ImageTypeError
from ssl_registry.heads import ClassifierHead
from ssl_registry.testing import check_pretext_task


class Flipped(PretextTask):
    """Was the image flipped? Sound: every broken task below differs from it in one respect."""

    spatial_dims: ClassVar[Literal[2, 3]] = 2

    axis: int = -1

    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        self.check_images(images)
        target = torch.randint(2, images.shape[:1], generator=generator)
        views = torch.where(target.view(-1, 1, 1, 1) == 1, images.flip(self.axis), images)
        return PretextBatch(views[:, None], target, {"flipped": target})

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        return ClassifierHead(encoder, view_shape, views=1, classes=2)

    def loss(self, outputs: Tensor, target: Tensor | None) -> Tensor:
        assert target is not None
        return nn.functional.cross_entropy(outputs, target)

    def metrics(self, outputs: Tensor, target: Tensor | None) -> dict[str, Tensor]:
        assert target is not None
        return {"accuracy": outputs.argmax(1).eq(target).float().mean()}


class DrawsFromTorch(Flipped):
    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        images = images + torch.rand(())
        return super().make_batch(images, generator)


class DrawsFromTorchInSecret(Flipped):
    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        with torch.random.fork_rng():
            images = images + torch.rand(())
        return super().make_batch(images, generator)


class DrawsFromNumpy(Flipped):
    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        np.random.rand()
        return super().make_batch(images, generator)


class DrawsFromPython(Flipped):
    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        random.random()
        return super().make_batch(images, generator)


class ModifiesImages(Flipped):
    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        self.check_images(images)
        return super().make_batch(images.mul_(2), generator)


class IgnoresTheGenerator(Flipped):
    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        return super().make_batch(images, torch.Generator().manual_seed(0))


class PromisesAnotherShape(Flipped):
    def view_shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (image_shape[0] // 2, *image_shape[1:])


class PromisesOtherChannels(Flipped):
    def view_channels(self, image_channels: int) -> int:
        return image_channels + 1


class NeedsFloat32(Flipped):
    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        if images.dtype == torch.bfloat16:
            raise RuntimeError("not implemented for 'BFloat16'")
        return super().make_batch(images, generator)


class ReturnsFloat32(Flipped):
    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        batch = super().make_batch(images, generator)
        return batch._replace(views=batch.views.float())


class TakesIntegers(Flipped):
    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        if not images.is_floating_point():
            images = images.float()
        return super().make_batch(images, generator)


class TakesAnyAxes(Flipped):
    def check_images(self, images: Tensor) -> None:
        if not images.is_floating_point():
            raise ImageTypeError("integers")


class AnswersTwice(Flipped):
    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        self.check_images(images)
        return super().make_batch(
            images.repeat(2, 1, 1, 1) if len(images) == 1 else images, generator
        )


class ReadsMemoryOrder(Flipped):
    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        self.check_images(images)
        images = images.as_strided(images.shape, images.contiguous().stride())
        return super().make_batch(images, generator)


class FailsOnOneImage(Flipped):
    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        assert len(images) > 1
        return super().make_batch(images, generator)


class HasATargetTooFew(Flipped):
    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        batch = super().make_batch(images, generator)
        assert batch.target is not None
        return batch._replace(target=batch.target[1:])


class HasAnInt32Target(Flipped):
    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        batch = super().make_batch(images, generator)
        assert batch.target is not None
        return batch._replace(target=batch.target.int())


class LosesPerImage(Flipped):
    def loss(self, outputs: Tensor, target: Tensor | None) -> Tensor:
        assert target is not None
        return nn.functional.cross_entropy(outputs, target, reduction="none")


class LosesNothing(Flipped):
    def loss(self, outputs: Tensor, target: Tensor | None) -> Tensor:
        return super().loss(outputs, target) * torch.inf


class LearnsNothing(Flipped):
    def loss(self, outputs: Tensor, target: Tensor | None) -> Tensor:
        return super().loss(outputs.detach().requires_grad_(), target)


class MeasuresPerImage(Flipped):
    def metrics(self, outputs: Tensor, target: Tensor | None) -> dict[str, Tensor]:
        assert target is not None
        return {"right": outputs.argmax(1).eq(target)}


class HasAnUnusedLayer(Flipped):
    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        head = super().build_head(encoder, view_shape)
        head.spare = nn.Linear(1, 1)
        return head


class CutsTheEncoderOff(Flipped):
    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        head = super().build_head(encoder, view_shape)
        head.register_forward_pre_hook(lambda _, given: ([x.detach() for x in given[0]],))
        return head


class CanBeChanged(Flipped):
    model_config = ConfigDict(frozen=False)

    def __hash__(self) -> int:
        return hash(self.axis)


class HashesByPlace(Flipped):
    def __hash__(self) -> int:
        return id(self)


class ForgetsInPickle(Flipped):
    def __reduce__(self) -> tuple[type[Flipped], tuple[()]]:
        return type(self), ()


class TakesUnknownFields(Flipped):
    model_config = ConfigDict(extra="ignore")


class HasAListField(Flipped):
    axes: list[int] = [-1]


class HasAFieldThatJsonLoses(Flipped):
    scale: float = Field(1.0, exclude=True)


BROKEN: list[tuple[Flipped, str]] = [
    (DrawsFromTorch(), "never from a global stream"),
    (DrawsFromTorchInSecret(), "equal generators give equal bits"),
    (DrawsFromNumpy(), "never from a global stream"),
    (DrawsFromPython(), "never from a global stream"),
    (ModifiesImages(), "does not modify the images"),
    (IgnoresTheGenerator(), "different generators"),
    (PromisesAnotherShape(), "view_shape"),
    (PromisesOtherChannels(), "view_channels"),
    (NeedsFloat32(), "works on torch.bfloat16 images.*not implemented"),
    (ReturnsFloat32(), "views keep the images' torch.float16"),
    (TakesIntegers(), "integers is refused with ImageTypeError"),
    (TakesAnyAxes(), "missing channel axis is refused with ImageShapeError"),
    (ReadsMemoryOrder(), "non-contiguous"),
    (AnswersTwice(), "one image gives the views of one"),
    (HashesByPlace(), "equal hashes"),
    (ForgetsInPickle(axis=-2), "round trip through pickle"),
    (FailsOnOneImage(), "one image is a batch"),
    (HasATargetTooFew(), "one item for each image"),
    (HasAnInt32Target(), "target is int64"),
    (LosesPerImage(), "finite scalar|step through PretextModel"),
    (LosesNothing(), "loss is a finite scalar"),
    (LearnsNothing(), "head's .* receives a gradient"),
    (MeasuresPerImage(), "metric 'right'"),
    (HasAnUnusedLayer(), "head's spare.weight receives a gradient"),
    (CutsTheEncoderOff(), "encoder receives a gradient"),
    (CanBeChanged(), "change of a field is refused"),
    (TakesUnknownFields(), "unknown field is refused"),
    (HasAListField(), "hashable"),
    (HasAFieldThatJsonLoses(scale=2.0), "round trip through JSON"),
]


def test_the_sound_task_passes() -> None:
    check_pretext_task(Flipped(axis=-2), image_shape=(16, 16))


@pytest.mark.parametrize(("broken", "claim"), BROKEN, ids=lambda x: type(x).__name__)
def test_a_broken_pretext_task_is_caught(broken: Flipped, claim: str) -> None:
    with pytest.raises(AssertionError, match=f"does not hold.*({claim})"):
        check_pretext_task(broken, image_shape=(16, 16))
