"""The model that will be pretrained, and a first batch for it: a task refuses before training."""

import copy
from typing import get_args

import torch
from torch import Tensor

from ssl_registry.authors_errors import blame, spell_component
from ssl_registry.backbone import FinestLevels
from ssl_registry.data.cache.datasets import PreparedImages
from ssl_registry.data.cache.patches import Patches
from ssl_registry.data.cache.prepared import Prepared
from ssl_registry.errors import ConfigError, ImageShapeError, PluginError
from ssl_registry.pretext import Chance, PretextTask
from ssl_registry.pretext_model import PAGE, JudgedBy, PretextModel, check_kept, check_model
from ssl_registry.question_model import check_pieces
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.registry import registry
from ssl_registry.training.engine.batches import TrainingBatches, even_batches
from ssl_registry.training.engine.trained import example_moment
from ssl_registry.training.pretraining.continuation import load_start
from ssl_registry.training.settings.lengths import check_length
from ssl_registry.training.settings.runs import PretrainSettings


def pretraining_images(
    settings: PretrainSettings, cases: list[Prepared]
) -> PreparedImages | Patches:
    """Return what a run sees of its cases: whole images, or patches of them."""
    if settings.patches:
        return Patches(cases, settings.size, settings.patches, settings.seed)
    return PreparedImages(cases)


def check_task_shape(settings: PretrainSettings) -> None:
    """See, before any data are opened, that the task works on images of the size.

    Raises:
        ImageShapeError: it cannot; says what to change.
    """
    with blame(settings.task, "view_shape"):
        settings.task.view_shape(settings.image_shape)


def build_pretext_model(settings: PretrainSettings, channels: int) -> PretextModel:
    """Return the model with weights drawn from the run's seed.

    Raises:
        ImageShapeError: the task cannot work on volumes of this size.
        ConfigError: the encoder has fewer levels than are asked for.
    """
    task = settings.task
    shape = settings.image_shape
    with lend_to_torch(derive_generator(settings.seed, "pretrain", "weights")):
        fed = _channels_fed(task, channels)
        encoder = (
            settings.backbone.build(fed) if settings.encoder is None else load_start(settings, fed)
        )
        seen = encoder if settings.levels is None else FinestLevels(encoder, settings.levels)
        check_pieces(task, seen, shape)
        with blame(task, "build_model"):
            model = task.build_model(seen, shape)
        with blame(task, "the model's parts"):
            built = check_model(model, spell_component(task))
        check_kept(built, encoder, spell_component(task))
        return built


def _channels_fed(task: PretextTask, channels: int) -> int:
    """Return how many channels the encoder will see.

    Raises:
        PluginError: the task says something else.
    """
    with blame(task, "view_channels"):
        fed: object = task.view_channels(channels)
    if not isinstance(fed, int) or fed < 1:
        raise PluginError(
            f"{spell_component(task)}: view_channels returned {fed!r}; it has to return a whole "
            f"number, the channels of a view; see {PAGE}"
        )
    return fed


def rehearse(
    settings: PretrainSettings,
    model: PretextModel,
    training: PreparedImages | Patches,
    validation: PreparedImages | Patches,
) -> None:
    """Make the smallest batch that the run will meet, so that a task refuses it at once.

    Raises:
        SslRegistryError: the task cannot work on such a batch, or there are too few batches for
            the processes; its message says why.
    """
    epoch = TrainingBatches(training, settings, settings.steps_per_epoch)
    check_length(settings.epochs, settings.steps, epoch.steps)
    _check_judging(settings)
    batches = [(training, min(settings.batch_size, len(training)))]
    _check_batch(settings, batches[0][1])
    if len(validation):
        sizes = even_batches(len(validation), settings.batch_size)
        batches.append((validation, min(len(batch) for batch in sizes)))
    data, count = min(batches, key=lambda batch: batch[1])
    images = torch.stack([data[index] for index in range(count)])
    try:
        _try_batch(settings, model, images)
    except ImageShapeError as error:
        if data is training:
            raise
        raise ConfigError(
            f"validation_fraction={settings.validation_fraction:g} keeps {len(validation)} for "
            f"validation, in batches of {count}: {error}; or change `validation_fraction`, "
            "where 0 keeps none"
        ) from error


def _check_batch(settings: PretrainSettings, count: int) -> None:
    """See that a batch of training holds as many images as its task needs.

    Raises:
        ConfigError: it does not.
    """
    needed = settings.task.smallest_batch()
    if count < needed:
        there = "" if count == settings.batch_size else f", and there are {count} training images"
        raise ConfigError(
            f"batch_size={settings.batch_size}{there}: {registry.entry_of(settings.task).name} "
            f"compares images of a batch with each other and needs {needed} at least: raise "
            "`batch_size`, or give more images"
        )


def _check_judging(settings: PretrainSettings) -> None:
    """See that each task can be judged at the end by what it says it can.

    Raises:
        PluginError: it says something else, or is judged by answers without saying what guessing
            reaches.
    """
    for task in settings.task.judged_tasks().values():
        with blame(task, "judged_by"):
            judged_by: object = task.judged_by()
        with blame(task, "chance"):
            chance: object = task.for_shape(settings.image_shape).chance(settings.batch_size)
        who = spell_component(task)
        if judged_by not in get_args(JudgedBy):
            raise PluginError(
                f"{who}: judged_by returned {judged_by!r}; it has to return one of "
                f"{', '.join(map(repr, get_args(JudgedBy)))}; see {PAGE}"
            )
        if not isinstance(chance, Chance | None):
            raise PluginError(
                f"{who}: chance returned {chance!r}; it has to return a Chance(accuracy, answers) "
                f"or None; see {PAGE}"
            )
        if judged_by == "answers" and chance is None:
            raise PluginError(
                f"{who}: judged_by says 'answers', but chance does not say what guessing reaches: "
                f"write chance, or be judged by the loss or the features; see {PAGE}"
            )


def _try_batch(settings: PretrainSettings, model: PretextModel, images: Tensor) -> None:
    """Make a batch of images, or, where the task makes none, let a copy of the model see them."""
    generator = derive_generator(settings.seed, "rehearsal")
    if settings.task.asks():
        with blame(settings.task, "make_batch"):
            settings.task.make_batch(images, generator)
        return
    with torch.no_grad(), lend_to_torch(generator), blame(settings.task, "the model's forward"):
        copy.deepcopy(model)(images, generator, example_moment(images))
