"""How large a described network is, is known before memory is taken for it, however it is built."""

import json
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ssl_registry import Backbone, load_encoder, registry
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.errors import EncoderFileError
from ssl_registry.training.files.encoder_file import write_encoder
from ssl_registry.training.files.handed_files import check_room
from ssl_registry.training.files.room import TooLargeError, count_values

HUGE = 10**6


def plain(width: int) -> nn.Module:
    return nn.Linear(width, width)


def asks_for_a_value(width: int) -> nn.Module:
    assert torch.linspace(0, 1, 3)[1].item() == 0.5
    return nn.Linear(width, width)


def branches_on_its_weights(width: int) -> nn.Module:
    layer = nn.Linear(width, width)
    if layer.weight.detach().abs().max() > 0:
        layer.weight.data.mul_(2)
    return layer


def copies_from_numpy(width: int) -> nn.Module:
    layer = nn.Linear(width, width)
    layer.weight.data.copy_(torch.from_numpy(torch.eye(width).numpy()))
    return layer


BUILDERS: dict[str, Callable[[int], nn.Module]] = {
    "plain": plain,
    "asks": asks_for_a_value,
    "branches": branches_on_its_weights,
    "copies": copies_from_numpy,
}


@pytest.mark.parametrize("kind", BUILDERS)
def test_a_network_that_fits_is_counted(kind: str) -> None:
    weights = dict(plain(8).state_dict())
    state = torch.get_rng_state()
    assert count_values(lambda: BUILDERS[kind](8), weights) == 72
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", BUILDERS)
def test_a_larger_one_is_refused_and_takes_no_memory(kind: str, tmp_path: Path) -> None:
    weights = dict(plain(8).state_dict())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for width in (20_000, HUGE):
        with pytest.raises(EncoderFileError, match="holds 72 weights, but the network"):
            check_room(lambda w=width: BUILDERS[kind](w), weights, tmp_path, EncoderFileError)  # type: ignore[misc]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 500 * 1024, f"{grown} KiB"


@pytest.mark.parametrize("asks", [False, True])
def test_one_of_many_small_parts_is_stopped(asks: bool) -> None:
    made = 0

    def build() -> nn.Module:
        nonlocal made
        assert not asks or torch.ones(1).item() == 1
        layers = nn.ModuleList()
        for _ in range(10**7):
            layers.append(nn.Linear(1, 1))
            made += 1
        return layers

    with pytest.raises(TooLargeError):
        count_values(build, dict(plain(8).state_dict()))
    assert made < 10**5


@pytest.mark.parametrize(
    "grow",
    [
        lambda one: one.repeat(HUGE, HUGE),
        lambda one: one.expand(HUGE, HUGE).clone(),
        lambda one: one.new_zeros(HUGE, HUGE),
        lambda one: nn.functional.pad(one, (HUGE, HUGE, HUGE, HUGE)),
        lambda one: one.expand(HUGE, 1) @ one.expand(1, HUGE),
        lambda _: torch.arange(HUGE * HUGE),
    ],
)
def test_no_way_to_a_large_tensor_is_overlooked(grow: Callable[[torch.Tensor], object]) -> None:
    def build() -> nn.Module:
        assert torch.ones(1).item() == 1
        grow(torch.ones(1, 1))
        return plain(8)

    with pytest.raises(TooLargeError):
        count_values(build, dict(plain(8).state_dict()))


SWIN = {"name": "monai-swinunetr3d", "feature_size": 12, "depths": [1, 1, 1, 1]}
"""A network that asks torch for values while it is built."""


@pytest.fixture
def swin(tmp_path: Path) -> Path:
    backbone = registry.create(SWIN)
    assert isinstance(backbone, Backbone)
    write_encoder(
        tmp_path, backbone.build(1), backbone=backbone, task=None, preprocessing=Preprocessing(),
        size=64, data={}, versions={},
    )  # fmt: skip
    return tmp_path


def test_an_encoder_that_asks_for_values_is_loaded_bit_for_bit(swin: Path) -> None:
    kept = load_file(swin / "encoder.safetensors")
    loaded = load_encoder(swin).state_dict()
    assert set(kept) == set(loaded)
    assert all(torch.equal(loaded[name], value) for name, value in kept.items())


def test_one_that_is_larger_than_its_weights_is_refused(swin: Path) -> None:
    said = json.loads((swin / "encoder.json").read_text())
    said["backbone"]["feature_size"] = 768
    (swin / "encoder.json").write_text(json.dumps(said))
    with pytest.raises(EncoderFileError, match="weights, but the network that is described"):
        load_encoder(swin)
