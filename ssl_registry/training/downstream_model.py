"""A downstream model in training: an encoder, a head, and when the encoder is frozen."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ssl_registry.backbone import Encoder
from ssl_registry.data.cache import Prepared
from ssl_registry.distributed import from_all
from ssl_registry.downstream import DownstreamTask
from ssl_registry.training.settings import FinetuneSettings
from ssl_registry.training.trained import Trained


class DownstreamModel(nn.Module):
    """An encoder and a downstream head: images `[B, C, *S]` to the head's outputs."""

    def __init__(self, encoder: Encoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Return the head's outputs."""
        outputs: Tensor = self.head(self.encoder(images))
        return outputs


class Finetuning(Trained):
    """A downstream model in training.

    A pretrained encoder is frozen for the task's first `freeze_epochs`, its batch
    statistics too; a random one never is, for that would handicap the baseline.
    """

    def __init__(
        self,
        model: DownstreamModel,
        task: DownstreamTask,
        settings: FinetuneSettings,
    ) -> None:
        super().__init__(settings, "finetune")
        self.model = model
        self.task = task
        self.pretrained = settings.encoder is not None
        self.predictions: list[Tensor] = []
        self.targets: list[Tensor] = []

    def begin_epoch(self, epoch: int) -> None:
        """Freeze or thaw the encoder."""
        frozen = self.pretrained and epoch < self.task.freeze_epochs
        self.model.encoder.requires_grad_(not frozen)
        self.model.encoder.train(not frozen)

    def training_step(
        self, batch: tuple[Tensor, Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the loss of images `[B, C, *S]` and their target."""
        images, target = batch
        return {"loss": self.task.loss(self.model(images), target)}

    def validation_step(
        self, batch: tuple[Tensor, Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the loss, and keep the predictions, to be scored together."""
        images, target = batch
        outputs = self.model(images)
        self.predictions += self.task.predict(outputs).cpu()
        self.targets += target.cpu()
        return {"loss": self.task.loss(outputs, target)}

    def validation_scores(self) -> dict[str, float]:
        """Score the validation cases of all processes."""
        parts = from_all((self.predictions, self.targets))
        predictions = [one for part, _ in parts for one in part]
        targets = [one for _, part in parts for one in part]
        self.predictions, self.targets = [], []
        return self.task.score(predictions, targets)


def predict(module: Finetuning, cases: Sequence[Prepared]) -> list[Tensor]:
    """Return the hard prediction of each case, on the CPU; the model is left in evaluation mode."""
    device = next(module.parameters()).device
    model = module.model.eval()
    with torch.inference_mode():
        return [
            module.task.predict(model(case.image()[None].to(device)))[0].cpu() for case in cases
        ]
