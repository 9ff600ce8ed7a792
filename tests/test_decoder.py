"""Decoders: their normalisation, and answers at several levels."""

from typing import Literal

import pytest
import torch
from torch import nn

from ssl_registry import Encoder, registry
from ssl_registry.backbone import FinestLevels
from ssl_registry.builtin.segmentation import Segmentation2d, Segmentation3d, coarsen
from ssl_registry.errors import ConfigError
from ssl_registry.heads import DecoderStyle, DenseHead, UNetDecoder
from ssl_registry.training.finetuning.downstream_model import DownstreamModel

NORMS = {"batch": nn.BatchNorm3d, "instance": nn.InstanceNorm3d, "group": nn.GroupNorm}


def unet(levels: int = 3, norm: str = "instance", dims: int = 3) -> Encoder:
    backbone = {"name": f"unet{dims}d", "base_filters": 2, "levels": levels, "norm": norm}
    return registry.create(backbone).build(1)  # type: ignore[no-any-return, attr-defined]


def norms_in(module: nn.Module) -> set[type[nn.Module]]:
    kinds = (*NORMS.values(), nn.LayerNorm)
    return {type(layer) for layer in module.modules() if isinstance(layer, kinds)}


@pytest.mark.parametrize("norm", NORMS)
def test_a_decoder_has_the_normalisation_of_the_unet(norm: str) -> None:
    encoder = unet(norm=norm)
    assert norms_in(encoder) == {NORMS[norm]}
    for head in (
        UNetDecoder(encoder, 2, 3),
        DenseHead(encoder, 1, 3),
        Segmentation3d().build_head(FinestLevels(encoder, 2), 2),
    ):
        assert norms_in(head) == {NORMS[norm]}


def test_one_level_is_nothing_to_decode_unless_it_is_the_finest_of_several() -> None:
    with pytest.raises(ConfigError, match=r"one level.*choose a backbone with 2 levels or more"):
        DenseHead(unet(levels=1), 1, 3)
    DenseHead(FinestLevels(unet(levels=2), 1), 1, 3)


@pytest.mark.parametrize("name", ["fusion3d", "genesis3d", "masked3d", "place3d", "local3d"])
def test_a_dense_task_refuses_an_encoder_of_one_level_before_the_first_step(name: str) -> None:
    pytest.importorskip("ssl_registry_fusion", reason="plugins are not installed")
    with pytest.raises(ConfigError, match=r"one level.*nothing to decode"):
        registry.pretext_task(name).build_model(unet(levels=1), (32, 32, 32))


class Plain(Encoder):
    """Two levels with one layer of normalisation each."""

    in_channels, channels, strides = 1, (4, 8), ((1, 1, 1), (2, 2, 2))

    def __init__(self, *norms: nn.Module) -> None:
        super().__init__()
        self.norms = nn.ModuleList(norms)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x.expand(-1, 4, -1, -1, -1), x[..., ::2, ::2, ::2].expand(-1, 8, -1, -1, -1)]


@pytest.mark.parametrize(
    ("norms", "expected"),
    [
        ([nn.BatchNorm3d(4), nn.BatchNorm3d(8), nn.GroupNorm(2, 4)], nn.BatchNorm3d),
        ([nn.GroupNorm(2, 4)], nn.GroupNorm),
        ([nn.LayerNorm(4)], nn.InstanceNorm3d),
        ([], nn.InstanceNorm3d),
    ],
)
def test_the_normalisation_of_any_other_network_is_found(
    norms: list[nn.Module], expected: type[nn.Module]
) -> None:
    assert norms_in(UNetDecoder(Plain(*norms), 2, 3)) == {expected}


def test_an_encoder_says_how_its_decoder_looks() -> None:
    class Declared(Plain):
        def decoder_style(self) -> DecoderStyle:
            kernels = ((3, 3, 1), (3, 3, 3))
            return DecoderStyle("batch", "leaky_relu", convolutions=(1,), kernels=kernels)

    encoder = Declared()
    decoder = UNetDecoder(encoder, 2, 3)
    (block,) = decoder.fuse
    kinds = [type(layer) for layer in block.children()]
    assert kinds == [nn.Conv3d, nn.BatchNorm3d, nn.LeakyReLU]
    assert block.get_submodule("0").kernel_size == (3, 3, 1)
    assert decoder(encoder(torch.rand(2, 1, 5, 4, 6))).shape == (2, 2, 5, 4, 6)


def test_images_in_one_batch_are_strangers_under_instance_norm() -> None:
    encoder = unet()
    model = DownstreamModel(encoder, UNetDecoder(encoder, 2, 3)).train()
    one, other = torch.rand(2, 1, 1, 8, 8, 8)
    together = model(torch.cat([one, other]))
    assert torch.allclose(together[:1], model(one), atol=1e-5)


@pytest.mark.parametrize(("levels", "answers"), [(3, 2), (4, 2), (5, 3)])
def test_deep_supervision_answers_at_coarser_levels_in_training_alone(
    levels: int, answers: int
) -> None:
    encoder = unet(levels)
    task = Segmentation3d(deep_supervision=True)
    model = DownstreamModel(encoder, task.build_head(encoder, 3)).train()
    images = torch.rand(2, 1, 20, 16, 33)
    outputs = model(images)
    sides = [tuple(-(-side // 2**level) for side in (20, 16, 33)) for level in range(answers)]
    assert [tuple(scores.shape) for scores in outputs] == [(2, 3, *shape) for shape in sides]
    assert isinstance(model.eval()(images), torch.Tensor)


def test_each_level_counts_half_as_much_as_the_finer_one() -> None:
    task = Segmentation2d(deep_supervision=True)
    target = torch.randint(3, (2, 8, 6))
    scores = [torch.randn(2, 3, *shape) for shape in ((8, 6), (4, 3), (2, 2))]
    losses = [task.loss(one, coarsen(target, one.shape[2:])) for one in scores]
    mean = (losses[0] + losses[1] / 2 + losses[2] / 4) / 1.75
    assert torch.allclose(task.loss(tuple(scores), target), mean)


def test_coarser_labels_are_those_of_the_nearest_voxel() -> None:
    labels = torch.arange(8).repeat(1, 2, 1)
    assert coarsen(labels, (2, 4)).tolist() == [[[1, 3, 5, 7]] * 2]
    assert coarsen(labels, (1, 8)).tolist() == [[list(range(8))]]


@pytest.mark.parametrize("deep", [False, True])
def test_deep_supervision_changes_no_weight_that_is_there_without_it(deep: bool) -> None:
    states = []
    for supervised in (False, deep):
        torch.manual_seed(0)
        encoder = unet()
        states.append(UNetDecoder(encoder, 2, 3, deep_supervision=supervised).state_dict())
    plain, other = states
    assert all(torch.equal(value, other[name]) for name, value in plain.items())


def test_deep_supervision_reaches_every_level_of_the_decoder() -> None:
    encoder = unet()
    head = Segmentation3d(deep_supervision=True).build_head(encoder, 2)
    outputs = head(encoder(torch.rand(1, 1, 8, 8, 8)))
    Segmentation3d().loss(outputs[1:], torch.zeros(1, 4, 4, 4).long()).backward()
    assert isinstance(head, UNetDecoder)
    finest, coarser = head.fuse[-1], head.fuse[0]
    assert all(p.grad is None for p in finest.parameters())
    assert all(p.grad is not None for p in coarser.parameters())


@pytest.mark.parametrize("dims", [2, 3])
def test_an_encoder_with_two_levels_has_nothing_to_supervise_deeply(dims: Literal[2, 3]) -> None:
    task = {2: Segmentation2d, 3: Segmentation3d}[dims](deep_supervision=True)
    with pytest.raises(ConfigError, match="levels"):
        task.build_head(unet(2, dims=dims), 2)
