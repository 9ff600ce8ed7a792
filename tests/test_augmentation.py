"""Augmentation: a known place is followed, labels stay what they are, and chance is lent."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import ndimage
from torch import Tensor

from ssl_registry import derive_generator
from ssl_registry.augmentation import PRESETS, Augmentation, Drawn
from ssl_registry.errors import ConfigError, ImageShapeError, ImageTypeError

SHAPES = [(24, 20), (18, 20, 16)]
KINDS: dict[str, dict[str, Any]] = {
    "rotation": {"rotation_probability": 1, "rotation_degrees": 40, "plane_rotation_degrees": 90},
    "scaling": {"scaling_probability": 1, "scaling_range": (0.7, 1.4)},
    "elastic": {"elastic_probability": 1, "elastic": 0.4, "elastic_spans": 2},
    "flips": {"flips": "all", "flip_probability": 0.6},
    "noise": {"noise_probability": 1},
    "blur": {"blur_probability": 1},
    "low resolution": {"low_resolution_probability": 1, "low_resolution_range": (0.6, 0.9)},
    "brightness": {"brightness_probability": 1},
    "contrast": {"contrast_probability": 1},
    "gamma": {"gamma_probability": 1},
    "inverted gamma": {"inverted_gamma_probability": 1},
}
MOVING = ("rotation", "scaling", "elastic", "flips")
EVERYTHING = {name: value for fields in KINDS.values() for name, value in fields.items()}


def only(**fields: Any) -> Augmentation:
    return Augmentation.model_validate({"preset": "none", **fields})


def chance(*words: str | int) -> torch.Generator:
    return derive_generator(0, "test", *words)


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=chance("images"))


def blobs(shape: tuple[int, ...], centres: Tensor, width: float = 2.0) -> Tensor:
    """Return images `[B, 1, *S]` of one soft round spot each, which peaks at its centre."""
    axes = torch.meshgrid(*(torch.arange(float(side)) for side in shape), indexing="ij")
    places = torch.stack(axes, dim=-1)
    apart = (places - centres.view(-1, *[1] * len(shape), len(shape))).square().sum(-1)
    return torch.exp(-apart / (2 * width**2))[:, None]


def centre_of(mass: Tensor) -> Tensor:
    """Return the centre of mass in voxels of each `[B, *S]`, as `[B, dims]`."""
    mass = mass.double()
    total = mass.flatten(1).sum(1)
    axes = []
    for axis in range(1, mass.ndim):
        others = [other for other in range(1, mass.ndim) if other != axis]
        along = mass.sum(others) if others else mass
        axes.append((along * torch.arange(mass.shape[axis])).sum(1) / total)
    return torch.stack(axes, dim=1)


def shown_at(drawn: Drawn, places: Tensor) -> Tensor:
    """Return, by looking at every voxel, where what lay at `places` `[B, dims]` is shown."""
    positions = drawn.positions()
    apart = (positions - places.view(len(places), *[1] * len(drawn.shape), -1)).norm(dim=-1)
    rows = apart.flatten(1).argmin(1).tolist()
    found = [np.unravel_index(row, drawn.shape) for row in rows]
    return torch.tensor(np.array(found), dtype=torch.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_landmark_is_followed_through_every_change(kind: str, shape: tuple[int, ...]) -> None:
    augment, batch = only(**KINDS[kind]), 8
    off = torch.linspace(0.32, 0.68, batch)[:, None]
    centres = (torch.tensor(shape) * torch.cat([off, off.flip(0), off], 1)[:, : len(shape)]).round()
    images = blobs(shape, centres)
    labels = (images[:, 0] > 0.6).long() * 3
    drawn = augment.draw(batch, shape, chance(kind))
    moved, marks = augment.apply(images, drawn, labels)
    assert marks is not None
    there = shown_at(drawn, centres)
    assert set(marks.unique().tolist()) == {0, 3}
    lit = (moved[:, 0] > 0.6 * moved[:, 0].amax((*range(1, len(shape) + 1),), keepdim=True)).long()
    assert (centre_of(marks) - there).abs().max() < 1.0
    assert (centre_of(lit) - there).abs().max() < 1.0
    if kind in MOVING:
        assert (there - centres).abs().max() >= 1
        assert not moved.equal(images)
    else:
        assert marks.equal(labels)
        assert not moved.equal(images)


def test_a_turn_turns_from_the_first_axis_of_a_plane_towards_its_second() -> None:
    images = noise(1, 1, 9, 9)
    drawn = only(rotation_probability=1).draw(1, (9, 9), chance("turn"))
    middle = torch.tensor([4.0, 4.0])
    angles = [np.deg2rad(value) for value in (30, -75)]
    for angle in angles:
        turn = torch.tensor([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        places = (drawn_identity(drawn) - middle) @ turn.float().mT + middle
        moved, _ = only().apply(images, with_map(drawn, places))
        truth = ndimage.affine_transform(
            images[0, 0].numpy(), turn.numpy(), offset=(middle - turn.float() @ middle).numpy(),
            order=1, mode="grid-constant",
        )  # fmt: skip
        assert np.abs(moved[0, 0].numpy() - truth).max() < 1e-4


def drawn_identity(drawn: Drawn) -> Tensor:
    return only().draw(1, drawn.shape, chance("identity")).control


def with_map(drawn: Drawn, control: Tensor) -> Drawn:
    return Drawn(**{**vars(drawn), "control": control, "warped": torch.tensor([True])})


@pytest.mark.parametrize("shape", SHAPES)
def test_the_map_moves_images_and_labels_as_an_interpolator_of_another_library_does(
    shape: tuple[int, ...],
) -> None:
    augment = only(**{k: v for kind in MOVING for k, v in KINDS[kind].items()})
    images, batch = noise(3, 2, *shape), 3
    labels = (images[:, 0] * 5).to(torch.uint8)
    drawn = augment.draw(batch, shape, chance("map"), channels=2)
    moved, marks = augment.apply(images, drawn, labels)
    assert marks is not None
    assert marks.dtype == torch.uint8
    positions = drawn.positions()
    for row, channel in itertools.product(range(batch), range(2)):
        places = positions[row].movedim(-1, 0).numpy()
        truth = ndimage.map_coordinates(
            images[row, channel].numpy(), places, order=1, mode="grid-constant"
        )
        assert np.abs(moved[row, channel].numpy() - truth).max() < 1e-3
        nearest = ndimage.map_coordinates(
            labels[row].numpy(), np.rint(places), order=0, mode="grid-constant"
        )
        assert (marks[row].numpy() != nearest).mean() < 0.005  # halfway between two voxels


@pytest.mark.parametrize("shape", SHAPES)
def test_the_largest_deformation_never_folds(shape: tuple[int, ...]) -> None:
    drawn = only(elastic_probability=1, elastic=0.4).draw(16, shape, chance("fold"))
    positions = drawn.positions()
    for axis in range(len(shape)):
        assert positions[..., axis].diff(dim=axis + 1).min() > 0
    still = only().draw(1, shape, chance("still")).positions()
    assert (positions - still).norm(dim=-1).max() > 0.5


def test_nothing_turns_or_bends_through_thick_slices() -> None:
    fields = {**KINDS["rotation"], **KINDS["scaling"], **KINDS["elastic"]}
    moving = only(**fields, **KINDS["low resolution"], **KINDS["blur"])
    by_spacing = moving.draw(6, (16, 16, 16), chance("thick"), spacing=(1.2, 1.2, 8.0))
    by_shape = moving.draw(6, (32, 30, 8), chance("thick"))
    named = only(**fields, **KINDS["low resolution"], thick_axis=0).draw(
        6, (16, 16, 16), chance("thick")
    )
    for drawn, axis in ((by_spacing, 2), (by_shape, 2), (named, 0)):
        positions = drawn.positions()
        slices = torch.arange(float(drawn.shape[axis]))
        shown = positions[..., axis].movedim(axis + 1, -1)
        assert (shown - slices).abs().max() < 1e-4
        assert (drawn.resolution[..., axis] == 1).all()
        assert (drawn.resolution < 1).any()
        others = positions[..., (axis + 1) % 3]
        assert others.std() > 0
        assert not torch.allclose(others[0], others[1])
    assert by_spacing.blur[..., 2].max() < by_spacing.blur[..., 0].min()
    free = only(**fields, thick_axis=None).draw(6, (32, 30, 8), chance("thick"))
    slices = torch.arange(8.0)
    assert (free.positions()[..., 2] - slices).abs().max() > 1


def test_turns_are_turns_in_millimetres() -> None:
    spacing = torch.tensor([1.0, 2.0, 1.5])
    turned = only(rotation_probability=1, rotation_degrees=60)
    drawn = turned.draw(5, (20, 12, 16), chance("mm"), spacing=spacing.tolist())
    millimetres = drawn.positions() * spacing
    for axis in range(3):
        step = millimetres.diff(dim=axis + 1).norm(dim=-1)
        assert torch.allclose(step, spacing[axis].expand_as(step), atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("preset", ["none", "nothing drawn"])
def test_probability_0_is_the_identity_bit_for_bit(dtype: torch.dtype, preset: str) -> None:
    augment = PRESETS["none"]
    if preset != "none":  # a flip that may be and never is
        augment = only(flips="all", flip_probability=0)
    assert augment.is_none
    images = noise(3, 2, 9, 8, 10).to(dtype)
    labels = torch.randint(5, (3, 9, 8, 10), generator=chance("labels"))
    moved, marks = augment(images, labels, generator=chance("identity"))
    assert marks is not None
    assert moved.equal(images)
    assert moved.dtype == dtype
    assert marks.equal(labels)
    assert moved.data_ptr() != images.data_ptr()


def test_images_for_which_nothing_was_drawn_keep_their_bits() -> None:
    augment = only(rotation_probability=0.5, gamma_probability=0.5)
    images = noise(24, 1, 10, 12)
    drawn = augment.draw(24, (10, 12), chance("half"))
    moved, _ = augment.apply(images, drawn)
    same = [moved[row].equal(images[row]) for row in range(24)]
    still = ~drawn.warped & (drawn.gamma[:, 0] == 1)
    assert same == still.tolist()
    assert 0 < sum(same) < 24


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(12, 14), (8, 10, 9)])
def test_every_change_together_in_any_precision_and_number_of_channels(
    shape: tuple[int, ...], channels: int, dtype: torch.dtype
) -> None:
    augment = only(**EVERYTHING)
    images, labels = noise(2, channels, *shape), torch.randint(4, (2, *shape))
    moved, marks = augment(images.to(dtype), labels, generator=chance("all"))
    assert marks is not None
    assert moved.dtype == dtype
    assert moved.shape == images.shape
    assert moved.isfinite().all()
    assert set(marks.unique().tolist()) <= {0, 1, 2, 3}
    with torch.autocast("cpu", torch.bfloat16):
        again, same = augment(images.to(dtype), labels, generator=chance("all"))
    assert again.equal(moved)  # whatever the precision of the run
    assert same is not None
    assert same.equal(marks)


def test_equal_seeds_give_equal_bits_and_others_do_not() -> None:
    augment, images = PRESETS["nnunet"], noise(6, 1, 12, 12)
    first, again, other = (
        augment(images, generator=chance(word))[0] for word in ("one", "one", "other")
    )
    assert first.equal(again)
    assert not first.equal(other)


def test_chance_comes_from_the_generator_alone() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    images = noise(2, 1, 10, 10, 10)
    copy = images.clone()
    only(**EVERYTHING)(images, generator=chance("global"))
    assert torch.random.get_rng_state().equal(before)
    assert images.equal(copy)  # and the images are not touched


def test_a_change_of_one_field_leaves_what_the_others_decide() -> None:
    fields = {**KINDS["rotation"], **KINDS["gamma"], **KINDS["noise"]}
    one = only(**fields).draw(4, (10, 10), chance("fields"))
    two = only(**fields, **KINDS["contrast"], blur_probability=0.5).draw(
        4, (10, 10), chance("fields")
    )
    assert one.control.equal(two.control)
    assert one.gamma.equal(two.gamma)
    assert one.noise.equal(two.noise)
    assert not one.contrast.equal(two.contrast)


def test_channels_change_apart_or_together() -> None:
    images = noise(1, 1, 10, 10).expand(5, 3, -1, -1)
    apart, _ = only(**KINDS["contrast"])(images, generator=chance("channels"))
    together, _ = only(**KINDS["contrast"], channel_wise=False)(
        images, generator=chance("channels")
    )
    assert not apart[:, 0].equal(apart[:, 1])
    assert together[:, 0].equal(together[:, 1])
    assert together[:, 0].equal(together[:, 2])


def test_intensities_change_as_the_fields_say() -> None:
    images = noise(4, 1, 16, 16, 16)
    mean, deviation = images.mean(), images.std()
    bright, _ = only(brightness_probability=1, brightness_range=(0.5, 0.5))(
        images, generator=chance("light")
    )
    assert torch.allclose(bright, images / 2)
    contrast, _ = only(contrast_probability=1, contrast_range=(0.5, 0.5))(
        images, generator=chance("light")
    )
    own = images.mean((1, 2, 3, 4), keepdim=True)
    assert torch.allclose(contrast, own + (images - own) / 2, atol=1e-6)
    stronger, _ = only(contrast_probability=1, contrast_range=(3, 3))(
        images, generator=chance("light")
    )
    assert stronger.max() <= images.max()
    assert stronger.min() >= images.min()
    curve, _ = only(gamma_probability=1, gamma_range=(2, 2))(images, generator=chance("light"))
    assert torch.allclose(curve.std(), deviation, atol=1e-2)
    assert torch.allclose(curve.mean(), mean, atol=1e-3)
    order = images.flatten().argsort()
    assert (curve[0].flatten()[images[0].flatten().argsort()].diff() >= -1e-6).all()
    assert len(order) == images.numel()
    noisy, _ = only(noise_probability=1, noise=0.1)(images, generator=chance("light"))
    added = (noisy - images).flatten(1).std(1)
    assert (added > 0).all()
    assert added.max() < 0.11 * deviation
    assert len(set(added.tolist())) == 4
    blurred, _ = only(blur_probability=1, blur_range=(0.8, 0.8))(images, generator=chance("light"))
    truth = ndimage.gaussian_filter(images[0, 0].numpy(), 0.8, truncate=6)
    inner = slice(5, -5)
    assert np.abs(blurred[0, 0].numpy() - truth)[inner, inner, inner].max() < 1e-4


def test_half_the_resolution_keeps_every_second_voxel() -> None:
    line = torch.arange(8.0).view(1, 1, 8, 1).expand(1, 1, 8, 8).contiguous()
    coarse, _ = only(low_resolution_probability=1, low_resolution_range=(0.5, 0.5))(
        line, generator=chance("coarse")
    )
    kept = torch.nn.functional.interpolate(line, (4, 4), mode="nearest-exact")
    truth = torch.nn.functional.interpolate(kept, (8, 8), mode="bilinear")
    assert torch.allclose(coarse, truth, atol=1e-6)


def test_a_constant_image_stays_finite() -> None:
    for value in (0.0, 0.7):
        images = torch.full((4, 1, 8, 8, 8), value)
        changed, _ = only(**EVERYTHING)(images, generator=chance("constant"))
        assert changed.isfinite().all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1, 1), (3, 2, 1)])
def test_images_of_a_few_voxels_are_changed_too(shape: tuple[int, ...]) -> None:
    changed, _ = only(**EVERYTHING)(noise(2, 1, *shape), generator=chance("few"))
    assert changed.isfinite().all()


def test_labels_keep_their_numbers_whatever_they_are() -> None:
    images = noise(4, 1, 12, 12)
    for dtype, most in ((torch.uint8, 255), (torch.int16, 999), (torch.int64, 2**24 - 1)):
        labels = torch.randint(1, most, (4, 12, 12), generator=chance("labels")).to(dtype)
        _, marks = only(**KINDS["rotation"])(images, labels, generator=chance("labels"))
        assert marks is not None
        assert marks.dtype == dtype
        assert set(marks.flatten().tolist()) <= {0, *labels.flatten().tolist()}
    with pytest.raises(ImageTypeError, match="16777217 cannot be moved"):
        only(**KINDS["rotation"])(
            images, torch.full((4, 12, 12), 2**24 + 1), generator=chance("labels")
        )


def test_voxels_that_belong_together_are_found_by_two_maps() -> None:
    """What a dense contrastive task asks: where in one copy is what the other shows here."""
    shape = (20, 20, 20)
    augment = only(**KINDS["rotation"], **KINDS["elastic"])
    images = blobs(shape, torch.tensor([[9.0, 12.0, 8.0]]), width=3).expand(2, -1, -1, -1, -1)
    drawn = augment.draw(2, shape, chance("pairs"))
    copies, _ = augment.apply(images, drawn)
    one, two = drawn.positions()
    voxel = copies[0, 0].flatten().argmax()
    place = one.view(-1, 3)[voxel]
    apart = (two.view(-1, 3) - place).norm(dim=-1)
    assert copies[1, 0].flatten()[apart.argmin()] > 0.9 * copies[1].max()


@pytest.mark.parametrize(
    ("said", "preset", "differs"),
    [
        ("none", "none", {}),
        (None, "none", {}),
        ("light", "light", {}),
        ({}, "light", {}),
        ("nnunet", "nnunet", {}),
        ({"preset": "nnunet", "elastic_probability": 0.5}, "nnunet", {"elastic_probability": 0.5}),
        ({"noise": 0.3}, "light", {"noise": 0.3}),
    ],
)
def test_presets_and_fields(said: Any, preset: str, differs: dict[str, float]) -> None:
    made = Augmentation.model_validate(said)
    assert made == PRESETS[preset].model_copy(update=differs)
    assert Augmentation.model_validate(made.model_dump(mode="json")) == made
    wanted = preset + "".join(f" with {key} {value}" for key, value in differs.items())
    assert made.spell() == wanted


def test_nnunet_has_the_numbers_of_nnunet() -> None:
    """Of `nnUNetTrainer.get_training_transforms` in nnunetv2 2.8.1."""
    preset = PRESETS["nnunet"]
    assert (preset.rotation_probability, preset.scaling_probability) == (0.2, 0.2)
    assert (preset.rotation_degrees, preset.plane_rotation_degrees) == (30, 180)
    assert preset.scaling_range == (0.7, 1.4)
    assert preset.elastic_probability == 0
    assert (preset.noise_probability, preset.noise) == (0.1, 0.1)
    assert (preset.blur_probability, preset.blur_range) == (0.2, (0.5, 1.0))
    assert (preset.brightness_probability, preset.brightness_range) == (0.15, (0.75, 1.25))
    assert (preset.contrast_probability, preset.contrast_range) == (0.15, (0.75, 1.25))
    assert (preset.low_resolution_probability, preset.low_resolution_range) == (0.25, (0.5, 1.0))
    assert (preset.gamma_probability, preset.inverted_gamma_probability) == (0.3, 0.1)
    assert preset.gamma_range == (0.7, 1.5)
    assert preset.flipped_axes(3) == (0, 1, 2)


def test_a_volume_is_not_flipped_unless_somebody_says_so() -> None:
    drawn = Augmentation().draw(50, (8, 8, 8), chance("flips"))
    assert not drawn.flips.any()
    said = Augmentation(flips=(1,)).draw(50, (8, 8, 8), chance("flips"))
    assert said.flips.any(0).tolist() == [False, True, False]
    assert "left and right are anatomy" in str(Augmentation.model_fields["flips"].description)


def test_how_often_and_how_far_is_what_the_fields_say() -> None:
    drawn = PRESETS["nnunet"].draw(4000, (8, 8, 8), chance("often"))
    assert abs(float(drawn.warped.float().mean()) - 0.36) < 0.03
    assert abs(float((drawn.gamma != 1).float().mean()) - 0.3) < 0.03
    assert abs(float((drawn.blur != 0).float().mean()) - 0.1) < 0.02
    assert abs(float((drawn.resolution != 1).float().mean()) - 0.125) < 0.02
    assert abs(float(drawn.flips.float().mean()) - 0.5) < 0.03
    gamma = drawn.gamma[drawn.gamma != 1]
    assert 0.7 <= gamma.min() < 0.75
    assert 1.4 < gamma.max() <= 1.5
    assert abs(float((gamma < 1).float().mean()) - 0.5) < 0.06


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"preset": "nnunt"}, "no preset 'nnunt'; did you mean nnunet"),
        ({"preset": "xyzzy"}, "there are light, none, nnunet"),
        ({"gamma_range": (1.5, 0.7)}, r"augment.gamma_range=\[1.5, 0.7\]"),
        ({"low_resolution_range": (0.5, 2.0)}, "up to 1"),
        ({"rotation_probability": 1.5}, "less than or equal to 1"),
        ({"elastic": 0.6}, "less than or equal to 0.4"),
        ({"rotaton_degrees": 1}, "no field 'rotaton_degrees'; did you mean rotation_degrees"),
    ],
)
def test_fields_that_cannot_be_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, ValidationError), match=message):
        Augmentation.model_validate(fields)


@pytest.mark.parametrize(
    ("shape", "labels", "error", "message"),
    [
        ((2, 1, 8, 8, 9), None, ImageShapeError, "draw for their number"),
        ((3, 1, 8, 8, 8), None, ImageShapeError, "draw for their number"),
        ((2, 2, 8, 8, 8), None, ImageShapeError, "draw for their number"),
        ((2, 1, 8, 8, 8), (2, 1, 8, 8, 8), ImageShapeError, "one label for each voxel"),
    ],
)
def test_what_does_not_fit_is_refused(
    shape: tuple[int, ...], labels: tuple[int, ...] | None, error: type, message: str
) -> None:
    augment = Augmentation()
    drawn = augment.draw(2, (8, 8, 8), chance("refused"))
    with pytest.raises(error, match=message):
        augment.apply(noise(*shape), drawn, None if labels is None else torch.zeros(labels))


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(ImageTypeError, match=r"images.float\(\)"):
        Augmentation()(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), generator=chance("int"))
    with pytest.raises(ImageShapeError, match="two or three axes"):
        Augmentation()(torch.zeros(2, 1, 8), generator=chance("line"))
    with pytest.raises(ImageShapeError, match="spacing"):
        Augmentation().draw(1, (8, 8, 8), chance("spacing"), spacing=(1.0, 1.0))
    with pytest.raises(ConfigError, match="have the axes 0, 1"):
        Augmentation(flips=(2,)).draw(1, (8, 8), chance("axes"))
    with pytest.raises(ConfigError, match="a picture has no slices"):
        Augmentation(thick_axis=2).draw(1, (8, 8), chance("axes"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_generator_on_the_cpu_serves_images_on_a_gpu() -> None:
    for shape in SHAPES:
        images, labels = noise(4, 2, *shape), torch.randint(3, (4, *shape))
        fields = {name: value for name, value in EVERYTHING.items() if "noise" not in name}
        here = only(**fields)(images, labels, generator=chance("gpu"))
        there = only(**fields)(images.cuda(), labels.cuda(), generator=chance("gpu"))
        assert here[1] is not None
        assert there[1] is not None
        assert there[0].is_cuda
        assert torch.allclose(there[0].cpu(), here[0], atol=2e-3)
        assert (there[1].cpu() != here[1]).float().mean() < 0.005
        noisy, _ = only(**EVERYTHING)(images.cuda(), labels.cuda(), generator=chance("gpu"))
        again, _ = only(**EVERYTHING)(images.cuda(), labels.cuda(), generator=chance("gpu"))
        assert noisy.equal(again)
        assert noisy.isfinite().all()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_place_is_found_where_the_map_shows_it_and_not_beyond(shape: tuple[int, ...]) -> None:
    augment = only(**{k: v for kind in MOVING for k, v in KINDS[kind].items()})
    drawn = augment.draw(4, shape, chance("find"))
    positions = drawn.positions()
    voxels = torch.stack([torch.randint(side, (4, 50), generator=chance("v")) for side in shape], 2)
    rows = torch.arange(4)[:, None]
    shown = positions[(rows, *voxels.unbind(2))]
    places, found = drawn.find(shown)
    assert found.float().mean() > 0.95
    assert (places - voxels).abs().amax(2)[found].max() < 0.05
    beyond = positions.flatten(1, -2).amax(1, keepdim=True) + 1
    assert not drawn.find(beyond)[1].any()


def test_a_window_shows_a_part_of_the_image_as_large_as_the_image() -> None:
    shape = (12, 16)
    images = torch.stack(torch.meshgrid(*map(torch.arange, shape), indexing="ij")).float()[None]
    corners, sides = torch.tensor([[0.25, 0.5]]), torch.tensor([[0.5, 0.25]])
    drawn = PRESETS["none"].draw(1, shape, chance("none"), channels=2).within(corners, sides)
    shown, _ = PRESETS["none"].apply(images, drawn)
    assert torch.allclose(shown[0].movedim(0, -1), drawn.positions()[0], atol=1e-4)
    first, last = (drawn.positions()[0].flatten(0, 1)[end] for end in (0, -1))
    assert torch.allclose(first, torch.tensor([2.75, 7.625]), atol=1e-4)  # 3 voxels begin at 2.5
    assert torch.allclose(last, torch.tensor([8.25, 11.375]), atol=1e-4)
    whole = (
        PRESETS["none"].draw(1, shape, chance("none"), channels=2).within(0 * sides, 0 * sides + 1)
    )
    assert torch.equal(PRESETS["none"].apply(images, whole)[0], images)
