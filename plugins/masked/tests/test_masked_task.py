"""What the masked tasks promise: hidden cubes, errors on them alone, and no leak through a mask."""

import itertools
from typing import Any

import pytest
import torch
from ssl_registry_masked.cubes import normalise_cubes
from ssl_registry_masked.masked import Masked2d, Masked3d
from ssl_registry_masked.sparse import VisibleAlone
from ssl_registry_masked.tokens import patch_embedding, projection_of, tokens_in_place
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry import Encoder, registry
from ssl_registry.errors import ConfigError, ImageShapeError
from ssl_registry.heads import UNetDecoder
from ssl_registry.testing import check_pretext_task

BOTH = [Masked2d, Masked3d]
Masked = Masked2d | Masked3d
SHAPES = {2: (12, 8), 3: (8, 12, 4)}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_for(cls: type[Masked], batch: int = 3, channels: int = 1) -> Tensor:
    return torch.rand((batch, channels, *SHAPES[cls.spatial_dims]), generator=seeded(99))


def unit(dims: int, **fields: Any) -> Encoder:
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        fields = {"base_filters": 4, "levels": 2, **fields}
        return registry.create(f"unet{dims}d", **fields).build(1)  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("fields", [{}, {"sparse": True}], ids=["dense", "sparse"])
def test_the_contract_of_pretext_tasks_is_kept(cls: type[Masked], fields: Any) -> None:
    shape = (16,) * cls.spatial_dims
    check_pretext_task(cls(cube=4, **fields), image_shape=shape, channels=(1, 4))


@pytest.mark.parametrize("name", ["masked2d", "masked3d"])
def test_the_registry_finds_it_by_name(name: str) -> None:
    assert registry.create(name, ratio=0.5) in {Masked2d(ratio=0.5), Masked3d(ratio=0.5)}
    assert registry.get(f"ssl-registry-masked:{name}") is registry.get(name)


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("ratio", [0.01, 0.5, 0.99])
def test_so_many_cubes_are_hidden_and_every_voxel_goes_with_its_cube(
    cls: type[Masked], ratio: float
) -> None:
    cube = (5, 4, 2)[: cls.spatial_dims]
    task, images = cls(cube=cube, ratio=ratio), images_for(cls, channels=2)
    views, target, drawn = task.make_batch(images, seeded(1))
    assert isinstance(target, dict)
    cells = drawn["hidden_cubes"]
    number = cells[0].numel()
    assert cells.flatten(1).sum(1).unique().tolist() == [
        min(max(1, round(ratio * number)), number - 1)
    ]
    for index, place in itertools.product(
        range(3), itertools.product(*map(range, images.shape[2:]))
    ):
        cell = tuple(p // width for p, width in zip(place, cube, strict=True))
        hidden = bool(cells[(index, *cell)])
        assert bool(target["hidden"][(index, 0, *place)]) is hidden
        seen, was = (part[(index, ..., *place)] for part in (views[:, 0], images))
        assert torch.equal(seen, torch.zeros(2) if hidden else was)


def test_every_cube_is_as_likely_to_be_hidden() -> None:
    task = Masked2d(cube=4, ratio=0.5)
    cells = task.make_batch(torch.rand(6000, 1, 12, 8), seeded(2)).drawn["hidden_cubes"]
    assert (cells.float().mean(0) - 0.5).abs().max() < 4.5 * (0.25 / 6000) ** 0.5


@pytest.mark.parametrize("cls", BOTH)
def test_the_mean_of_what_is_visible_fills_hidden_cubes(cls: type[Masked]) -> None:
    images = images_for(cls, channels=2)
    views, target, _ = cls(cube=4, fill="mean").make_batch(images, seeded(3))
    assert isinstance(target, dict)
    for image, view, hidden in zip(images, views[:, 0], target["hidden"][:, 0], strict=True):
        for channel in range(2):
            mean = image[channel][~hidden].mean()
            torch.testing.assert_close(view[channel][hidden], mean.expand(int(hidden.sum())))
            assert torch.equal(view[channel][~hidden], image[channel][~hidden])


@pytest.mark.parametrize("normalise", [False, True])
def test_the_loss_is_that_of_a_slow_oracle(normalise: bool) -> None:
    task = Masked2d(cube=(3, 2), normalise=normalise)
    images = torch.rand((2, 2, 7, 4), generator=seeded(4))
    _, target, drawn = task.make_batch(images, seeded(5))
    answers = torch.rand((2, 1, 2, 7, 4), generator=seeded(6))
    errors, wanted = [], []
    for index, channel, row, column in itertools.product(*map(range, images.shape)):
        if not drawn["hidden_cubes"][index, row // 3, column // 2]:
            continue
        cube = images[index, channel][
            row // 3 * 3 : row // 3 * 3 + 3, column // 2 * 2 : column // 2 * 2 + 2
        ]
        value = images[index, channel, row, column]
        if normalise:
            value = (value - cube.mean()) / (cube.var(correction=0) + 1e-6).sqrt()
        wanted.append(value)
        errors.append((answers[index, 0, channel, row, column] - value) ** 2)
    loss = task.loss(answers, target)  # type: ignore[arg-type]
    torch.testing.assert_close(loss, torch.stack(errors).mean())
    explained = task.metrics(answers, target)["explained"]  # type: ignore[arg-type]
    torch.testing.assert_close(
        explained, 1 - torch.stack(errors).mean() / torch.stack(wanted).var(correction=0)
    )


def test_a_cube_of_one_value_is_zero_once_normalised() -> None:
    assert (normalise_cubes(torch.full((1, 1, 8, 8), 7.0), (4, 4)) == 0).all()


class Layers(Encoder):
    """A convolution, a normalisation, a pooling, once more; with biases, which fill holes."""

    in_channels, channels = 1, (3, 4)

    def __init__(self, dims: int, norm: str) -> None:
        super().__init__()
        self.dims, self.strides = dims, ((1,) * dims, (2,) * dims)
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        norms: Any = {
            "batch": {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims],
            "instance": {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[dims],
            "group": lambda channels: nn.GroupNorm(1, channels),
        }
        self.convs = nn.ModuleList([conv(1, 3, 3, padding=1), conv(3, 4, 3, padding=1)])
        self.norms = nn.ModuleList(norms[norm](channels) for channels in self.channels)
        for one in self.norms:
            for weight in one.parameters():
                nn.init.uniform_(weight, 0.5, 1)
        self.pool = {2: nn.MaxPool2d, 3: nn.MaxPool3d}[dims](2)

    def forward(self, x: Tensor) -> list[Tensor]:
        first = self.norms[0](self.convs[0](x)).relu()
        return [first, self.norms[1](self.convs[1](self.pool(first))).relu()]


def normalised(features: Tensor, mask: Tensor, norm: str, layer: Any) -> Tensor:
    """Normalise the visible voxels, gathered one by one; the others are zero."""
    out = torch.zeros_like(features)
    places = [tuple(place) for place in mask[:, 0].nonzero().tolist()]
    channels = range(features.shape[1])
    groups: dict[Any, list[Any]] = {}
    for channel, place in itertools.product(channels, places):
        key = {"batch": channel, "instance": (channel, place[0]), "group": place[0]}[norm]
        groups.setdefault(key, []).append((place[0], channel, *place[1:]))
    for members in groups.values():
        values = torch.stack([features[one] for one in members])
        scale = (values.var(correction=0) + 1e-5).rsqrt()
        for one, value in zip(members, values, strict=True):
            out[one] = (value - values.mean()) * scale
            if layer.weight is not None:
                out[one] = out[one] * layer.weight[one[1]] + layer.bias[one[1]]
    return out


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
def test_sparse_layers_are_dense_ones_on_visible_voxels(dims: int, norm: str) -> None:
    encoder = Layers(dims, norm).train()
    hidden = torch.zeros((2, *[2] * dims), dtype=torch.bool)
    hidden[0].view(-1)[[0, 2]] = hidden[1].view(-1)[[1, 3]] = True
    images = torch.rand((2, 1, *[4] * dims), generator=seeded(7))
    fine = ~F.interpolate(hidden[:, None].float(), scale_factor=2).bool()
    conv = {2: F.conv2d, 3: F.conv3d}[dims]
    one, two = encoder.convs
    first = conv(images * fine, one.weight, one.bias, padding=1) * fine
    first = normalised(first, fine, norm, encoder.norms[0]).relu()
    second = conv(encoder.pool(first), two.weight, two.bias, padding=1) * ~hidden[:, None]
    second = normalised(second, ~hidden[:, None], norm, encoder.norms[1]).relu()
    with VisibleAlone(hidden, 2):
        found = encoder(images * fine)
    torch.testing.assert_close(found, [first, second], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("fields", [{}, {"fill": "token"}, {"sparse": True}], ids=str)
def test_no_feature_knows_what_is_hidden(fields: dict[str, Any]) -> None:
    model = Masked2d(cube=4, **fields).build_model(unit(2), (16, 16))
    images = torch.rand((2, 1, 16, 16), generator=seeded(8))
    batch = model.make_batch(images, seeded(9))
    assert isinstance(batch.target, dict)
    other = images + batch.target["hidden"] * torch.rand((2, 1, 16, 16), generator=seeded(10))
    for one, two in zip(
        model.encode(batch), model.encode(model.make_batch(other, seeded(9))), strict=True
    ):
        assert torch.equal(one, two)


def test_hidden_places_of_a_sparse_pyramid_hold_a_token_and_visible_ones_none() -> None:
    model = Masked2d(cube=4, sparse=True).build_model(unit(2), (16, 16))
    batch = model.make_batch(torch.rand((2, 1, 16, 16), generator=seeded(8)), seeded(9))
    cells = batch.drawn["hidden_cubes"]
    for level, token in zip(model.encode(batch), model.tokens, strict=True):  # type: ignore[arg-type]
        width = level.shape[-1] // 4
        mask = cells.repeat_interleave(width, 1).repeat_interleave(width, 2)
        features = level[:, 0].movedim(1, -1)
        assert torch.equal(features[mask], token.expand_as(features[mask]))
        assert not torch.isclose(features[~mask], token.detach()).all(-1).any()


TRANSFORMERS: list[tuple[type[Masked], str, dict[str, Any], tuple[int, ...], int]] = [
    (Masked3d, "monai-swinunetr3d", {"feature_size": 12, "depths": (1,) * 4}, (64, 32, 32), 2),
    (Masked2d, "timm:swin_tiny_patch4_window7_224", {}, (224, 224), 4),
]


@pytest.mark.parametrize(("cls", "name", "fields", "shape", "patch"), TRANSFORMERS, ids=str)
def test_hidden_patches_of_a_transformer_are_one_learned_token(
    cls: type[Masked], name: str, fields: dict[str, Any], shape: tuple[int, ...], patch: int
) -> None:
    pytest.importorskip(f"ssl_registry_{name[:5].strip('-:')}")
    encoder = registry.backbone(name, **fields).build(1).eval()
    model = cls(cube=8, fill="token").build_model(encoder, shape)
    embedding = patch_embedding(encoder)
    assert embedding is not None
    assert model.token.shape == (projection_of(embedding).out_channels,)
    images = torch.rand((2, 1, *shape), generator=seeded(8))
    batch = model.make_batch(images, seeded(9))
    other = images + batch.target["hidden"] * torch.rand(images.shape, generator=seeded(10))  # type: ignore[index,call-overload]
    made: list[Tensor] = []
    with torch.no_grad():
        pyramid = model.encode(batch)
        assert not embedding._forward_hooks, "what is kept is the network as it was"
        for one, two in zip(pyramid, model.encode(model.make_batch(other, seeded(9))), strict=True):
            assert torch.equal(one, two)
        views, cells = batch.views[:, 0], batch.drawn["hidden_cubes"]
        with tokens_in_place(embedding, model.token, cells, (8,) * len(shape), shape):
            embedding.register_forward_hook(lambda _, given, out: made.append(out))
            encoder(views)
    tokens = made[0] if made[0].shape[-1] == len(model.token) else made[0].movedim(1, -1)
    hidden = cells
    for axis in range(1, len(shape) + 1):
        hidden = hidden.repeat_interleave(8 // patch, axis)
    assert torch.equal(tokens[hidden], model.token.expand_as(tokens[hidden]))
    assert not torch.isclose(tokens[~hidden], model.token.detach()).all(-1).any()


def test_tokens_in_a_row_are_replaced_by_their_place_in_the_grid() -> None:
    class PatchEmbed(nn.Module):
        proj = nn.Conv2d(1, 5, 2, stride=2)

        def forward(self, x: Tensor) -> Tensor:
            return self.proj(x).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]

    embedding, token = PatchEmbed(), torch.full((5,), 7.0)
    hidden = torch.tensor([[[True, False, False], [False, False, True]]])
    with tokens_in_place(embedding, token, hidden, (4, 4), (8, 12)):
        tokens = embedding(torch.rand((1, 1, 8, 12), generator=seeded()))
    here = (tokens == 7).all(-1).view(4, 6)
    assert torch.equal(here, hidden[0].repeat_interleave(2, 0).repeat_interleave(2, 1))


def test_a_cube_that_hides_a_part_of_a_patch_is_refused() -> None:
    pytest.importorskip("ssl_registry_monai")
    swin = registry.backbone("monai-swinunetr3d", feature_size=12, depths=(1,) * 4).build(1)
    with pytest.raises(ConfigError, match=r"no multiple of the patches.*set task.cube=6"):
        Masked3d(cube=5, fill="token").build_model(swin, (64, 32, 32))
    assert Masked3d(cube=5).build_model(swin, (64, 32, 32)) is not None


def explained_after_training(images: Tensor, **fields: Any) -> float:
    model = Masked2d(cube=4, **fields).build_model(unit(2), (16, 16))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    generator, seen = seeded(11), []
    for step in range(80):
        loss, metrics = model(images(generator) if callable(images) else images, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step >= 60:
            seen.append(metrics["explained"])
    return torch.stack(seen).mean().item()


@pytest.mark.parametrize("fields", [{"fill": "token"}, {"sparse": True}], ids=str)
def test_a_network_learns_what_neighbours_tell_and_nothing_where_they_do_not(
    fields: dict[str, Any],
) -> None:
    """New noise in every batch: only a leak would tell its values."""

    def noise(generator: torch.Generator) -> Tensor:
        return torch.rand((8, 1, 16, 16), generator=generator)

    def ramps(generator: torch.Generator) -> Tensor:
        signs = torch.randint(2, (8, 1, 1, 1), generator=generator) * 2 - 1
        return signs * torch.linspace(-1, 1, 16).expand(8, 1, 16, 16)

    assert explained_after_training(noise, **fields) < 0.05
    assert explained_after_training(ramps, **fields) > 0.15


@pytest.mark.parametrize(
    ("fields", "size", "message"),
    [
        ({"cube": 20}, (16, 16), r"cubes of 20 x 20 voxels are larger than images of 16 x 16"),
        ({"cube": (4, 20)}, (16, 16), "one number for each axis"),
        ({"cube": 16}, (16, 16), "is one cube"),
        ({"cube": (4, 4, 4)}, (16, 16), r"cube=\[4, 4, 4\]: images in 2D have 2 axes"),
        ({"cube": (4, 3), "sparse": True}, (16, 12), r"set task.cube=\[4, 4\]|task.cube=4"),
        ({"cube": 4, "sparse": True}, (16, 18), "no multiple of the cubes' .*change `size`"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_before_the_first_step(
    fields: dict[str, Any], size: tuple[int, ...], message: str
) -> None:
    with pytest.raises((ConfigError, ImageShapeError), match=message):
        Masked2d(**fields).build_model(unit(2), size)


def test_sparse_masking_of_a_transformer_is_refused_with_what_to_do() -> None:
    pytest.importorskip("ssl_registry_timm")
    swin = registry.backbone("timm:swin_tiny_patch4_window7_224").build(1)
    task = Masked2d(cube=32, sparse=True)
    with pytest.raises(ConfigError, match=r"WindowAttention layers.*task.sparse=false"):
        task.build_model(swin, (224, 224))


@pytest.mark.parametrize("fields", [{"ratio": 0}, {"ratio": 1}, {"cube": 0}, {"fill": "grey"}])
def test_fields_that_cannot_be_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(fields))):
        registry.create("masked3d", **fields)


@pytest.mark.parametrize("fields", [{}, {"sparse": True}], ids=["dense", "sparse"])
def test_several_levels_and_the_decoder_that_is_kept(fields: Any) -> None:
    model = Masked3d(cube=4, levels=(1, 2), **fields).build_model(unit(3), (8, 8, 4))
    images = torch.rand((2, 1, 8, 8, 4), generator=seeded())
    loss, metrics = model(images, seeded())
    assert torch.allclose(loss, (metrics["loss_level1"] + metrics["loss_level2"]) / 2)
    loss.backward()
    assert all(one.grad is not None for one in model.parameters())
    assert isinstance(model.parts()["decoder"], UNetDecoder)


def test_the_question_counts_cubes() -> None:
    task = Masked3d(cube=4)
    batch = task.make_batch(images_for(Masked3d), seeded())
    assert task.question(batch, 0) == (
        "What was in the hidden cubes? Here: 4 of 6 are.",
        ["masked image"],
    )
