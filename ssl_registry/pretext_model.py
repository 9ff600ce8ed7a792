"""Pretext models: the network that a pretext task trains, and where its training stands."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from ssl_registry.backbone import Encoder, whole_encoder
from ssl_registry.errors import ConfigError, PluginError
from ssl_registry.trees import spell_tree

PAGE: Final = "docs/how-to/my-own-task.md"
"""Where it is written what an author has to do."""

JudgedBy: TypeAlias = Literal["answers", "loss", "features"]
"""By what a task is judged to be learnt at the end of pretraining."""


class CaseInfo(NamedTuple):
    """What is known of an image of a batch, besides its voxels.

    Attributes:
        name: of the case, unique in its data set.
        group: the patient, whose images stay in one part of every split; the case's own name
            where nothing is known of patients.
        spacing: of the prepared image, in mm a voxel, one for each spatial axis; None where the
            file says none, as with pictures.
        place: of a slice in its volume, from 0 for the first to 1 for the last; None for an image
            that is not a slice.
    """

    name: str
    group: str
    spacing: tuple[float, ...] | None = None
    place: float | None = None


class Moment(NamedTuple):
    """Where training stands. It follows from the step alone, so a resumed run is the same.

    Attributes:
        step: optimiser steps made so far: 0 in the first forward pass, 1 in the first
            `after_step`.
        steps: of the whole run, so that a schedule knows its end.
        epoch: that is under way, from 0.
        cases: what is known of the images of the batch, in their order.
    """

    step: int
    steps: int
    epoch: int
    cases: Sequence[CaseInfo] = ()

    @property
    def progress(self) -> float:
        """Share of the run's steps that were made, from 0 to 1."""
        return min(1.0, self.step / max(1, self.steps))


class PretextModel(nn.Module):
    """A network that learns a pretext task; the base for tasks that own their forward pass.

    A task that makes views, asks and compares needs none of its own: its `build_model` returns
    the question's model. Whoever needs a teacher, several passes or crops of several sizes
    implements `forward` here and returns the model from `PretextTask.build_model`.

    Args:
        encoder: what is pretrained; it may also be set as `self.encoder` after
            `super().__init__()`.

    Attributes:
        encoder: what is pretrained.
    """

    encoder: Encoder

    def __init__(self, encoder: Encoder | None = None, *others: Any, **named: Any) -> None:
        super().__init__()
        if others or named or not isinstance(encoder, Encoder | None):
            given = ", ".join(type(one).__name__ for one in (encoder, *others, *named.values()))
            raise ConfigError(
                f"{type(self).__name__} takes one encoder, not ({given}): to join a task and an "
                "encoder say task.build_model(encoder, image_shape=(48, 48, 48)), where the task "
                f"comes from registry.pretext_task(name); see {PAGE}"
            )
        if encoder is not None:
            self.encoder = encoder

    def forward(
        self, images: Tensor, generator: torch.Generator, moment: Moment | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of images `[B, C, *S]`, a scalar, and metrics, scalars by name.

        Args:
            images: on the model's device.
            generator: where all chance comes from; it may live on the CPU while the images are on
                a GPU.
            moment: where training stands; None in a training loop that does not say.
        """
        raise PluginError(
            f"{type(self).__name__} has no forward(images, generator, moment): it returns the "
            f"loss and the metrics; see {PAGE}"
        )

    def after_step(self, moment: Moment) -> None:
        """Do what is done once an optimiser step, after it: move a teacher, say.

        It is called once however many batches made the step; `moment.cases` are the last batch's.
        """

    def parts(self) -> dict[str, nn.Module]:
        """Return what is kept after pretraining: the `encoder`, and a `decoder` where one learnt.

        Either may be another module than was trained, such as a teacher's copy.
        """
        return {"encoder": whole_encoder(self.encoder)}


def check_model(model: object, who: str) -> PretextModel:
    """Return what an author's `build_model` returned, once it is seen to be usable.

    Args:
        model: what it returned.
        who: the task in words, for a message.

    Raises:
        PluginError: it is not a pretext model, or lacks its encoder, or names parts that cannot be
            kept.
    """
    if not isinstance(model, PretextModel):
        raise PluginError(
            f"{who}: build_model returned a {type(model).__name__}; it has to return a "
            f"ssl_registry.PretextModel; see {PAGE}"
        )
    encoder = getattr(model, "encoder", None)
    if not isinstance(encoder, Encoder):
        raise PluginError(
            f"{who}: the model that build_model returned has "
            f"{'no encoder' if encoder is None else f'a {type(encoder).__name__} as its encoder'}: "
            f"set self.encoder to the encoder that build_model was given; see {PAGE}"
        )
    parts: object = model.parts()
    if not isinstance(parts, Mapping) or not isinstance(parts.get("encoder"), Encoder):
        raise PluginError(
            f"{who}: parts() returned {spell_tree(parts)}; it has to name the modules that are "
            f"kept, an Encoder as 'encoder' at least; see {PAGE}"
        )
    for name, part in parts.items():
        if not isinstance(part, nn.Module):
            raise PluginError(
                f"{who}: parts() names {spell_tree(part)} as {name!r}; a part is an nn.Module; "
                f"leave out what there is not; see {PAGE}"
            )
    decoder = parts.get("decoder")
    if decoder is not None and (fault := decoder_fault(decoder, [encoder, parts["encoder"]])):
        raise PluginError(
            f"{who}: parts() names a {type(decoder).__name__} as 'decoder' (where parts() is not "
            "written, that is the `decoder` of the module that build_head returned), but "
            f"{fault}; see {PAGE}"
        )
    if unknown := sorted(map(str, parts.keys() - {"encoder", "decoder"})):
        raise PluginError(
            f"{who}: parts() names {', '.join(map(repr, unknown))}, which nothing keeps: an "
            f"'encoder' and a 'decoder' are written beside each other, and no more; see {PAGE}"
        )
    return model


def decoder_fault(decoder: nn.Module, encoders: Iterable[nn.Module]) -> str | None:
    """Return what keeps a module from being kept as a decoder, in words; None where nothing does.

    Args:
        decoder: the module.
        encoders: those beside it.
    """
    weights = decoder.state_dict()
    if not weights:
        return "it has no weights that could be kept: leave it out"
    if odd := [name for name, value in weights.items() if not isinstance(value, Tensor)]:
        return f"its state holds more than tensors ({odd[0]}): a file of weights has none of that"
    own = {id(value) for encoder in encoders for value in encoder.parameters()}
    if any(id(value) in own for value in decoder.parameters()):
        return (
            "it holds weights of the encoder, which are kept beside it: name the module alone that "
            "works on the encoder's features"
        )
    return None


def check_called(images: object, generator: object) -> None:
    """See that a model is called with a tensor and a generator.

    Raises:
        ConfigError: one of them is something else.
    """
    if not isinstance(images, Tensor):
        raise ConfigError(
            f"the model was given a {type(images).__name__} as the images; they are a tensor "
            "[B, C, *S], floating point and on the model's device"
        )
    if not isinstance(generator, torch.Generator):
        raise ConfigError(
            f"the model was given a {type(generator).__name__} as the generator; all chance comes "
            "from a torch.Generator: ssl_registry.derive_generator(seed, step) makes one"
        )


def kept_encoder(model: PretextModel) -> Encoder:
    """Return the encoder that a model keeps, all levels of it."""
    encoder = model.parts()["encoder"]
    assert isinstance(encoder, Encoder)
    return whole_encoder(encoder)


def check_kept(model: PretextModel, built: Encoder, who: str) -> None:
    """See that a model trains the encoder that was built, and keeps one of the same structure.

    Raises:
        PluginError: it trains another, or what it keeps has weights of other names or shapes.
    """
    given = {id(one) for one in built.parameters()}
    if given and given.isdisjoint(id(one) for one in model.parameters()):
        raise PluginError(
            f"{who}: the model that build_model returned trains another encoder than it was "
            f"given: set self.encoder to the one it was given, whose weights the run starts from; "
            f"see {PAGE}"
        )
    kept, due = (
        {n: [*w.shape] for n, w in e.state_dict().items()} for e in (kept_encoder(model), built)
    )
    odd = sorted(name for name in kept.keys() | due.keys() if kept.get(name) != due.get(name))
    if odd:
        raise PluginError(
            f"{who}: parts() names an encoder of another structure than the backbone's: "
            f"{odd[0]} is {kept.get(odd[0], 'missing')} where the backbone has "
            f"{due.get(odd[0], 'none')}; keep the encoder that build_model was given, or a copy "
            f"of it; see {PAGE}"
        )


def check_column_names(values: Iterable[object], who: str) -> None:
    """See that losses and metrics are named by strings, which head the columns of metrics.csv.

    Raises:
        PluginError: one is not.
    """
    for name in values:
        if not isinstance(name, str):
            raise PluginError(
                f"{who}: a loss or metric is named {name!r}; a name is a string, the head of its "
                f"column in metrics.csv; see {PAGE}"
            )


def check_answer(answer: object, who: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss and the metrics that a model's `forward` returned, once seen to be these.

    Raises:
        PluginError: they are something else.
    """
    if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], Mapping)):
        raise PluginError(
            f"{who}: forward returned {spell_tree(answer)}; it has to return the loss, a scalar "
            f"tensor, and a mapping of metrics; see {PAGE}"
        )
    loss, metrics = answer
    if "loss" in metrics:
        raise PluginError(
            f"{who}: forward returned a metric named 'loss', which is the name of the loss "
            f"itself in metrics.csv: give it another name; see {PAGE}"
        )
    wrong = {
        name: value
        for name, value in {"loss": loss, **metrics}.items()
        if not isinstance(value, Tensor) or value.numel() != 1
    }
    for name, value in wrong.items():
        raise PluginError(
            f"{who}: {name} is {spell_tree(value)}; it has to be a tensor of one number; see {PAGE}"
        )
    check_column_names(metrics, who)
    return loss, dict(metrics)
