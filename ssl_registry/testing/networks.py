"""Networks around what is tried: views to outputs, images to loss, and a small encoder."""

import torch
from torch import Tensor, nn

from ssl_registry.backbone import Backbone, Encoder
from ssl_registry.errors import ImageShapeError
from ssl_registry.pretext_model import Moment, PretextModel
from ssl_registry.question_model import QuestionModel
from ssl_registry.randomness import lend_to_torch
from ssl_registry.trees import Tree


def seeded(seed: int) -> torch.Generator:
    """Return a generator on the CPU that starts from `seed`."""
    return torch.Generator().manual_seed(seed)


class Answering(nn.Module):
    """The question's model as a network from views to outputs."""

    def __init__(self, model: QuestionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, views: Tensor) -> Tree:
        """Return the head's outputs for views `[B, V, C, *S]`."""
        return self.model.answer(views)

    def added(self) -> nn.Module:
        """Return the head."""
        return self.model.head


class Asking(nn.Module):
    """A pretext model as a network from images to loss; chance is the same each time."""

    def __init__(self, model: PretextModel, moment: Moment) -> None:
        super().__init__()
        self.model, self.moment = model, moment

    def forward(self, images: Tensor) -> Tensor:
        """Return the loss of images `[B, C, *S]`."""
        moment = self.moment._replace(cases=self.moment.cases[: len(images)])
        loss: Tensor = self.model(images, seeded(3), moment)[0]
        return loss

    def added(self) -> nn.Module:
        """Return the modules whose parameters are not the encoder's."""
        encoder = set(self.model.encoder.parameters())
        alone = [
            module
            for module in self.model.modules()
            if any(True for _ in module.parameters(recurse=False))
            and not encoder & set(module.parameters(recurse=False))
        ]
        return nn.ModuleList(alone)


class SmallEncoder(Encoder):
    """Three convolutions with a stride: the smallest network with a pyramid."""

    def __init__(self, in_channels: int, dims: int) -> None:
        super().__init__()
        self.in_channels, self.channels = in_channels, (4, 8, 16)
        self.strides = ((1,) * dims, (2,) * dims, (4,) * dims)
        convolution = nn.Conv2d if dims == 2 else nn.Conv3d
        self.levels = nn.ModuleList(
            convolution(fed, made, 3, stride=stride, padding=1)
            for fed, made, stride in ((in_channels, 4, 1), (4, 8, 2), (8, 16, 2))
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return three levels of `x` `[B, C, *S]`, finest first."""
        pyramid = []
        for level in self.levels:
            x = level(x).relu()
            pyramid.append(x)
        return pyramid


def build(backbone: Backbone | None, channels: int, dims: int) -> Encoder:
    """Return an encoder of a backbone, or the small one."""
    return backbone.build(channels) if backbone else SmallEncoder(channels, dims)


def takes_images(backbone: Backbone | None, shape: tuple[int, ...]) -> bool:
    """Return whether encoders of a backbone take images of that shape; the small one takes all."""
    if backbone is None:
        return True
    with lend_to_torch(seeded(1)):
        encoder = backbone.build(1).eval()
    try:
        with torch.no_grad():
            encoder(torch.zeros(1, 1, *shape))
    except ImageShapeError:
        return False
    return True
