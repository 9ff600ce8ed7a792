"""The question's model: losses at several levels, trees, and wrong use answered in words."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssl_registry import (
    Encoder,
    PretextBatch,
    PretextModel,
    PretextTask,
    QuestionModel,
    registry,
)
from ssl_registry.errors import (
    ConfigError,
    ImageShapeError,
    ImageTypeError,
    PluginError,
    SslRegistryError,
)
from ssl_registry.heads import ClassifierHead
from ssl_registry.pretext_model import check_model
from tests.dense import Inverted3d

SHAPE = (12, 12, 12)


def encoder_of(levels: int = 3) -> Encoder:
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        return registry.create("unet3d", base_filters=2, levels=levels).build(1)  # type: ignore[attr-defined, no-any-return]


def ask(model: PretextModel, images: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    if images is None:
        images = torch.rand(2, 1, *SHAPE, generator=torch.Generator().manual_seed(1))
    return model(images, torch.Generator().manual_seed(2))  # type: ignore[no-any-return]


def test_the_loss_is_the_mean_over_the_levels_asked_for() -> None:
    task = registry.create("rotation3d", levels=[1, 3])
    loss, metrics = ask(task.build_model(encoder_of(), SHAPE))  # type: ignore[attr-defined]
    levels = [metrics["loss_level1"], metrics["loss_level3"]]
    assert torch.allclose(loss, torch.stack(levels).mean())
    assert {"accuracy", "accuracy_level1"} <= metrics.keys()


def test_a_level_is_asked_with_the_finer_ones_alone() -> None:
    """What level 1 is computed from is all that its loss trains."""
    encoder = encoder_of()
    model = registry.create("rotation3d", levels=1).build_model(encoder, SHAPE)  # type: ignore[attr-defined]
    ask(model)[0].backward()
    trained = {name.split(".")[1] for name, p in encoder.named_parameters() if p.grad is not None}
    assert trained == {"0"}


def test_all_levels_as_one_is_the_default() -> None:
    plain, same = (
        ask(registry.create("rotation3d", levels=levels).build_model(encoder_of(), SHAPE))[0]  # type: ignore[attr-defined]
        for levels in ([], [3])
    )
    assert plain.shape == same.shape == ()


@pytest.mark.parametrize(("levels", "words"), [([0], "from 1"), ([2, 2], "named once")])
def test_levels_that_cannot_be_are_refused(levels: list[int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        registry.create("rotation3d", levels=levels)
    with pytest.raises(ConfigError, match="the encoder has 3 levels"):
        registry.create("rotation3d", levels=[4]).build_model(encoder_of(), SHAPE)  # type: ignore[attr-defined]


def test_named_losses_are_added_up_and_shown() -> None:
    loss, metrics = ask(Inverted3d().build_model(encoder_of(), SHAPE))
    assert torch.allclose(loss, metrics["absolute"] + metrics["squared"])
    assert not metrics["squared"].requires_grad


def test_the_decoder_of_a_dense_head_is_kept() -> None:
    model = Inverted3d().build_model(encoder_of(), SHAPE)
    assert set(model.parts()) == {"encoder", "decoder"}
    assert set(registry.create("rotation3d").build_model(encoder_of(), SHAPE).parts()) == {  # type: ignore[attr-defined]
        "encoder"
    }


class Misshapen(nn.Module):
    """An encoder that is none."""


class NotAPyramid(Encoder):
    in_channels, channels, strides = 1, (2,), ((1, 1, 1),)

    def forward(self, x: Tensor) -> Any:
        return x.expand(-1, 2, -1, -1, -1)


class UntrueChannels(Encoder):
    in_channels, channels, strides = 1, (5,), ((1, 1, 1),)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x.expand(-1, 2, -1, -1, -1)]


class SaysNothing(Encoder):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [x.expand(-1, 2, -1, -1, -1)]


class OneNumber(UntrueChannels):
    channels = 2  # type: ignore[assignment]


class OneStride(UntrueChannels):
    channels, strides = (2,), (1,)  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("encoder", "shape", "words"),
    [
        (Misshapen(), SHAPE, "a Misshapen as the encoder.*my-own-backbone"),
        ("unet3d", SHAPE, "a str as the encoder"),
        (encoder_of(), 24, r"image_shape=24.*3 sides in voxels"),
        (encoder_of(), (24, 24), r"image_shape=\(24, 24\).*works in 3D"),
        (encoder_of(), (24, 24, "24"), "3 sides"),
    ],
)
def test_wrong_pieces_are_refused_in_words(encoder: Any, shape: Any, words: str) -> None:
    for task in (registry.create("rotation3d"), registry.create("exemplar3d")):
        with pytest.raises(ConfigError, match=words):
            task.build_model(encoder, shape)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        (SaysNothing(), "SaysNothing sets no `in_channels`.*my-own-backbone"),
        (OneNumber(), r"OneNumber.channels is 2: .*each level.*my-own-backbone"),
        (NotAPyramid(), "NotAPyramid returned a Tensor.*my-own-backbone"),
        (OneStride(), r"OneStride.strides is \(1,\).*3D.*spatial axis.*\(\(1, 1, 1\),\)"),
        (UntrueChannels(), r"`channels` say \[5\].*my-own-backbone"),
    ],
)
def test_an_encoder_that_does_not_keep_its_word_is_named(encoder: Any, words: str) -> None:
    class Any3d(Inverted3d):
        def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
            return nn.Identity()

    with pytest.raises(PluginError, match=words):
        ask(Any3d().build_model(encoder, SHAPE))


@pytest.mark.parametrize("task", ["rotation3d", Inverted3d, None])
def test_what_is_no_task_is_refused_in_words(task: Any) -> None:
    with pytest.raises(ConfigError, match=r"no pretext task: registry.pretext_task\(name\)"):
        QuestionModel(task, encoder_of(), SHAPE)


@pytest.mark.parametrize(
    "images", [[torch.rand(1, *SHAPE)], torch.rand(2, 1, *SHAPE).numpy()], ids=["list", "array"]
)
def test_images_that_are_no_tensor_are_refused_in_words(images: Any) -> None:
    for task in (Inverted3d(), registry.create("joint", tasks=["rotation3d", "exemplar3d"])):
        model = task.build_model(encoder_of(), SHAPE)  # type: ignore[attr-defined]
        with pytest.raises(ConfigError, match="as the images; they are a tensor"):
            model(images, torch.Generator())


def test_images_of_another_type_than_the_weights_are_refused_in_words() -> None:
    model = registry.pretext_task("rotation3d").build_model(encoder_of(), SHAPE)
    with pytest.raises(ImageTypeError, match=r"float64.*weights float32.*images.to\('cpu'"):
        ask(model, torch.rand(2, 1, *SHAPE, dtype=torch.float64))


@pytest.mark.parametrize("generator", [5, None])
def test_what_is_no_generator_is_not_blamed_on_the_task(generator: Any) -> None:
    for task in (Inverted3d(), registry.create("joint", tasks=["rotation3d", "exemplar3d"])):
        model = task.build_model(encoder_of(), (12, 12, 12))  # type: ignore[attr-defined]
        with pytest.raises(ConfigError, match="as the generator.*derive_generator"):
            model(torch.rand(2, 1, 12, 12, 12), generator)


def test_a_part_that_nothing_keeps_is_refused() -> None:
    class Projected(PretextModel):
        def parts(self) -> dict[str, nn.Module]:
            return {**super().parts(), "projector": nn.Identity()}

    with pytest.raises(PluginError, match="'projector', which nothing keeps"):
        check_model(Projected(encoder_of()), "Mine3d")


def test_the_base_takes_an_encoder_and_says_how_a_model_is_made() -> None:
    for given in (("rotation3d", encoder_of(), SHAPE), (Inverted3d(), encoder_of(), SHAPE)):
        with pytest.raises(ConfigError, match=r"task.build_model\(encoder.*registry.pretext_task"):
            PretextModel(*given)  # type: ignore[arg-type]
    with pytest.raises(PluginError, match="no forward.*my-own-task"):
        ask(PretextModel(encoder_of()))


class Careless(Inverted3d):
    """Sound but for one method, replaced in each test."""

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        return ClassifierHead(encoder, view_shape, views=1, classes=2)


def break_loss(self: Any, outputs: Any, target: Any) -> Any:
    return outputs.mean(), 0


def break_types(self: Any, outputs: Any, target: Any) -> Any:
    return (outputs - target).mean()


def break_batch(self: Any, images: Tensor, generator: torch.Generator) -> Any:
    return images, None


def break_target(self: Any, images: Tensor, generator: torch.Generator) -> Any:
    return PretextBatch(images[:, None], np.zeros(len(images)), {})  # type: ignore[arg-type]


def break_count(self: Any, images: Tensor, generator: torch.Generator) -> Any:
    return PretextBatch(images[:1, None], None, {})


def break_axes(self: Any, images: Tensor, generator: torch.Generator) -> PretextBatch:
    return PretextBatch(images, None, {})


@pytest.mark.parametrize(
    ("method", "function", "words"),
    [
        ("loss", break_loss, r"loss is \(float32 \[\], int\); loss has to return a tensor"),
        ("loss", break_types, r"loss of float32 \[2, 2\], \(float32 .*TypeError"),
        ("loss", lambda *_: {"loss": torch.ones(())}, "one of several losses 'loss'"),
        ("loss", lambda *_: {1: torch.ones(())}, "a loss or metric is named 1"),
        ("view_shape", lambda *_: 12, "view_shape returned 12; .*3 sides"),
        ("make_batch", break_target, "make_batch returned a target of ndarray: .*tree of tensors"),
        ("make_batch", break_count, r"make_batch returned views \[1, .*of images \[2, "),
        ("make_batch", break_batch, "make_batch returned .*has to return a PretextBatch"),
        ("make_batch", break_axes, r"views have the axes \[B, V, C, \*S\]"),
    ],
)
def test_an_authors_mistake_names_class_method_and_page(
    method: str, function: Any, words: str
) -> None:
    broken = type("Broken3d", (Careless,), {method: function})
    with pytest.raises(PluginError, match=f"Broken3d: .*{words}.*docs/how-to/my-own-task.md"):
        ask(broken().build_model(encoder_of(), SHAPE))


def test_metrics_that_are_no_mapping_are_the_authors_mistake() -> None:
    broken = type("Broken3d", (Inverted3d,), {"metrics": lambda *_: None})
    with pytest.raises(
        PluginError, match="Broken3d: metrics returned None.*a mapping.*my-own-task"
    ):
        ask(broken().build_model(encoder_of(), SHAPE))


def test_a_task_with_neither_question_nor_model_is_refused() -> None:
    class Nothing3d(PretextTask):
        spatial_dims = 3

    with pytest.raises(PluginError, match="does not implement build_head, loss, make_batch"):
        registry.register(Nothing3d, name="nothing3d")
    with pytest.raises(SslRegistryError, match="implements no build_head"):
        Nothing3d().build_model(encoder_of(), SHAPE)


def test_images_of_another_shape_are_refused() -> None:
    model = Inverted3d().build_model(encoder_of(), SHAPE)
    with pytest.raises(ImageShapeError, match="was built for images"):
        ask(model, torch.rand(1, 1, 8, 8, 8))
