"""Which other volume of the batch is the same patient's?"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry import Encoder, Moment, PretextModel, PretextTask
from ssl_registry.errors import ConfigError


class Patients3d(PretextTask):
    """Is this scan, mirrored, of the same patient as that one?

    Scans of one patient are positives, after Zeng et al. 2021 (arXiv:2106.09157).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3

    temperature: float = Field(0.1, gt=0, description="temperature of the similarities")

    def judged_by(self) -> Literal["loss"]:
        """Return that the loss tells."""
        return "loss"

    def build_model(self, encoder: Encoder, image_shape: tuple[int, ...]) -> PretextModel:
        """Return the model, which asks whether two images are of one patient."""
        return PatientsModel(self, encoder)


class PatientsModel(PretextModel):
    """Scans of one patient are near each other, those of others far away."""

    def __init__(self, task: Patients3d, encoder: Encoder) -> None:
        super().__init__(encoder)
        self.temperature = task.temperature
        self.project = nn.Linear(encoder.channels[-1], 16)

    def forward(
        self, images: Tensor, generator: torch.Generator, moment: Moment | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the supervised contrastive loss over images and mirror images."""
        if moment is None or len(moment.cases) != len(images):
            raise ConfigError("patients3d needs moment.cases: say which patients the images are of")
        names = [case.group for case in moment.cases] * 2
        order = sorted(set(names))
        who = torch.tensor([order.index(name) for name in names], device=images.device)
        mirrored = images.flip(2 + int(torch.randint(3, (), generator=generator)))
        points = [
            self.project(self.encoder(views)[-1].flatten(2).mean(2)) for views in (images, mirrored)
        ]
        near = F.normalize(torch.cat(points).float(), dim=1)
        itself = torch.eye(len(who), dtype=torch.bool, device=who.device)
        scores = (near @ near.T / self.temperature).masked_fill(itself, -1e4)
        same = (who[:, None] == who) & ~itself
        loss = -(scores.log_softmax(dim=1) * same).sum(1) / same.sum(1)
        right = same.gather(1, scores.argmax(1, keepdim=True)).float().mean()
        return loss.mean(), {"nearest_is_the_patients": right}
