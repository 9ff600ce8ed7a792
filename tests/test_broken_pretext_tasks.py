"""The checks of a pretext task see one that breaks its contract in a single respect."""

import copy
import random
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from pydantic import ConfigDict, Field, field_validator
from torch import Tensor, nn

from ssl_registry import (
    Chance,
    Encoder,
    Moment,
    PretextBatch,
    PretextModel,
    PretextTask,
    Question,
    QuestionModel,
)
from ssl_registry.errors import ImageShapeError, ImageTypeError
from ssl_registry.heads import ClassifierHead
from ssl_registry.testing import ConformanceError, check_pretext_task, checks_of_pretext_task


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


class RefusesThinImagesWithoutAWord(Flipped):
    def view_shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        if min(image_shape) < 8:
            raise ImageShapeError("too thin")
        return image_shape


class TakesAllImagesForSquares(Flipped):
    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        return TakesSquares(encoder.channels[0] * view_shape[0] ** 2)


class TakesSquares(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.classify = nn.Linear(features, 2)

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        scores: Tensor = self.classify(pyramid[0].flatten(1))
        return scores


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


class MeasuresNothing(Flipped):
    def metrics(self, outputs: Tensor, target: Tensor | None) -> dict[str, Tensor]:
        return {"right": outputs.mean() / 0}


class IsJudgedByLuck(Flipped):
    def judged_by(self) -> Any:
        return "luck"


class NeedsThreeLevels(Flipped):
    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        encoder.channels[2]
        return super().build_head(encoder, view_shape)


class OwnModel(QuestionModel):
    """The question's model, kept sound, for tasks that break one of its promises."""

    task: Flipped

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.last: Any = 0
        self.register_buffer("queue", torch.ones(4))
        if isinstance(self.task, (MovesItsTeacherInForward, TrainsItsTeacher)):
            self.teacher = copy.deepcopy(self.encoder)
        if isinstance(self.task, MovesItsTeacherInForward):
            self.teacher.requires_grad_(False)

    def forward(
        self, images: Tensor, generator: torch.Generator, moment: Moment | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss, metrics = super().forward(self.task.before(images), generator, moment)
        return self.task.after(self, loss, images), metrics

    def parts(self) -> dict[str, nn.Module]:
        kept = super().parts()
        return {**kept, "head": self.head} if isinstance(self.task, KeepsItsHead) else kept


class HasAModel(Flipped):
    def build_model(self, encoder: Encoder, image_shape: tuple[int, ...]) -> PretextModel:
        return OwnModel(self, encoder, image_shape)

    def before(self, images: Tensor) -> Tensor:
        return images

    def after(self, model: OwnModel, loss: Tensor, images: Tensor) -> Tensor:
        return loss


class KeepsAGraph(HasAModel):
    def after(self, model: OwnModel, loss: Tensor, images: Tensor) -> Tensor:
        loss = loss + 0.1 * model.last
        model.last = loss
        return loss


class WritesOverItsQueue(HasAModel):
    def after(self, model: OwnModel, loss: Tensor, images: Tensor) -> Tensor:
        loss = (loss * model.queue).mean()
        model.queue.add_(1)
        return loss


class CountsInAnAttribute(HasAModel):
    def after(self, model: OwnModel, loss: Tensor, images: Tensor) -> Tensor:
        model.last += 1
        return loss * model.last


class MovesItsTeacherInForward(HasAModel):
    def after(self, model: OwnModel, loss: Tensor, images: Tensor) -> Tensor:
        for parameter in model.teacher.parameters():
            parameter.mul_(0.9)
        return loss


class TrainsItsTeacher(HasAModel):
    def after(self, model: OwnModel, loss: Tensor, images: Tensor) -> Tensor:
        return loss + model.teacher(images)[-1].mean() ** 2


class MakesViewsUnderAutocast(HasAModel):
    def before(self, images: Tensor) -> Tensor:
        return (images @ torch.eye(images.shape[-1])).float()


class KeepsItsHead(HasAModel):
    """Names a part that nobody can use."""


class GuessesInPercent(Flipped):
    def chance(self, images: int) -> Chance:
        return Chance(50, images)


class GuessesWhatItDoesNotMeasure(Flipped):
    def metrics(self, outputs: Tensor, target: Tensor | None) -> dict[str, Tensor]:
        return {}

    def chance(self, images: int) -> Chance:
        return Chance(0.5, images)


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


class DoublesItsField(Flipped):
    @field_validator("axis")
    @classmethod
    def double(cls, axis: int) -> int:
        return 2 * axis


class TakesAnything(Flipped):
    axis: Any = -1


class RefusesOnlyWhenAsked(Flipped):
    def view_shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(image_shape)) > 1:
            raise ImageShapeError("sides must be equal: change `size`")
        return image_shape


class NeedsEvenSides(Flipped):
    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        if images.ndim == 4 and images.shape[-1] % 2:
            raise RuntimeError("odd")
        return super().make_batch(images, generator)


class DividesByTheSpread(Flipped):
    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        self.check_images(images)
        return super().make_batch((images - images.mean()) / images[0].std(), generator)


class HasNoTitles(Flipped):
    def question(self, batch: PretextBatch, index: int) -> Question:
        return Question("Was it flipped?", [])


class HasNoWords(Flipped):
    def question(self, batch: PretextBatch, index: int) -> Question:
        return Question(" ", ["image"])


class ReversesTheGradient(Flipped):
    def loss(self, outputs: Tensor, target: Tensor | None) -> Tensor:
        loss = super().loss(outputs, target)
        return 2 * loss.detach() - loss


class ReversesTheGradientOfAMovingTarget(ReversesTheGradient):
    def judged_by(self) -> Literal["features"]:
        return "features"


class FillsItsQueue(HasAModel):
    """Sound: its loss grows as its queue does."""

    def judged_by(self) -> Literal["features"]:
        return "features"

    def after(self, model: OwnModel, loss: Tensor, images: Tensor) -> Tensor:
        loss = loss + model.queue.sum()
        model.queue = model.queue + 1
        return loss


class WrappedHead(nn.Module):
    """The head of `Flipped`, with something before it."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        outputs: Tensor = self.head(self.change(list(pyramid)))
        return outputs

    def change(self, pyramid: list[Tensor]) -> list[Tensor]:
        return pyramid


class HasAHead(Flipped):
    """Whose head is `head`, around the sound one."""

    head: ClassVar[type[WrappedHead]]

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        return self.head(super().build_head(encoder, view_shape))


class IsAnotherWhenCompiled(HasAHead):
    class head(WrappedHead):  # noqa: N801
        def change(self, pyramid: list[Tensor]) -> list[Tensor]:
            return [pyramid[-1] * 0] if torch.compiler.is_compiling() else pyramid


class MixesDtypes(HasAHead):
    class head(WrappedHead):  # noqa: N801
        def change(self, pyramid: list[Tensor]) -> list[Tensor]:
            features = torch.zeros_like(pyramid[-1], dtype=torch.float32)
            features[:, :] = 0
            features[torch.ones(len(features), dtype=torch.bool)] = pyramid[-1]
            return [features]


class LeavesATensorBehind(HasAHead):
    class head(WrappedHead):  # noqa: N801
        def __init__(self, head: nn.Module) -> None:
            super().__init__(head)
            self.weights = torch.ones(16, 1, 1)

        def change(self, pyramid: list[Tensor]) -> list[Tensor]:
            return [pyramid[-1] * self.weights]


class CountsImages(HasAHead):
    class head(WrappedHead):  # noqa: N801
        def change(self, pyramid: list[Tensor]) -> list[Tensor]:
            return [pyramid[-1].reshape(4, *pyramid[-1].shape[1:])]


class WantsGreyImages(HasAHead):
    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        assert encoder.in_channels == 1, "grey images only"
        return Flipped.build_head(self, encoder, view_shape)


BROKEN: dict[str, list[tuple[Flipped, str]]] = {
    "fields_make_it_again": [(DoublesItsField(axis=-1), "made again from its own fields")],
    "json_gives_it_back": [(HasAFieldThatJsonLoses(scale=2.0), "round trip through JSON")],
    "pickle_gives_it_back": [(ForgetsInPickle(axis=-2), "round trip through pickle")],
    "equal_components_hash_alike": [
        (HashesByPlace(), "equal hashes"),
        (HasAListField(), "hashable.*unhashable"),
    ],
    "fields_cannot_be_changed": [(CanBeChanged(), "change of axis")],
    "unknown_fields_are_refused": [(TakesUnknownFields(), "no_such_field")],
    "nonsense_is_refused": [(TakesAnything(), r"axis=object\(\) to be refused")],
    "views_have_the_promised_shape": [
        (PromisesAnotherShape(), "view_shape"),
        (PromisesOtherChannels(), "view_channels"),
    ],
    "other_sizes_work_or_are_refused": [
        (RefusesOnlyWhenAsked(), "refused with ImageShapeError.*no error"),
        (NeedsEvenSides(), "RuntimeError: odd"),
    ],
    "one_image_is_a_batch_or_is_refused": [
        (AnswersTwice(), r"views of one image, \[1, V"),
        (FailsOnOneImage(), "AssertionError"),
    ],
    "views_keep_the_dtype": [
        (NeedsFloat32(), "not implemented for 'BFloat16'"),
        (ReturnsFloat32(), "views of torch.float16"),
    ],
    "constant_images_stay_finite": [(DividesByTheSpread(), "nan or inf")],
    "targets_are_classes_or_images": [
        (HasATargetTooFew(), r"a target \[4, ...\]\s+came +\[3\]"),
        (HasAnInt32Target(), "torch.int32"),
    ],
    "equal_generators_give_equal_batches": [(DrawsFromTorchInSecret(), "equal generators")],
    "other_generators_give_other_batches": [(IgnoresTheGenerator(), "14 other seeds")],
    "batches_leave_global_streams_alone": [
        (DrawsFromTorch(), "a stream that moved"),
        (DrawsFromNumpy(), "a stream that moved"),
        (DrawsFromPython(), "a stream that moved"),
    ],
    "batches_leave_images_alone": [(ModifiesImages(), "changed images")],
    "memory_order_makes_no_difference": [(ReadsMemoryOrder(), "non-contiguous")],
    "integers_are_refused": [(TakesIntegers(), "int16 to be refused with ImageTypeError")],
    "missing_axes_are_refused": [(TakesAnyAxes(), "refused with ImageShapeError")],
    "question_is_put_in_words": [(HasNoTitles(), "1 titles"), (HasNoWords(), "words for")],
    "losses_are_finite_scalars": [(LosesPerImage(), r"\[4\]"), (LosesNothing(), "came +inf")],
    "gradients_reach_every_parameter": [
        (LearnsNothing(), "finite gradient for .* none"),
        (HasAnUnusedLayer(), "spare.weight"),
        (CutsTheEncoderOff(), "reaches the encoder"),
    ],
    "training_lowers_the_loss": [
        (ReversesTheGradient(), "a loss below"),
        (ReversesTheGradientOfAMovingTarget(), "a loss below"),
    ],
    "compiling_changes_nothing": [(IsAnotherWhenCompiled(), "when compiled")],
    "autocast_works": [(MixesDtypes(), "dtype")],
    "work_stays_on_the_device": [(LeavesATensorBehind(), "a step on the device 'meta'")],
    "heads_fit_images_of_any_channels": [(WantsGreyImages(), "grey images only")],
    "smaller_batches_are_answered": [(CountsImages(), "shape .* invalid")],
    "thick_slices_are_learnt_or_refused": [
        (RefusesThinImagesWithoutAWord(), "refused with what to set.*too thin"),
        (TakesAllImagesForSquares(), r"cannot\s+be\s+multiplied"),
    ],
    "metrics_are_finite_scalars": [
        (MeasuresPerImage(), r"right is bool \[4\]"),
        (MeasuresNothing(), "metric 'right'"),
    ],
    "chance_goes_with_accuracy": [
        (GuessesInPercent(), "a probability"),
        (GuessesWhatItDoesNotMeasure(), "a metric 'accuracy'"),
    ],
    "judging_is_said": [(IsJudgedByLuck(), "came +'luck'")],
    "a_second_step_works": [
        (KeepsAGraph(), "step number 2.*second time"),
        (WritesOverItsQueue(), "step number 1.*inplace operation"),
    ],
    "the_finest_level_alone_works": [(NeedsThreeLevels(), "IndexError")],
    "state_gives_the_next_loss": [(CountsInAnAttribute(), "the loss")],
    "teachers_move_after_the_step_alone": [(MovesItsTeacherInForward(), "stand still in forward")],
    "teachers_have_no_gradient": [(TrainsItsTeacher(), "without a gradient")],
    "views_do_not_depend_on_autocast": [(MakesViewsUnderAutocast(), "the same views")],
    "what_is_kept_is_named": [(KeepsItsHead(), "names .head., which nothing keeps")],
}
"""For every check of a pretext task, what it has to catch."""

CASES = [(check, broken, words) for check, cases in BROKEN.items() for broken, words in cases]


def test_the_sound_task_passes() -> None:
    check_pretext_task(Flipped(axis=-2), image_shape=(16, 16))


def test_a_class_is_checked_with_its_default_fields() -> None:
    check_pretext_task(Flipped, image_shape=(16, 16))


def test_a_queue_that_fills_may_raise_the_loss_of_a_task_judged_by_its_features() -> None:
    checks = checks_of_pretext_task(FillsItsQueue(), image_shape=(16, 16))
    (found,) = [check for check in checks if check.name == "training_lowers_the_loss"]
    found()


@pytest.mark.parametrize(
    ("check", "broken", "words"), CASES, ids=[f"{c}-{type(b).__name__}" for c, b, _ in CASES]
)
def test_a_check_catches_a_broken_pretext_task(check: str, broken: Flipped, words: str) -> None:
    (found,) = [c for c in checks_of_pretext_task(broken, image_shape=(16, 16)) if c.name == check]
    with pytest.raises(ConformanceError, match=f"(?s){check} does not hold.*{words}"):
        found()
    with pytest.raises(ConformanceError):
        check_pretext_task(broken, image_shape=(16, 16))


def test_every_check_of_a_pretext_task_is_proved_by_a_broken_one() -> None:
    assert list(BROKEN) == [check.name for check in checks_of_pretext_task(Flipped)]
