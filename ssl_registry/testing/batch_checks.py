"""What `PretextTask.make_batch` promises: form, chance, refusals."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import torch
from torch import Tensor

from ssl_registry.errors import ImageShapeError, ImageTypeError, SslRegistryError
from ssl_registry.pretext import PretextBatch
from ssl_registry.randomness import lend_to_torch
from ssl_registry.testing.check import equal, refuses, require
from ssl_registry.testing.networks import seeded
from ssl_registry.testing.pretext_trial import PretextTrial
from ssl_registry.testing.streams import undisturbed_streams
from ssl_registry.testing.trial import BATCH
from ssl_registry.trees import tensors_of

SEEDS_THAT_MAY_AGREE: Final = 16


def views_have_the_promised_shape(trial: PretextTrial) -> None:
    """Views are `[B, V, *]` with the channels and sides that were promised beforehand.

    An encoder and a head are built from `view_channels` and `view_shape`, before there is
    a batch. Tried with several numbers of channels and images.
    """
    for channels in trial.channels:
        for count in (BATCH, 2):
            _made(trial, trial.images(count, channels))


def other_sizes_work_or_are_refused(trial: PretextTrial) -> None:
    """Images of other sizes, unequal sides among them, work or are refused in words.

    Where `view_shape` raises an `ImageShapeError`, `make_batch` does so too: a user has
    to hear of it before a run starts, not in the middle.
    """
    first = trial.shapes[0]
    larger = tuple(side + 5 for side in first)
    for shape in (*trial.shapes[1:], larger, (first[0] + 6, *first[1:])):
        images = trial.images(2, shape=shape)
        try:
            trial.component.view_shape(shape)
        except ImageShapeError:
            make = partial(trial.component.make_batch, images, seeded(1))
            refuses(f"{list(images.shape)}, as by view_shape,", ImageShapeError, make)
        else:
            _made(trial, images)


def one_image_is_a_batch_or_is_refused(trial: PretextTrial) -> None:
    """A batch of one image gives the views of one image, or is refused in words.

    The last batch of an epoch may hold a single image. A task that compares images with
    each other raises an error of this library that says to raise `batch_size`.
    """
    try:
        views = trial.component.make_batch(trial.images(1), seeded(1)).views
    except SslRegistryError as refusal:
        require(str(refusal), "a refusal of one image in words", "an error without a word")
        return
    require(views.shape[0] == 1, "views of one image, [1, V, ...]", list(views.shape))


def views_keep_the_dtype(trial: PretextTrial) -> None:
    """Views have the dtype of the images: float32, float16 and bfloat16.

    A cache may hold half precision, and a network in half precision takes nothing else.
    """
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        views = trial.component.make_batch(trial.images().to(dtype), seeded(1)).views
        require(views.dtype == dtype, f"views of {dtype}, as the images", views.dtype)


def constant_images_stay_finite(trial: PretextTrial) -> None:
    """An image of one value, such as an empty corner of a scan, gives finite views.

    Dividing by an image's own spread is the usual way to lose this.
    """
    for value in (0.0, 1.0):
        images = torch.full_like(trial.images(2), value)
        images[1] += 1  # two images differ, for tasks that compare them
        views = trial.component.make_batch(images, seeded(1)).views
        require(views.isfinite().all(), f"finite views of images that are {value}", "nan or inf")


def targets_are_classes_or_images(trial: PretextTrial) -> None:
    """The target is None, or a tree of tensors with one item for each image.

    Each is int64 (classes), floating point (images) or bool (masks).
    """
    for target in tensors_of(trial.batch.target):
        known = target.dtype in (torch.int64, torch.bool) or target.is_floating_point()
        require(known, "int64 (classes), floating point (images) or bool (masks)", target.dtype)
        items = target.shape[:1] == (BATCH,)
        require(items, f"a target [{BATCH}, ...]", list(target.shape))


def equal_generators_give_equal_batches(trial: PretextTrial) -> None:
    """Equal generators give equal bits, whatever the global streams of torch hold.

    Equal seeds give equal weights, and a run that is resumed ends as one that was not.
    """
    made = []
    for world in (1, 2):
        with lend_to_torch(seeded(world)):
            made.append(_parts(trial.component.make_batch(trial.images(), seeded(1))))
    require(equal(*made), "equal views, target and drawn from equal generators", "different ones")


def other_generators_give_other_batches(trial: PretextTrial) -> None:
    """Generators of different seeds give different batches.

    All chance comes from the generator; without it, every epoch would show the same.
    """
    first = _parts(trial.batch)
    others = (
        _parts(trial.component.make_batch(trial.images(), seeded(seed)))
        for seed in range(2, SEEDS_THAT_MAY_AGREE)
    )
    differ = any(not equal(first, other) for other in others)
    expected = f"a batch that differs, from {SEEDS_THAT_MAY_AGREE - 2} other seeds"
    require(differ, expected, "the same batch every time")


def batches_leave_global_streams_alone(trial: PretextTrial) -> None:
    """`make_batch` draws from its generator, never from torch's, NumPy's or Python's stream.

    Global streams are shared: a draw in one place would change the numbers everywhere else.
    """
    images = trial.images()
    with lend_to_torch(seeded(1)), undisturbed_streams("make_batch"):
        trial.component.make_batch(images, seeded(1))


def batches_leave_images_alone(trial: PretextTrial) -> None:
    """`make_batch` does not modify the images it is given.

    They are the cache's own memory, and other tasks may be asked about the same ones.
    """
    images = trial.images()
    trial.component.make_batch(images, seeded(1))
    require(torch.equal(images, trial.images()), "the images as they were", "changed images")


def memory_order_makes_no_difference(trial: PretextTrial) -> None:
    """Images in another memory order give the same bits.

    Caches and loaders hand out transposed and strided tensors, and those whose channels lie
    together.
    """
    images = trial.images()
    last = torch.channels_last if images.ndim == 4 else torch.channels_last_3d
    orders = {
        "transposed": images.mT.contiguous().mT,
        "channels-last": images.to(memory_format=last),
        "strided": images.repeat_interleave(2, dim=-1)[..., ::2],
    }
    for order, same in orders.items():
        made = trial.component.make_batch(same, seeded(1))
        alike = equal(_parts(trial.batch), _parts(made))
        require(alike, f"the same batch from {order}, non-contiguous images", "a different one")


def integers_are_refused(trial: PretextTrial) -> None:
    """A batch of integers is refused with an `ImageTypeError`.

    `PretextTask.check_images` does it. Raw scans are int16, and interpolation, means and
    networks would fail on them later, or round in silence.
    """
    images = (trial.images() * 100).to(torch.int16)
    refuses(
        "a batch of int16",
        ImageTypeError,
        lambda: trial.component.make_batch(images, seeded(1)),
    )


def missing_axes_are_refused(trial: PretextTrial) -> None:
    """A batch without its channel axis is refused with an `ImageShapeError`.

    `PretextTask.check_images` does it. Otherwise the first axis of space would be taken
    for channels.
    """
    images = trial.images()[:, 0]
    refuses(
        f"a batch of {list(images.shape)}",
        ImageShapeError,
        lambda: trial.component.make_batch(images, seeded(1)),
    )


def question_is_put_in_words(trial: PretextTrial) -> None:
    """`question` says what an image was asked, and gives every view a title.

    `ssl-registry preview` shows both.
    """
    batch = trial.batch
    for index in range(BATCH):
        asked = trial.component.question(batch, index)
        require(asked.text.strip(), f"words for the question of image {index}", repr(asked.text))
        views = batch.views.shape[1]
        require(len(asked.views) == views, f"{views} titles, one a view", len(asked.views))


def _made(trial: PretextTrial, images: Tensor) -> None:
    """Require that a batch of `images` has the shape that was promised."""
    task = trial.component
    shape = tuple(images.shape[2:])
    wanted = (task.view_channels(images.shape[1]), *task.view_shape(shape))
    views = task.make_batch(images, seeded(1)).views
    fits = views.shape[0] == len(images) and tuple(views.shape[2:]) == wanted
    spelt = f"[{len(images)}, V, {', '.join(map(str, wanted))}]"
    promised = f"views {spelt}, as view_channels and view_shape say of images {list(images.shape)}"
    require(fits, promised, list(views.shape))


def _parts(batch: PretextBatch) -> Sequence[Tensor]:
    return [
        batch.views,
        *tensors_of(batch.target),
        *(batch.drawn[key] for key in sorted(batch.drawn)),
    ]


BATCH_CHECKS: Final[tuple[Callable[[PretextTrial], None], ...]] = (
    views_have_the_promised_shape,
    other_sizes_work_or_are_refused,
    one_image_is_a_batch_or_is_refused,
    views_keep_the_dtype,
    constant_images_stay_finite,
    targets_are_classes_or_images,
    equal_generators_give_equal_batches,
    other_generators_give_other_batches,
    batches_leave_global_streams_alone,
    batches_leave_images_alone,
    memory_order_makes_no_difference,
    integers_are_refused,
    missing_axes_are_refused,
    question_is_put_in_words,
)
