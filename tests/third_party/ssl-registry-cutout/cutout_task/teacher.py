"""A network that foretells what its slow copy makes of another view (Grill et al. 2020)."""

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry import Encoder, Moment, PretextModel, PretextTask
from ssl_registry.heads import Teacher


class Teacher3d(PretextTask):
    """What does a slow copy of the network make of the same volume, mirrored?

    Reference: Grill et al. 2020 (arXiv:2006.07733).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3

    momentum: float = Field(0.99, ge=0, le=1, description="share of the teacher kept in a step")
    width: int = Field(16, ge=2, description="length of an embedding")

    def judged_by(self) -> Literal["features"]:
        """Return that the features tell: the target moves."""
        return "features"

    def build_model(self, encoder: Encoder, image_shape: tuple[int, ...]) -> PretextModel:
        """Return the student and its teacher."""
        return StudentAndTeacher(self, encoder)


class Embedding(nn.Module):
    """An encoder and a projection of its coarsest level."""

    def __init__(self, encoder: Encoder, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.project = nn.Linear(encoder.channels[-1], width)

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings `[B, D]` of images `[B, C, D, H, W]`."""
        embedded: Tensor = self.project(self.encoder(images)[-1].flatten(2).mean(2))
        return embedded


class StudentAndTeacher(PretextModel):
    """The student's embedding of a volume is to foretell the teacher's of its mirror image."""

    def __init__(self, task: Teacher3d, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.student = Embedding(encoder, task.width)
        self.predict = nn.Linear(task.width, task.width)
        self.teacher = Teacher(self.student, task.momentum, final=1.0)

    def forward(
        self, images: Tensor, generator: torch.Generator, moment: Moment | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return how far the two are apart, 0 to 4, and how alike the teacher's answers are."""
        mirrored = images.flip(2 + int(torch.randint(3, (), generator=generator)))
        wanted: Any = F.normalize(self.teacher(mirrored).float(), dim=1)
        said = F.normalize(self.predict(self.student(images)).float(), dim=1)
        loss = 2 - 2 * (said * wanted).sum(dim=1).mean()
        return loss, {"alike": (wanted @ wanted.T).mean()}

    def after_step(self, moment: Moment) -> None:
        """Let the teacher follow."""
        self.teacher.follow(self.student, moment)
