"""Crops of two sizes are to be assigned alike (after Caron et al. 2021, arXiv:2104.14294)."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry import Encoder, Moment, PretextModel, PretextTask
from ssl_registry.errors import ImageShapeError
from ssl_registry.heads import Teacher


class MultiCrop3d(PretextTask):
    """Is this small crop of the same volume as that large one?"""

    spatial_dims: ClassVar[Literal[2, 3]] = 3

    small: float = Field(0.5, gt=0, lt=1, description="side of a small crop, as a share")
    crops: int = Field(2, ge=1, description="small crops of each volume")

    def view_shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a small crop."""
        shape = tuple(int(self.small * side) for side in image_shape)
        if min(shape) < 4:
            raise ImageShapeError(f"small crops of {list(shape)}: raise `small` or `size`")
        return shape

    def judged_by(self) -> Literal["features"]:
        """Return that the features tell."""
        return "features"

    def build_model(self, encoder: Encoder, image_shape: tuple[int, ...]) -> PretextModel:
        """Return student and teacher."""
        return MultiCropModel(self, encoder, self.view_shape(image_shape))


class MultiCropModel(PretextModel):
    """The student sees small crops, the teacher the whole; a centre keeps all from being one."""

    centre: Tensor

    def __init__(self, task: MultiCrop3d, encoder: Encoder, small: tuple[int, ...]) -> None:
        super().__init__(encoder)
        self.task, self.small = task, small
        self.project = nn.Linear(encoder.channels[-1], 16)
        self.teachers = nn.ModuleList([Teacher(encoder, 0.99), Teacher(self.project, 0.99)])
        self.register_buffer("centre", torch.zeros(16))

    def forward(
        self, images: Tensor, generator: torch.Generator, moment: Moment | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the cross-entropy between what student and teacher say."""
        encode, project = self.teachers
        said = project(encode(images)[-1].flatten(2).mean(2)).float()
        wanted = ((said - self.centre) / 0.1).softmax(dim=1)
        losses = []
        for _ in range(self.task.crops):
            views = images
            for axis, side in enumerate(self.small, start=2):
                room = images.shape[axis] - side + 1
                views = views.narrow(axis, int(torch.randint(room, (), generator=generator)), side)
            scores = self.project(self.encoder(views)[-1].flatten(2).mean(2)).float()
            losses.append(F.cross_entropy(scores, wanted))
        if self.training:
            self.centre.lerp_(said.mean(dim=0), 0.1)
        return torch.stack(losses).mean(), {}

    def after_step(self, moment: Moment) -> None:
        """Let the teachers follow."""
        for teacher, student in zip(self.teachers, (self.encoder, self.project), strict=True):
            teacher.follow(student, moment)
