"""The checks that the author of a component runs on it, under any test runner.

    from ssl_registry.testing import check_pretext_task

    def test_mytask_keeps_the_contract():
        check_pretext_task(MyTask(tiles=3))

Each check raises an `AssertionError` that names what does not hold.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pickle import dumps, loads

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from ssl_registry.backbone import Backbone, Encoder
from ssl_registry.component import Component
from ssl_registry.downstream import DownstreamTask
from ssl_registry.errors import ImageShapeError, ImageTypeError, SslRegistryError
from ssl_registry.pretext import PretextBatch, PretextModel, PretextTask
from ssl_registry.randomness import lend_to_torch

BATCH = 4
SEEDS_THAT_MAY_AGREE = 16

_SHAPES: dict[int, list[tuple[int, ...]]] = {
    2: [(64, 64), (64, 32), (50, 41)],
    3: [(32, 32, 32), (24, 17, 20)],
}


def check_pretext_task(
    task: PretextTask,
    image_shape: tuple[int, ...] | None = None,
    channels: Sequence[int] = (1, 3),
    backbone: Backbone | None = None,
) -> None:
    """Check that a pretext task keeps the contract of `PretextTask`.

    Args:
        task: with the fields it should be checked with.
        image_shape: spatial shape that it can work on; without it, 64 voxels a side in
            2D and 32 in 3D.
        channels: numbers of image channels to try.
        backbone: what one step is trained with; without it, three convolutions.
    """
    _check_component(task)
    shape = image_shape or _SHAPES[task.spatial_dims][0]
    for count in channels:
        images = torch.rand((BATCH, count, *shape), generator=_generator(0))
        _check_form(task, images)
        _check_chance(task, images)
        _check_step(task, backbone, images)
    whole, flat = images.to(torch.int16), images[:, 0]
    _refuse("a batch of integers", ImageTypeError, lambda: task.make_batch(whole, _generator(1)))
    _refuse("a missing channel axis", ImageShapeError, lambda: task.make_batch(flat, _generator(1)))


def check_backbone(
    backbone: Backbone,
    image_shapes: Sequence[tuple[int, ...]] | None = None,
    channels: Sequence[int] = (1, 2, 3, 4),
) -> None:
    """Check that a backbone keeps the contract of `Backbone` and builds true `Encoder`s.

    Args:
        backbone: with the fields it should be checked with.
        image_shapes: spatial shapes to try; it has to accept the first, and may refuse
            others with an `ImageShapeError`.
        channels: numbers of input channels to try.
    """
    _check_component(backbone)
    _check_weights(backbone)
    shapes = image_shapes or _SHAPES[backbone.spatial_dims]
    for count in channels:
        encoder = _build(backbone, count, backbone.spatial_dims)
        for index, shape in enumerate(shapes):
            images = torch.rand((2, count, *shape), generator=_generator(index))
            _check_pyramid(encoder, images, may_refuse=index > 0)
        _check_gradients(encoder, torch.rand((2, count, *shapes[0]), generator=_generator(0)))


def check_downstream_task(
    task: DownstreamTask,
    image_shape: tuple[int, ...] | None = None,
    backbone: Backbone | None = None,
) -> None:
    """Check that a downstream task keeps the contract of `DownstreamTask`.

    Args:
        task: with the fields it should be checked with.
        image_shape: spatial shape of the images; without it, 16 voxels a side.
        backbone: whose encoder it is tried on; without it, three convolutions.
    """
    _check_component(task)
    known = task.target_kind in ("mask", "class")
    _require(known, f'target_kind is "mask" or "class"; it is {task.target_kind!r}')
    with _claim("freeze_epochs can be set to 3"):
        type(task).model_validate(task.model_dump() | {"freeze_epochs": 3})
    shape = image_shape or (16,) * task.spatial_dims
    encoder = _build(backbone, 1, task.spatial_dims)
    images = torch.rand((BATCH, 1, *shape), generator=_generator(0))
    for classes in (2, 4):
        with lend_to_torch(_generator(2)), _claim(f"a head for {classes} classes works"):
            outputs = task.build_head(encoder, classes)(encoder(images))
        _require(
            outputs.shape[:2] == (BATCH, classes),
            f"outputs for {classes} classes are [B, {classes}, ...], not {list(outputs.shape)}",
        )
        form = (BATCH, *shape) if task.target_kind == "mask" else (BATCH,)
        _check_answers(task, outputs, classes, form)


class _SmallEncoder(Encoder):
    """Three convolutions with a stride: the smallest network with a pyramid."""

    def __init__(self, in_channels: int, dims: int) -> None:
        super().__init__()
        self.in_channels, self.channels, self.strides = in_channels, (4, 8, 16), (1, 2, 4)
        convolution = nn.Conv2d if dims == 2 else nn.Conv3d
        self.levels = nn.ModuleList(
            convolution(fed, made, 3, stride=stride, padding=1)
            for fed, made, stride in ((in_channels, 4, 1), (4, 8, 2), (8, 16, 2))
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        pyramid = []
        for level in self.levels:
            x = level(x).relu()
            pyramid.append(x)
        return pyramid


def _require(condition: object, claim: str) -> None:
    """Raise an `AssertionError` if a claim does not hold, also under `python -O`."""
    if not condition:
        raise AssertionError(f"does not hold: {claim}")


@contextmanager
def _claim(claim: str) -> Iterator[None]:
    """Turn whatever the component raises into an `AssertionError` that quotes the claim."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"does not hold: {claim} ({type(error).__name__}: {error})") from error


def _refuse(what: str, expected: type[Exception], action: Callable[[], object]) -> None:
    """Require that an action is refused with an error of the expected class."""
    claim = f"{what} is refused with {expected.__name__}"
    with _claim(claim):
        try:
            action()
        except expected:
            return
    _require(False, claim)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _build(backbone: Backbone | None, channels: int, dims: int) -> Encoder:
    """Return an encoder with weights from a stream of its own."""
    with lend_to_torch(_generator(1)), _claim(f"it builds an encoder for {channels} channels"):
        encoder = backbone.build(channels) if backbone else _SmallEncoder(channels, dims)
    _require(isinstance(encoder, Encoder), "build returns an Encoder")
    _require(encoder.in_channels == channels, "in_channels is the number of channels asked for")
    return encoder


def _check_component(component: Component) -> None:
    """Check that a component is a value: equal after JSON and pickle, hashable, frozen."""
    cls = type(component)
    with _claim("it turns into JSON and back, is hashable and picklable"):
        again = cls.model_validate_json(component.model_dump_json())
        hashes = hash(again), hash(component)
        copy = loads(dumps(component))  # noqa: S301, written a moment ago
    _require(again == component, "it is equal after a round trip through JSON")
    _require(hashes[0] == hashes[1], "equal components have equal hashes")
    _require(copy == component, "it is equal after a round trip through pickle")
    field = next(iter(cls.model_fields), "field")
    _refuse("a change of a field", ValidationError, lambda: setattr(component, field, None))
    unknown = component.model_dump() | {"no_such_field": 1}
    _refuse("an unknown field", ValidationError, lambda: cls.model_validate(unknown))


def _streams() -> tuple[object, ...]:
    """Return the state of every global stream that a task has to leave alone."""
    words = np.random.get_state(legacy=False)["state"]
    return torch.get_rng_state().tolist(), words["key"].tolist(), words["pos"], random.getstate()


def _ask(task: PretextTask, images: Tensor, seed: int, world: int = 1) -> PretextBatch:
    """Make a batch, and see that the global streams and the images are left alone.

    `world` is what torch's global stream starts from, which should make no difference.
    """
    images_before = images.clone()
    with lend_to_torch(_generator(world)):
        streams_before = _streams()
        with _claim(f"make_batch works on {images.dtype} images of {list(images.shape)}"):
            batch = task.make_batch(images, _generator(seed))
        alone = _streams() == streams_before
    _require(alone, "make_batch draws from its generator, never from a global stream")
    _require(torch.equal(images, images_before), "make_batch does not modify the images")
    return batch


def _equal(ones: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(ones, others, strict=True))


def _parts(batch: PretextBatch) -> list[Tensor]:
    target = [] if batch.target is None else [batch.target]
    return [batch.views, *target, *(batch.drawn[key] for key in sorted(batch.drawn))]


def _check_form(task: PretextTask, images: Tensor) -> None:
    """Check shapes and dtypes of views and target, for every floating dtype, and one image."""
    with _claim("view_channels and view_shape can be told before there is a batch"):
        wanted = (task.view_channels(images.shape[1]), *task.view_shape(tuple(images.shape[2:])))
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        views, target, _ = _ask(task, images.to(dtype), seed=1)
        _require(
            views.shape[0] == BATCH and tuple(views.shape[2:]) == wanted,
            f"views are [{BATCH}, V, {', '.join(map(str, wanted))}], as view_channels and "
            f"view_shape say; they are {list(views.shape)}",
        )
        _require(views.dtype == dtype, f"views keep the images' {dtype}; they are {views.dtype}")
        if target is not None:
            known = target.dtype == torch.int64 or target.is_floating_point()
            _require(known, f"the target is int64 or floating point; it is {target.dtype}")
            _require(target.shape[0] == BATCH, "the target has one item for each image")
    with _claim("one image is a batch, or is refused in words"):
        try:
            views = task.make_batch(images[:1], _generator(1)).views
        except SslRegistryError:
            return
    _require(views.shape[0] == 1, "one image gives the views of one image")


def _check_chance(task: PretextTask, images: Tensor) -> None:
    """Check that all chance comes from the generator."""
    first = _parts(_ask(task, images, seed=1))
    again = _parts(_ask(task, images, seed=1, world=2))
    _require(_equal(first, again), "equal generators give equal bits")
    others = (_parts(_ask(task, images, seed)) for seed in range(2, SEEDS_THAT_MAY_AGREE))
    differ = any(not _equal(first, other) for other in others)
    _require(differ, "different generators give different batches")
    strided = _parts(_ask(task, images.mT.contiguous().mT, seed=1))
    _require(_equal(first, strided), "non-contiguous images give the same bits")


def _check_step(task: PretextTask, backbone: Backbone | None, images: Tensor) -> None:
    """Check one training step: a finite loss, gradients everywhere, scalar metrics."""
    encoder = _build(backbone, task.view_channels(images.shape[1]), task.spatial_dims)
    with lend_to_torch(_generator(2)), _claim("a step through PretextModel works"):
        model = PretextModel(task, encoder, tuple(images.shape[2:]))
        loss, metrics = model(images, _generator(3))
        loss.backward()
    _require(loss.ndim == 0 and loss.isfinite(), f"the loss is a finite scalar; it is {loss}")
    for name, parameter in model.head.named_parameters():
        _require(parameter.grad is not None, f"the head's {name} receives a gradient")
    reached = [p.grad for p in encoder.parameters() if p.grad is not None]
    _require(any(grad.any() for grad in reached), "the encoder receives a gradient")
    for name, value in metrics.items():
        _require(value.ndim == 0 and value.isfinite(), f"metric {name!r} is a finite scalar")


def _check_weights(backbone: Backbone) -> None:
    """Check that equal streams give equal weights, and different ones different weights."""
    made = []
    for seed in (1, 1, 2):
        with lend_to_torch(_generator(seed)), _claim("an encoder can be built"):
            made.append(list(backbone.build(1).parameters()))
    _require(_equal(made[0], made[1]), "equal seeds give equal weights")
    _require(not _equal(made[0], made[2]), "weights are drawn at random from torch's stream")


def _check_pyramid(encoder: Encoder, images: Tensor, may_refuse: bool) -> None:
    """Check the levels' shapes against `channels` and `strides`, rounded either way."""
    _require(list(encoder.strides) == sorted(set(encoder.strides)), "strides grow, finest first")
    with torch.no_grad(), _claim(f"the encoder accepts images {list(images.shape)}"):
        try:
            pyramid, again = encoder.eval()(images), encoder(images)
        except ImageShapeError:
            if may_refuse:
                return
            raise
    counts = {len(pyramid), len(encoder.channels), len(encoder.strides)}
    _require(len(counts) == 1, "there are as many levels as channels and as strides")
    for level, channels, stride in zip(pyramid, encoder.channels, encoder.strides, strict=True):
        fits = level.shape[:2] == (len(images), channels) and all(
            got in (side // stride, -(-side // stride))
            for got, side in zip(level.shape[2:], images.shape[2:], strict=True)
        )
        claim = f"{channels} channels at stride {stride} fit images {list(images.shape)}"
        _require(fits, f"{claim}; the level is {list(level.shape)}")
    _require(_equal(pyramid, again), "in eval mode equal images give equal features")


def _check_gradients(encoder: Encoder, images: Tensor) -> None:
    weigh = _generator(4)
    with _claim("features can be differentiated"):
        pyramid = encoder.train()(images)
        sums = [(level * torch.rand(level.shape, generator=weigh)).sum() for level in pyramid]
        torch.stack(sums).sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in encoder.named_parameters():
        reached = parameter.grad is not None and parameter.grad.isfinite().all()
        _require(reached, f"the encoder's {name} receives a finite gradient")


def _check_answers(
    task: DownstreamTask, outputs: Tensor, classes: int, form: tuple[int, ...]
) -> None:
    """Check loss, prediction and score against a target of `form` with every class in it."""
    places = torch.randperm(math.prod(form), generator=_generator(5))
    target = (places % classes).reshape(form)
    with _claim("predict works on the head's outputs"):
        predicted = task.predict(outputs)
    _require(predicted.dtype == torch.int64, f"predictions are int64; they are {predicted.dtype}")
    _require(
        predicted.shape == form,
        f"predictions are {list(form)}, as target_kind {task.target_kind!r} says; they are "
        f"{list(predicted.shape)}",
    )
    with _claim("loss and score work on the head's outputs"):
        loss = task.loss(outputs, target)
        loss.backward()  # type: ignore[no-untyped-call]
        perfect, actual = task.score(target, target), task.score(predicted, target)
        listed = task.score(list(predicted), list(target))
        one_class = task.score(torch.zeros_like(target), torch.zeros_like(target))
        case = task.describe_case(predicted[0], target[0])
    _require(loss.ndim == 0 and loss.isfinite(), f"the loss is a finite scalar; it is {loss}")
    _require(task.headline in perfect, f"score returns its headline {task.headline!r}")
    best = perfect[task.headline] >= actual[task.headline]
    _require(best, "no prediction scores better than the perfect one")
    _require(listed == actual, "cases may come as a list or as a tensor")
    _require(task.headline in one_class, "a score of cases of one class has the headline too")
    plain = all(isinstance(value, int | float) for value in case.values())
    _require(plain, f"describe_case returns plain numbers; it returns {case}")
