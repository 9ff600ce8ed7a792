"""A downstream model in training: an encoder, a head, and when the encoder is frozen."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ssl_registry.authors_errors import blame, spell_component
from ssl_registry.backbone import Encoder
from ssl_registry.data.cache.prepared import Prepared
from ssl_registry.data.label_classes import by_value
from ssl_registry.data.preparing.slice_answers import answer_slices, as_volume
from ssl_registry.data.preparing.sliding_window import slide
from ssl_registry.distributed import from_all
from ssl_registry.downstream import PAGE, DownstreamTask, Takeover
from ssl_registry.errors import PluginError
from ssl_registry.pretext_model import Moment
from ssl_registry.training.engine.answering import answering, read_ahead
from ssl_registry.training.engine.trained import Trained
from ssl_registry.training.settings.runs import FinetuneSettings


class DownstreamModel(nn.Module):
    """An encoder and a downstream head: images `[B, C, *S]` to the head's outputs."""

    def __init__(self, encoder: Encoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, images: Tensor) -> Any:
        """Return the head's outputs."""
        return self.head(self.encoder(images))


def build_checked_head(task: DownstreamTask, encoder: Encoder, classes: int) -> nn.Module:
    """Return the head that a task builds, once it is seen to be a module.

    Raises:
        PluginError: it is none, or `build_head` fails.
    """
    with blame(task, "build_head", page=PAGE):
        head: object = task.build_head(encoder, classes)
    if not isinstance(head, nn.Module):
        raise PluginError(
            f"{spell_component(task)}: build_head returned a {type(head).__name__}; it has to "
            f"return an nn.Module; see {PAGE}"
        )
    return head


class LabelMaps(Sequence[Tensor]):
    """Labels kept in few bytes, given as int64 one at a time, as scores take them."""

    def __init__(self, labels: Iterable[Tensor]) -> None:
        self.labels = list(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return LabelMaps(self.labels[index])
        return self.labels[index].long()


class CaseLabels(Sequence[Tensor]):
    """The labels of prepared cases as int64, each read from the cache when it is asked for."""

    def __init__(self, cases: Sequence[Prepared]) -> None:
        self.cases = cases

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return CaseLabels(self.cases[index])
        return self.cases[index].label()


class Finetuning(Trained):
    """A downstream model in training.

    A pretrained encoder is frozen for the task's first `freeze_epochs`, its batch
    statistics too, and with it what the head took over of a pretrained decoder. Whatever is random
    never is, for that would handicap the baseline: an encoder from scratch, levels that begin
    anew, the layer that answers.

    Args:
        model: the encoder and its head.
        task: what is learned.
        settings: of the run.
        kept: names of the encoder's parameters that were taken over; None for all of them.
        spacing: of the images' voxels in mm, for augmentation; without it they are cubes.
        takeover: what the head took over of a pretrained decoder.
        label_values: of the data, in the order of the classes, after which scores are called.
    """

    settings: FinetuneSettings

    def __init__(
        self,
        model: DownstreamModel,
        task: DownstreamTask,
        settings: FinetuneSettings,
        kept: frozenset[str] | None = None,
        spacing: tuple[float, ...] | None = None,
        takeover: Takeover | None = None,
        label_values: tuple[int, ...] = (),
    ) -> None:
        super().__init__(settings, "finetune")
        self.label_values = label_values
        self.kept, self.takeover = kept, takeover
        self.spacing = spacing
        self.model = model
        self.task = task
        self.pretrained = settings.encoder is not None
        self.predictions: list[Tensor] = []
        self.targets: list[Tensor] = []

    def begin_epoch(self, epoch: int) -> None:
        """Freeze or thaw what was pretrained."""
        frozen = self.pretrained and epoch < self.task.freeze_epochs
        _freeze(self.model.encoder, frozen, self.kept)
        if self.takeover is not None:
            _freeze(self.model.head, frozen, self.takeover.taken)

    def training_step(
        self, batch: tuple[Tensor, Tensor], generator: torch.Generator, moment: Moment
    ) -> dict[str, Tensor]:
        """Return the loss of images `[B, C, *S]` and their target, both augmented."""
        images, target = self._augment(*batch, generator)
        outputs = self.model(images)
        with blame(self.task, "loss", page=PAGE):
            return {"loss": self.task.loss(outputs, target)}

    def _augment(
        self, images: Tensor, target: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Change images and their label maps; a class stays what it is."""
        augment = self.settings.augment
        if augment.is_none:
            return images, target
        # The cache keeps labels in a byte. Of longer numbers a device would have to say how large
        # they are before they are moved, and the host to wait for it.
        labels = target.to(torch.uint8) if self.task.target_kind == "mask" else None
        images, moved = augment(images, labels, generator=generator, spacing=self.spacing)
        return images, target if moved is None else moved.to(target.dtype)

    def validation_step(
        self, batch: tuple[Tensor, Tensor], generator: torch.Generator, moment: Moment
    ) -> dict[str, Tensor]:
        """Return the loss, and keep the predictions, to be scored together.

        Where training is from patches, an image is answered as a whole, and has no loss: it
        may be too large for one.
        """
        images, target = batch
        outputs = self.outputs(images)
        self.predictions += self.predict(outputs)
        self.targets += _kept(target)
        target = target[0] if self.stacked else target
        return {} if self.settings.patches else {"loss": self.task.loss(outputs, target)}

    @property
    def stacked(self) -> bool:
        """Whether the outputs are of the slices of one volume, to be stacked."""
        return self.settings.across is not None and self.task.target_kind == "mask"

    def predict(self, outputs: Tensor) -> Sequence[Tensor]:
        """Return the hard prediction of each case; one of `outputs` has the slices of one case."""
        with blame(self.task, "predict", page=PAGE):
            predicted = self.task.predict(outputs)
        return _kept(predicted[None] if self.stacked else predicted)

    def outputs(self, images: Tensor) -> Tensor:
        """Return the outputs for whole images, in one piece or by sliding windows.

        Of one volume that is seen by its slices, `[1, C, N, H, W]`, those of all slices,
        `[N, K, H, W]`, or, of a class, their mean, `[1, K]`.
        """
        if self.settings.across is None:
            return self._answer(images)
        outputs = answer_slices(images[0], self.settings.batch_size, self._answer)
        return outputs if self.stacked else as_volume(outputs)[None]

    def _answer(self, images: Tensor) -> Tensor:
        settings = self.settings
        if not settings.patches:
            whole: Tensor = self.model(images)
            return whole
        window, count = settings.image_shape, settings.batch_size
        return torch.stack([slide(image, window, count, self.model) for image in images])

    def validation_scores(self) -> dict[str, float]:
        """Score the validation cases of all processes."""
        parts = from_all((self.predictions, self.targets))
        predictions = [one for part, _ in parts for one in part]
        targets = [one for _, part in parts for one in part]
        self.predictions, self.targets = [], []
        scores = self.task.score(LabelMaps(predictions), LabelMaps(targets))
        return by_value(scores, self.label_values)


def _freeze(module: nn.Module, frozen: bool, kept: frozenset[str] | None) -> None:
    """Freeze a module, or thaw it; where names are `kept`, only these are frozen."""
    module.requires_grad_(not frozen)
    module.train(not frozen)
    if not frozen or kept is None:
        return
    for path, layer in module.named_modules():
        for name, parameter in layer.named_parameters(path, recurse=False):
            if name not in kept:
                parameter.requires_grad_(True)
                layer.training = True


def _kept(labels: Tensor) -> Sequence[Tensor]:
    """Return the labels of a batch, one image at a time, on the CPU and in one byte each."""
    return labels.to(torch.uint8).cpu().unbind()


def _images(cases: Sequence[Prepared], device: torch.device) -> Iterator[Callable[[], Tensor]]:
    return read_ahead(Prepared.image, cases, device)


def predict_cases(module: Finetuning, cases: Sequence[Prepared]) -> LabelMaps:
    """Return the hard prediction of each case, on the CPU; the model is left in evaluation mode."""
    device = next(module.parameters()).device
    module.eval()
    with answering(module.precision, device):
        outputs = (module.outputs(image()[None].to(device)) for image in _images(cases, device))
        return LabelMaps(module.predict(output)[0] for output in outputs)


def grade_cases(module: Finetuning, cases: Sequence[Prepared]) -> tuple[LabelMaps, list[Tensor]]:
    """Return the class of each case, and the probability of each class `[K]`, on the CPU.

    The model is left in evaluation mode.
    """
    device = next(module.parameters()).device
    module.eval()
    with answering(module.precision, device):
        outputs = [module.outputs(image()[None].to(device)) for image in _images(cases, device)]
        classes = LabelMaps(module.predict(output)[0] for output in outputs)
        return classes, [module.task.probabilities(output)[0].cpu() for output in outputs]
