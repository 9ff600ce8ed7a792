"""wrap_encoder: a plain module becomes an encoder and keeps its own names."""

import copy
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor, nn

from ssl_registry import Backbone, Encoder, registry, wrap_encoder
from ssl_registry.errors import ConfigError
from ssl_registry.heads import UNetDecoder
from ssl_registry.testing import check_backbone


class Stages(nn.Module):
    """Two levels, the coarser one named first; the last axis is halved only once."""

    def __init__(self, channels: int = 1, answer: type = list) -> None:
        super().__init__()
        self.fine = nn.Conv3d(channels, 3, 3, padding=1)
        self.norm = nn.BatchNorm3d(3)
        self.coarse = nn.Conv3d(3, 5, 2, stride=(2, 2, 1))
        self.register_parameter("scale", nn.Parameter(torch.ones(())))
        self.answer = answer

    def forward(self, x: Tensor) -> Any:
        fine = self.norm(self.fine(x)) * self.scale
        coarse = self.coarse(nn.functional.pad(fine, (0, 1)))
        return {"c": coarse, "f": fine} if self.answer is dict else self.answer([coarse, fine])


@pytest.mark.parametrize("answer", [list, tuple, dict])
def test_channels_and_strides_are_read_from_a_trial_pass(answer: type) -> None:
    module = Stages(answer=answer)
    before = copy.deepcopy(module.state_dict())
    encoder = wrap_encoder(module)
    assert encoder.in_channels == 1
    assert encoder.channels == (3, 5)
    assert encoder.strides == ((1, 1, 1), (2, 2, 1))
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    pyramid = encoder(torch.rand(2, 1, 8, 8, 6))
    assert [tuple(level.shape) for level in pyramid] == [(2, 3, 8, 8, 6), (2, 5, 4, 4, 6)]


def test_weights_keep_their_own_names_and_are_the_modules_own() -> None:
    module = Stages()
    encoder = wrap_encoder(module)
    assert list(encoder.state_dict()) == list(module.state_dict())
    ours, theirs = dict(encoder.named_parameters()), dict(module.named_parameters())
    assert ours.keys() == theirs.keys()
    assert all(ours[name] is theirs[name] for name in ours)
    encoder(torch.rand(2, 1, 8, 8, 8))[-1].sum().backward()
    torch.optim.SGD(encoder.parameters(), lr=1.0).step()
    Stages().load_state_dict(encoder.state_dict(), strict=True)
    assert torch.equal(module.state_dict()["coarse.bias"], encoder.state_dict()["coarse.bias"])


def test_modes_devices_and_copies_reach_the_module() -> None:
    module = Stages()
    encoder = wrap_encoder(module)
    encoder.eval()
    assert not module.training
    assert not module.norm.training
    encoder.double()
    assert module.scale.dtype == torch.float64
    other = copy.deepcopy(encoder)
    with torch.no_grad():
        other.get_parameter("scale").fill_(7)
    assert float(module.scale.detach()) == 1
    assert float(other.module.scale.detach()) == 7  # type: ignore[operator]


def test_one_tensor_is_one_level() -> None:
    encoder = wrap_encoder(nn.Conv2d(3, 4, 2, stride=2))
    assert (encoder.in_channels, encoder.channels, encoder.strides) == (3, (4,), ((2, 2),))


def test_what_is_said_is_checked() -> None:
    wrap_encoder(Stages(), channels=(3, 5), strides=((1, 1, 1), (2, 2, 1)))
    wrap_encoder(nn.Conv2d(3, 4, 2, stride=2), channels=[4], strides=[2])
    with pytest.raises(ConfigError, match=r"channels=\(3, 6\), but the levels have \(3, 5\)"):
        wrap_encoder(Stages(), channels=(3, 6))
    with pytest.raises(ConfigError, match=r"which is \(\(1, 1, 1\), \(2, 2, 1\)\)"):
        wrap_encoder(Stages(), strides=(1, 2))


class Pooled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


@pytest.mark.parametrize(
    ("module", "said", "words"),
    [
        (Pooled(), {}, "Pooled has no convolution .* in_channels=... and dims=2"),
        (Pooled(), {"in_channels": 1, "dims": 2}, "features from before the pooling"),
        ("resnet18", {}, "str is no torch.nn.Module"),
        (nn.Conv2d(3, 4, 3), {"in_channels": 1}, "cannot take an image .* set image_shape"),
        (nn.Conv2d(3, 4, 3), {"image_shape": (8, 8, 8)}, "expected 2 sides"),
        (nn.MultiheadAttention(4, 1), {"in_channels": 1, "dims": 2}, "MultiheadAttention cannot"),
    ],
)
def test_what_is_no_encoder_is_refused_in_words(
    module: nn.Module, said: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        wrap_encoder(module, **said)


def test_a_decoder_reads_its_levels() -> None:
    encoder = wrap_encoder(Stages()).eval()
    with torch.no_grad():
        scores = UNetDecoder(encoder, 2, dims=3).eval()(encoder(torch.rand(1, 1, 8, 8, 6)))
    assert scores.shape == (1, 2, 8, 8, 6)


class Wrapped(Backbone):
    """A backbone whose network is wrapped.

    Reference: none.
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3

    def build(self, in_channels: int) -> Encoder:
        return wrap_encoder(Stages(in_channels))


def test_a_backbone_of_it_keeps_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    registry.register(Wrapped, name="wrapped3d")
    check_backbone(Wrapped(), image_shapes=[(8, 8, 8), (12, 8, 6)], channels=(1, 2))
