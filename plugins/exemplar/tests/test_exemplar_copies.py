"""What the augmented copies look like, and that each field does what it says."""

from itertools import product
from typing import Any

import kornia.geometry.transform as kornia
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ssl_registry_exemplar import augmentation
from ssl_registry_exemplar.exemplar import Exemplar2d, Exemplar3d
from ssl_registry_exemplar.recipe import Ranges, draw_recipe, planes, quarter_turns
from torch import Tensor

from ssl_registry import PretextTask

Exemplar = Exemplar2d | Exemplar3d
BOTH = [Exemplar2d, Exemplar3d]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
NOTHING: dict[str, Any] = {
    "flip_probability": 0,
    "rotation_probability": 0,
    "intensity_probability": 0,
    "zoom_probability": 0,
}
ALWAYS: dict[str, Any] = dict.fromkeys(NOTHING, 1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_for(task: PretextTask, batch: int = 4, channels: int = 1, side: int = 12) -> Tensor:
    return torch.rand((batch, channels, *[side] * task.spatial_dims), generator=seeded(99))


def ball(dims: int, side: int, place: tuple[float, ...]) -> Tensor:
    """An image `[1, *S]` of a soft ball, so that turning and zooming it can be foreseen."""
    axes = torch.meshgrid(*[torch.arange(side, dtype=torch.float32)] * dims, indexing="ij")
    apart = sum((axis - at) ** 2 for axis, at in zip(axes, place, strict=True))
    return torch.exp(-torch.as_tensor(apart) / 8)[None]


def centre(image: Tensor) -> list[float]:
    """The centre of mass of an image `[1, *S]`, in voxels from the middle."""
    axes = torch.meshgrid(
        *[torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in image.shape[1:]],
        indexing="ij",
    )
    return [float((axis * image[0]).sum() / image.sum()) for axis in axes]


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rotation", ["quarter", "any"])
def test_probability_0_is_the_identity(
    cls: type[Exemplar], dtype: torch.dtype, rotation: str
) -> None:
    task = cls(**NOTHING, rotation=rotation)
    images = (3 * images_for(task, channels=2) - 1).to(dtype)
    views = task.make_batch(images, seeded()).views
    assert torch.equal(views[:, 0], images)
    assert torch.equal(views[:, 1], images)


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize(
    "fields", [{"brightness": 0, "contrast": 0, "zoom": 0}, {"rotation": "any"}], ids=str
)
def test_a_range_of_0_is_the_identity(cls: type[Exemplar], fields: dict[str, Any]) -> None:
    chances = {"intensity_probability": 1, "zoom_probability": 1}
    if "rotation" in fields:
        chances = {"rotation_probability": 1, "rotation_degrees": 1e-9}
    task = cls(**NOTHING | chances | fields)
    images = images_for(task)
    copies = task.make_batch(images, seeded()).views[:, 1]
    torch.testing.assert_close(copies, images, atol=1e-5, rtol=1e-4)


@settings(max_examples=60)
@given(st.sampled_from(BOTH), st.sampled_from(["quarter", "any"]), st.data())
def test_shape_type_and_the_original_are_kept(
    cls: type[Exemplar], rotation: str, data: st.DataObject
) -> None:
    task = cls(**ALWAYS, rotation=rotation)
    sides = [data.draw(st.integers(1, 13)) for _ in range(task.spatial_dims)]
    batch, channels = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 3))
    dtype, seed = data.draw(st.sampled_from(DTYPES)), data.draw(st.integers(0, 2**31))
    images = torch.rand((batch, channels, *sides), generator=seeded(seed)).to(dtype)
    views, target, drawn = task.make_batch(images, seeded(seed))
    assert views.shape == (batch, 2, channels, *sides)
    assert views.dtype == dtype
    assert torch.equal(views[:, 0], images)
    assert views.isfinite().all()
    assert views.min() >= 0
    assert views.max() <= 1
    for name in ("identity", "lot"):
        assert target[name].dtype == torch.int64
        assert torch.equal(target[name], drawn[name])
    assert all(len(value) == batch for value in drawn.values())


@pytest.mark.parametrize("cls", BOTH)
def test_a_flip_flips_the_axes_that_are_drawn(cls: type[Exemplar]) -> None:
    task = cls(**NOTHING | {"flip_probability": 0.5})
    images = images_for(task, 100, side=3)
    views, _, drawn = task.make_batch(images, seeded())
    seen = set()
    for (image, copy), flips in zip(views, drawn["flips"].tolist(), strict=True):
        axes = [axis + 1 for axis, flip in enumerate(flips) if flip]
        assert torch.equal(copy, image.flip(axes))
        seen.add(tuple(flips))
    assert seen == set(product([False, True], repeat=task.spatial_dims))
    certain = cls(**NOTHING | {"flip_probability": 1}).make_batch(images, seeded()).views
    assert torch.equal(certain[:, 1], images.flip(list(range(2, images.ndim))))


@pytest.mark.parametrize("cls", BOTH)
def test_a_quarter_turn_is_torchs_own(cls: type[Exemplar]) -> None:
    task = cls(**NOTHING | {"rotation_probability": 1})
    views, _, drawn = task.make_batch(images_for(task, 60, side=3), seeded())
    seen = set()
    for (image, copy), row, degrees in zip(views, drawn["plane"], drawn["degrees"], strict=True):
        a, b = planes(task.spatial_dims)[int(row)]
        assert torch.equal(copy, torch.rot90(image, int(degrees) // 90, (a + 1, b + 1)))
        seen.add((a, b, int(degrees)))
    assert len(seen) == (3 if task.spatial_dims == 2 else 9)


@settings(max_examples=40)
@given(st.integers(2, 3), st.integers(0, 3), st.data())
def test_flips_come_before_turns_in_every_combination(
    dims: int, quarters: int, data: st.DataObject
) -> None:
    flips = [data.draw(st.booleans()) for _ in range(dims)]
    a, b = data.draw(st.sampled_from(planes(dims)))
    image = torch.rand((2, *[50] * dims), generator=seeded())
    axes = [axis + 1 for axis, flip in enumerate(flips) if flip]
    wanted = torch.rot90(image.flip(axes), quarters, (a + 1, b + 1))
    copy = torch.empty_like(image)
    augmentation.move(image, flips, (a, b), quarters, copy)
    assert torch.equal(copy, wanted)


def test_turns_keep_shapes_with_unequal_sides() -> None:
    assert quarter_turns((8, 6), 180) == [(0, 180)]
    assert quarter_turns((8, 6), 90) == []
    assert quarter_turns((8, 8), 90) == [(0, 90), (0, 270)]
    assert quarter_turns((8, 6, 8), 180) == [(0, 180), (1, 90), (1, 180), (1, 270), (2, 180)]


@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 7), (8, 8, 6)], ids=str)
@pytest.mark.parametrize("degrees", [90, 180])
def test_a_turn_that_the_shape_forbids_is_never_drawn(
    shape: tuple[int, ...], degrees: float
) -> None:
    cls = Exemplar2d if len(shape) == 2 else Exemplar3d
    task = cls(**NOTHING | {"rotation_probability": 1, "rotation_degrees": degrees})
    images = torch.rand((40, 1, *shape), generator=seeded())
    views, _, drawn = task.make_batch(images, seeded())
    possible = set(quarter_turns(shape, degrees)) or {(0, 0)}
    turns = zip(drawn["plane"].tolist(), drawn["degrees"].tolist(), strict=True)
    assert set(turns) == possible
    if possible == {(0, 0)}:
        assert torch.equal(views[:, 1], images)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("degrees", [90.0, 180.0, 270.0, -90.0])
def test_an_interpolated_turn_by_quarters_is_the_exact_one(dims: int, degrees: float) -> None:
    image = torch.rand((2, *[9] * dims), generator=seeded())
    for a, b in planes(dims):
        matrix = turn_matrix(tuple(image.shape[1:]), (a, b), degrees)
        turned = augmentation.warp(image[None], matrix[None])[0]
        wanted = torch.rot90(image, int(degrees) // 90, (a + 1, b + 1))
        torch.testing.assert_close(turned, wanted, atol=1e-5, rtol=1e-4)


def turn_matrix(shape: tuple[int, ...], plane: tuple[int, int], degrees: float) -> Tensor:
    """What `warp` takes, made by rotating unit vectors with complex numbers."""
    a, b = plane
    unit = torch.polar(torch.ones(()), torch.deg2rad(torch.tensor(degrees)))
    turn = torch.eye(len(shape))
    turn[a, a], turn[b, a] = unit.real, unit.imag
    turn[a, b], turn[b, b] = -unit.imag, unit.real
    middle = (torch.tensor(shape, dtype=torch.float32) - 1) / 2
    return torch.cat([turn.flip(0, 1), (middle - turn @ middle).flip(0)[:, None]], dim=1)


@pytest.mark.parametrize("cls", BOTH)
def test_a_turn_by_any_angle_turns_by_the_angle_drawn(cls: type[Exemplar]) -> None:
    fields = {"rotation_probability": 1, "rotation": "any", "rotation_degrees": 60}
    task = cls(**NOTHING | fields)
    dims = task.spatial_dims
    images = ball(dims, 25, (16.0, 14.0, 9.0)[:dims]).expand(6, 1, *[25] * dims)
    views, _, drawn = task.make_batch(images, seeded())
    assert drawn["degrees"].abs().max() <= 60
    assert len(set(drawn["degrees"].tolist())) == 6
    for (image, copy), row, degrees in zip(views, drawn["plane"], drawn["degrees"], strict=True):
        a, b = planes(dims)[int(row)]
        wanted = centre(image)
        unit = complex(wanted[a], wanted[b]) * complex(
            torch.polar(torch.ones(()), torch.deg2rad(degrees)).item()
        )
        wanted[a], wanted[b] = unit.real, unit.imag
        assert centre(copy) == pytest.approx(wanted, abs=0.05)


@pytest.mark.parametrize("cls", BOTH)
def test_a_zoom_moves_everything_away_from_the_centre(cls: type[Exemplar]) -> None:
    task = cls(**NOTHING | {"zoom_probability": 1})
    dims = task.spatial_dims
    images = ball(dims, 25, (16.0, 14.0, 9.0)[:dims]).expand(8, 1, *[25] * dims)
    views, _, drawn = task.make_batch(images, seeded())
    assert drawn["zoom"].min() >= 0.8
    assert drawn["zoom"].max() <= 1.2
    assert drawn["zoom"].min() < 0.95
    assert drawn["zoom"].max() > 1.05
    for (image, copy), factor in zip(views, drawn["zoom"].tolist(), strict=True):
        assert centre(copy) == pytest.approx([factor * x for x in centre(image)], abs=0.05)


@pytest.mark.parametrize("shape", [(20, 13), (64, 40, 33), (7, 6, 3)], ids=str)
@pytest.mark.parametrize("factor", [0.5, 0.83, 1.0, 1.17, 1.9])
def test_zooming_axis_by_axis_is_what_kornia_does(shape: tuple[int, ...], factor: float) -> None:
    image = torch.rand((2, *shape), generator=seeded())
    middle = (torch.tensor(shape, dtype=torch.float32).flip(0) - 1) / 2
    matrix = torch.cat([factor * torch.eye(len(shape)), ((1 - factor) * middle)[:, None]], dim=1)[
        None
    ]
    if len(shape) == 2:
        wanted = kornia.warp_affine(image[None], matrix, shape)[0]
    else:
        wanted = kornia.warp_affine3d(image[None], matrix, shape)[0]
    inside = [slice(1, -1) if side > 2 else slice(None) for side in shape]  # rounding at the rim
    got = augmentation.zoom(image, factor)
    torch.testing.assert_close(got[:, *inside], wanted[:, *inside], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("cls", BOTH)
def test_light_follows_the_formula_and_keeps_the_range(cls: type[Exemplar]) -> None:
    task = cls(**NOTHING | {"intensity_probability": 1})
    images = 5 * images_for(task, 8, channels=2) - 2
    views, _, drawn = task.make_batch(images, seeded())
    assert drawn["brightness"].abs().max() <= 0.125
    assert drawn["contrast"].min() >= 0.5
    assert drawn["contrast"].max() <= 1.5
    for row, (image, copy) in enumerate(views):
        for before, after in zip(image, copy, strict=True):
            low, high, mean = before.min(), before.max(), before.mean()
            wanted = mean + drawn["contrast"][row] * (before - mean)
            wanted = (wanted + drawn["brightness"][row] * (high - low)).clamp(low, high)
            torch.testing.assert_close(after, wanted)


@pytest.mark.parametrize("name", NOTHING)
def test_each_probability_decides_how_many_are_changed(name: str) -> None:
    task = Exemplar2d(**NOTHING | {name: 0.3})
    drawn = task.make_batch(images_for(task, 1000, side=4), seeded()).drawn
    changed = {
        "flip_probability": drawn["flips"].float().mean(),
        "rotation_probability": (drawn["degrees"] != 0).float().mean(),
        "intensity_probability": (drawn["contrast"] != 1).float().mean(),
        "zoom_probability": (drawn["zoom"] != 1).float().mean(),
    }
    for other, share in changed.items():
        assert share == pytest.approx(0.3 if other == name else 0, abs=0.04)


def test_changing_one_field_moves_nothing_that_others_decide() -> None:
    base = Ranges(0.5, 0.5, True, 180, 0.5, 0.125, 0.5, 0.2, 0.2)
    recipe = draw_recipe(50, (8, 8), base, seeded())
    other = draw_recipe(50, (8, 8), base._replace(rotation=0.0, zoom=1.0), seeded())
    assert torch.equal(recipe.flips, other.flips)
    assert torch.equal(recipe.brightness, other.brightness)
    assert torch.equal(recipe.contrast, other.contrast)


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("rotation", ["quarter", "any"])
def test_an_image_is_treated_alike_in_every_batch(cls: type[Exemplar], rotation: str) -> None:
    task = cls(**ALWAYS, rotation=rotation)
    images = images_for(task, 5)
    views, target, _ = task.make_batch(images, seeded())
    first, first_target, _ = task.make_batch(images[:1], seeded())
    assert torch.equal(views[:1], first)
    assert torch.equal(target["identity"][0], first_target["identity"][0])
