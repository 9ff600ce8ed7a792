"""A contrast task of the tests' own: a momentum teacher and a queue of negatives, as MoCo has."""

import os
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry import Encoder, Entry, Moment, PretextModel, PretextTask, hookimpl
from ssl_registry.heads import Queue, Teacher


class Contrast3d(PretextTask):
    """Is this the same volume, mirrored?"""

    spatial_dims: ClassVar[Literal[2, 3]] = 3

    def judged_by(self) -> Literal["features"]:
        return "features"

    def build_model(self, encoder: Encoder, image_shape: tuple[int, ...]) -> PretextModel:
        return ContrastModel(encoder)


class Embed(nn.Module):
    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder, self.project = encoder, nn.Linear(encoder.channels[-1], 8)

    def forward(self, images: Tensor) -> Tensor:
        points = self.project(self.encoder(images)[-1].flatten(2).mean(2))
        return F.normalize(points.float(), dim=1)


class ContrastModel(PretextModel):
    moved: Tensor

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.student = Embed(encoder)
        self.teacher = Teacher(self.student, 0.9)
        self.queue = Queue(6, 8)
        self.register_buffer("moved", torch.zeros((), dtype=torch.int64))

    def forward(
        self, images: Tensor, generator: torch.Generator, moment: Moment | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        axis = 2 + int(torch.randint(3, (), generator=generator))
        keys = self.teacher(images.flip(axis))
        points = self.student(images)
        own = (points * keys).sum(1, keepdim=True)
        others = (points @ self.queue.embeddings().T).masked_fill(~self.queue.filled, -10)
        answers = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        loss = F.cross_entropy(torch.cat([own, others], dim=1) / 0.2, answers)
        if self.training:
            self.queue.push(keys)
        return loss, {"filled": self.queue.filled.float().mean(), "moved": self.moved.float()}

    def after_step(self, moment: Moment) -> None:
        assert moment.step == int(self.moved) + 1
        self.moved += 1
        self.teacher.follow(self.student, moment)


@hookimpl
def ssl_registry_pretext_tasks() -> list[Entry]:
    return [Entry("contrast3d", "tests.contrast:Contrast3d", dims=3, summary="Mirrored?")]


def offer(folder: Path) -> dict[str, str]:
    """Make an installed plugin of this module; return the environment in which it is one."""
    about = folder / "contrast_of_the_tests-0.1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: contrast-of-the-tests\nVersion: 0.1.0\n"
    )
    (about / "entry_points.txt").write_text("[ssl_registry]\ncontrast = tests.contrast\n")
    root = Path(__file__).parents[1]
    path = os.pathsep.join([str(folder), str(root), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path.rstrip(os.pathsep)}
