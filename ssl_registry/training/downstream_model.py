"""A downstream model in training: an encoder, a head, and when the encoder is frozen."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ssl_registry.backbone import Encoder
from ssl_registry.data.cache import Prepared
from ssl_registry.downstream import DownstreamTask
from ssl_registry.randomness import lend_to_torch
from ssl_registry.training.loop import Trained
from ssl_registry.training.settings import FinetuneSettings


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

    def on_train_epoch_start(self) -> None:
        """Freeze or thaw the encoder."""
        frozen = self.pretrained and self.current_epoch < self.task.freeze_epochs
        self.model.encoder.requires_grad_(not frozen)
        self.model.encoder.train(not frozen)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Return the loss of images `[B, C, *S]` and their target."""
        images, target = batch
        with lend_to_torch(self.step_generator(index)):
            loss = self.task.loss(self.model(images), target)
        self.check_loss(loss)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(images))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Keep the predictions, to be scored together."""
        images, target = batch
        outputs = self.model(images)
        loss = self.task.loss(outputs, target)
        self.log("val_loss", loss, on_step=False, on_epoch=True, batch_size=len(images))
        self.predictions += self.task.predict(outputs).cpu()
        self.targets += target.cpu()

    def on_validation_epoch_end(self) -> None:
        """Score the validation cases."""
        scores = self.task.score(self.predictions, self.targets)
        self.log_dict({f"val_{name}": value for name, value in scores.items()})
        self.predictions, self.targets = [], []


def predict(module: Finetuning, cases: Sequence[Prepared]) -> list[Tensor]:
    """Return the hard prediction of each case, on the CPU; the model is left in evaluation mode."""
    device = next(module.parameters()).device
    model = module.model.eval()
    with torch.inference_mode():
        return [
            module.task.predict(model(case.image()[None].to(device)))[0].cpu() for case in cases
        ]
