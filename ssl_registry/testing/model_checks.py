"""What the model that a pretext task builds promises: losses, steps, state, teachers."""

import copy
from collections.abc import Callable, Iterator
from typing import Final

import torch
from torch import Tensor, nn

from ssl_registry.errors import ImageShapeError, PluginError, SslRegistryError
from ssl_registry.pretext_model import Moment, PretextModel, check_answer
from ssl_registry.randomness import lend_to_torch
from ssl_registry.testing.check import equal, require, says_what_to_set
from ssl_registry.testing.networks import seeded
from ssl_registry.testing.pretext_trial import PretextTrial


def heads_fit_images_of_any_channels(trial: PretextTrial) -> None:
    """The model answers images of any number of channels it was built for.

    Encoder and head are built from `view_channels`, so grey, colour and several contrasts
    all work.
    """
    for channels in trial.channels:
        loss = _ask(trial, trial.model(channels), trial.images(channels=channels))[0]
        require(loss.isfinite(), f"a finite loss of images with {channels} channels", loss)


def smaller_batches_are_answered(trial: PretextTrial) -> None:
    """A batch with fewer images than the one before works, and its loss is finite.

    The last batch of an epoch, and of the validation images, is smaller. A batch of one may be
    refused in words.
    """
    model = trial.model()
    _ask(trial, model, trial.images())
    for count in (2, 1):
        try:
            if trial.component.asks():
                trial.component.make_batch(trial.images(count), seeded(3))
            with torch.no_grad():
                loss = _ask(trial, model.eval(), trial.images(count))[0]
        except PluginError:
            raise
        except SslRegistryError as refusal:
            require(str(refusal), f"a refusal of {count} images in words", "none")
            continue
        require(loss.isfinite(), f"a finite loss of {count} images, in evaluation", loss)


def thick_slices_are_learnt_or_refused(trial: PretextTrial) -> None:
    """Images of unequal sides, such as few thick slices, are learnt from, or refused in words.

    Nobody's scan is a cube. The last axis has a quarter of its voxels, 4 at least. A refusal is an
    `ImageShapeError` that names the setting to change: a field of the task, or `size`.
    """
    shape = trial.thin_shape
    try:
        trial.component.view_shape(shape)
        loss = _ask(trial, trial.model(shape=shape), trial.images(shape=shape))[0]
    except ImageShapeError as refusal:
        named = says_what_to_set(refusal)
        require(named, f"images of {list(shape)} to be refused with what to set", refusal)
        return
    require(loss.isfinite(), f"a finite loss of images of {list(shape)}", loss)


def metrics_are_finite_scalars(trial: PretextTrial) -> None:
    """The model returns metrics as a dict of finite scalars, such as the accuracy.

    They become columns of `metrics.csv`, averaged over batches.
    """
    _, metrics = _ask(trial, trial.model(), trial.images())
    for name, value in metrics.items():
        finite = value.numel() == 1 and value.isfinite().all()
        require(finite, f"a finite scalar for the metric {name!r}", value)
        require(not value.requires_grad, f"a metric {name!r} without a gradient", "one with it")


def chance_goes_with_accuracy(trial: PretextTrial) -> None:
    """Where `chance` says what guessing reaches, there is a metric `accuracy` to compare.

    By the two the end of pretraining says whether the task was learnt.
    """
    _, metrics = _ask(trial, trial.model(), trial.images())
    for prefix, task in trial.component.judged_tasks().items():
        chance = task.for_shape(trial.shapes[0]).chance(len(trial.images()))
        if chance is None:
            continue
        possible = 0 < chance.accuracy <= 1 and chance.answers >= 1
        require(possible, "a chance of a probability and a number of answers", chance)
        there = f"{prefix}accuracy" in metrics
        require(there, f"a metric '{prefix}accuracy', for there is a chance", sorted(metrics))


def judging_is_said(trial: PretextTrial) -> None:
    """`judged_by` says "answers", "loss" or "features".

    By it the end of pretraining says whether the task was learnt.
    """
    for task in trial.component.judged_tasks().values():
        said = task.judged_by()
        known = said in ("answers", "loss", "features")
        require(known, "judged_by to say answers, loss or features", repr(said))


def a_second_step_works(trial: PretextTrial) -> None:
    """A forward and a backward pass, a step, `after_step`, and all of it once more.

    A head that keeps a tensor with its graph, or a queue that is written over before the gradient
    is computed, fails here: keep with `.detach()`, read a copy.
    """
    model = trial.model()
    for step in (1, 2):
        try:
            _learn(trial, model, step)
        except RuntimeError as error:
            require(False, f"a step number {step}", str(error).strip().splitlines()[0])


def the_finest_level_alone_works(trial: PretextTrial) -> None:
    """On an encoder whose coarser levels are hidden (`levels=1`) it learns, or refuses in words.

    A head reads `encoder.channels` and `encoder.strides`, not what it takes a network to have.
    """
    try:
        model = trial.model(levels=1)
        loss = _ask(trial, model, trial.images())[0]
    except PluginError:
        raise
    except SslRegistryError as refusal:
        require(str(refusal), "a refusal of a single level in words", "an error without a word")
        return
    require(loss.isfinite(), "a finite loss on the finest level alone", loss)
    loss.backward()  # type: ignore[no-untyped-call]


def state_gives_the_next_loss(trial: PretextTrial) -> None:
    """A state dict taken after a step, in a new model, gives the next loss bit for bit.

    A run that is resumed ends as one that was not. What changes in training has to be a
    parameter or a buffer, not a plain attribute.
    """
    model = trial.model()
    _learn(trial, model, 1)
    other = trial.model()
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    first, second = (_ask(trial, one, trial.images(), step=1)[0] for one in (model, other))
    require(equal([first], [second]), f"the loss {first.item():.9g}", f"{second.item():.9g}")


def teachers_move_after_the_step_alone(trial: PretextTrial) -> None:
    """Copies of the encoder's weights do not move in a forward pass.

    Several batches may make one optimiser step (`accumulate`), and each is a forward pass;
    `after_step` is called once for all of them, and there a teacher moves.
    """
    model = trial.model()
    before = {name: value.clone() for name, value in _copies(model)}
    _ask(trial, model, trial.images())
    moved = [name for name, value in _copies(model) if not torch.equal(value, before[name])]
    require(not moved, "copies of the encoder that stand still in forward", ", ".join(moved[:3]))


def teachers_have_no_gradient(trial: PretextTrial) -> None:
    """Copies of the encoder's weights are not trained: no gradient reaches them.

    Otherwise the optimiser moves the teacher as well. `ssl_registry.heads.Teacher` keeps them
    as buffers.
    """
    model = trial.model()
    _ask(trial, model, trial.images())[0].backward()  # type: ignore[no-untyped-call]
    taught = [name for name, value in _copies(model) if value.requires_grad]
    require(not taught, "copies of the encoder without a gradient", ", ".join(taught[:3]))


def views_do_not_depend_on_autocast(trial: PretextTrial) -> None:
    """Under autocast the views are those made in float32, bit for bit.

    Coordinates in half precision move an image by half a voxel. The question's model makes its
    views outside of autocast; a model of one's own does with `torch.autocast(..., enabled=False)`.
    """
    model = trial.model()
    seen: list[list[Tensor]] = []
    handle = model.encoder.register_forward_pre_hook(lambda _, given: seen[-1].append(given[0]))
    with handle:
        for enabled in (False, True):
            seen.append([])
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled), torch.no_grad():
                _ask(trial, model, trial.images())
    plain, cast = (torch.cat([one.float().flatten() for one in part]) for part in seen)
    require(equal([plain], [cast]), "the same views under autocast", "other ones")


def what_is_kept_is_named(trial: PretextTrial) -> None:
    """`parts` names what is kept: an encoder of the structure that was given, perhaps a decoder.

    The encoder's weights are written under the names that its backbone gives them.
    """
    model = trial.model()
    kept, given = model.parts()["encoder"], model.encoder
    names = [list(one.state_dict()) for one in (kept, getattr(given, "whole", given))]
    require(names[0] == names[1], "the encoder's own names of weights", names[0][:3])
    for name, part in model.parts().items():
        known = name in ("encoder", "decoder") and isinstance(part, nn.Module)
        require(known, "an encoder and a decoder, each an nn.Module", name)


def _ask(
    trial: PretextTrial, model: PretextModel, images: Tensor, step: int = 0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return what a model answers; chance is the same each time."""
    moment = trial.moment._replace(step=step, cases=trial.moment.cases[: len(images)])
    with lend_to_torch(seeded(2)):
        return check_answer(model(images, seeded(3), moment), trial.label)


def _learn(trial: PretextTrial, model: PretextModel, step: int) -> None:
    """Take one optimiser step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    _ask(trial, model, trial.images(), step - 1)[0].backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    model.zero_grad()
    moment: Moment = trial.moment
    model.after_step(moment._replace(step=step))


def _copies(model: PretextModel) -> Iterator[tuple[str, Tensor]]:
    """Yield weights beside the encoder's that are named and shaped as if they were copies of it."""
    own = {id(parameter) for parameter in model.encoder.parameters()}
    shapes = {name: value.shape for name, value in model.encoder.named_parameters()}
    others = [*model.named_parameters(), *model.named_buffers()]
    for name, value in others:
        alike = any(name.endswith(f".{known}") for known, s in shapes.items() if s == value.shape)
        if id(value) not in own and alike:
            yield name, value


MODEL_CHECKS: Final[tuple[Callable[[PretextTrial], None], ...]] = (
    heads_fit_images_of_any_channels,
    smaller_batches_are_answered,
    thick_slices_are_learnt_or_refused,
    metrics_are_finite_scalars,
    chance_goes_with_accuracy,
    judging_is_said,
    a_second_step_works,
    the_finest_level_alone_works,
    state_gives_the_next_loss,
    teachers_move_after_the_step_alone,
    teachers_have_no_gradient,
    views_do_not_depend_on_autocast,
    what_is_kept_is_named,
)
