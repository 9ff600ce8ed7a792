"""Preprocessing: one orientation, spacing, intensity and size, for image and label alike."""

import re
from typing import Any

import numpy as np
import pytest
import torch
import torchio as tio
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from ssl_registry.component import explain
from ssl_registry.data.preparing.foreground import foreground_bounds
from ssl_registry.data.preparing.preprocessing import PRESETS, Preprocessing
from ssl_registry.data.sources.phantoms import phantom
from ssl_registry.errors import DataError


def scan_of(
    image: torch.Tensor, label: torch.Tensor | None = None, affine: object = None
) -> tio.Subject:
    fields = {"image": tio.ScalarImage(tensor=image, affine=affine)}
    if label is not None:
        fields["label"] = tio.LabelMap(tensor=label, affine=affine)
    return tio.Subject(fields)


@settings(max_examples=15, deadline=None)
@given(
    shape=st.tuples(*[st.integers(6, 40)] * 3),
    size=st.integers(8, 33),
    fit=st.sampled_from(["stretch", "pad"]),
    channels=st.integers(1, 3),
)
def test_every_scan_becomes_a_cube(
    shape: tuple[int, int, int], size: int, fit: str, channels: int
) -> None:
    generator = torch.Generator().manual_seed(1)
    image = 1000 * torch.rand(channels, *shape, generator=generator)
    label = torch.randint(3, (1, *shape), generator=generator, dtype=torch.uint8)
    made, marks = Preprocessing(fit=fit).prepare(scan_of(image, label), size, "it")
    assert made.shape == (channels, size, size, size)
    assert made.dtype == torch.float32
    assert (float(made.min()), float(made.max())) == (0, 1)
    assert marks is not None
    assert marks.shape == (size, size, size)
    assert set(marks.unique().tolist()) <= {0, 1, 2}


def test_labels_are_never_mixed() -> None:
    """Two neighbouring labels 0 and 2 must not make a 1 between them."""
    label = torch.zeros(1, 20, 20, 20, dtype=torch.uint8)
    label[:, 7:15, 7:15, 7:15] = 2
    _, marks = Preprocessing(crop=False).prepare(
        scan_of(torch.rand(1, 20, 20, 20), label), 13, "it"
    )
    assert marks is not None
    assert marks.unique().tolist() == [0, 2]


def test_image_and_label_stay_together() -> None:
    """The same cube in both must be found in the same place, at any resolution."""
    label = torch.zeros(1, 24, 30, 36, dtype=torch.uint8)
    label[:, 3:9, 10:22, 20:34] = 1
    for size in (12, 24, 48):
        image, marks = Preprocessing(crop=False).prepare(scan_of(label.float(), label), size, "it")
        assert marks is not None
        agree = ((image[0] > 0.5) == (marks > 0)).float().mean()
        assert agree > 0.97, size


def test_orientation_of_the_file_does_not_matter() -> None:
    made = phantom(0, 24)
    affine = np.diag([*made.spacing, 1.0])
    turned = np.diag([-made.spacing[0], -made.spacing[1], made.spacing[2], 1.0])
    expected = Preprocessing().prepare(scan_of(made.image, made.label, affine), 20, "it")
    flipped = scan_of(made.image.flip(1, 2), made.label.flip(1, 2), turned)
    image, label = Preprocessing().prepare(flipped, 20, "it")
    torch.testing.assert_close(image, expected[0], atol=1e-4, rtol=0)
    # Halfway between two voxels the nearest one depends on the direction.
    assert label is not None
    assert (label == expected[1]).float().mean() > 0.98


def test_units_of_the_scanner_do_not_matter() -> None:
    made = phantom(1, 24)
    one, _ = Preprocessing().prepare(scan_of(made.image), 20, "it")
    other, _ = Preprocessing().prepare(scan_of(2000 * made.image - 700), 20, "it")
    torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


def test_each_channel_has_intensities_of_its_own() -> None:
    """T1 in thousands beside FLAIR in tens: both fill the range, as each would alone."""
    generator = torch.Generator().manual_seed(0)
    t1, flair = torch.rand(2, 1, 16, 16, 16, generator=generator)
    both = scan_of(torch.cat([4000 * t1 + 200, 40 * flair - 3]))
    made, _ = Preprocessing(crop=False).prepare(both, 16, "it")
    for channel, alone in zip(made, (4000 * t1 + 200, 40 * flair - 3), strict=True):
        assert (float(channel.min()), float(channel.max())) == (0, 1)
        expected = tio.RescaleIntensity((0, 1), percentiles=(0.5, 99.5))(scan_of(alone))
        torch.testing.assert_close(channel, expected["image"].data[0])
    joint, _ = Preprocessing(crop=False, channels="joint").prepare(both, 16, "it")
    assert float(joint[1].max()) < 0.04
    assert float(joint[0].max()) == 1


def test_a_window_is_of_all_channels() -> None:
    image = torch.linspace(0, 100, 2 * 8**3).reshape(2, 8, 8, 8)
    made, _ = Preprocessing(crop=False, window=(0, 100)).prepare(scan_of(image), 8, "it")
    torch.testing.assert_close(made, image / 100)


def test_a_channel_that_shows_little_or_nothing_spoils_no_other() -> None:
    image = torch.rand(3, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    image[1] = 7
    image[2] = 0
    image[2, :2, :2, :2] = 5
    made, _ = Preprocessing(crop=False).prepare(scan_of(image), 16, "it")
    assert made[1].unique().tolist() == [0]
    assert torch.equal(made[2], (image[2] > 0).float())
    assert float(made[0].max()) == 1


def test_one_hot_voxel_does_not_darken_the_scan() -> None:
    made = phantom(1, 24)
    hot = made.image.clone()
    hot[0, 12, 12, 12] = 1e6
    one, _ = Preprocessing().prepare(scan_of(made.image), 24, "it")
    other, _ = Preprocessing().prepare(scan_of(hot), 24, "it")
    assert float((one - other).abs().median()) < 0.02


@settings(max_examples=25, deadline=None)
@given(corners=st.lists(st.tuples(st.integers(0, 7), st.integers(12, 19)), min_size=3, max_size=3))
def test_the_crop_keeps_the_first_and_the_last_slab(corners: list[tuple[int, int]]) -> None:
    image = 0.01 * torch.rand(1, 20, 20, 20, generator=torch.Generator().manual_seed(0))
    inside = tuple(slice(first, last + 1) for first, last in corners)
    image[(0, *inside)] = 1
    assert foreground_bounds(image, (0.5, 99.5)) == corners


def test_one_bright_slice_does_not_make_air_of_all_others() -> None:
    """As in a PET series whose slices have slopes of their own."""
    image = torch.rand((1, 16, 16, 8), generator=torch.Generator().manual_seed(0))
    image[..., 0] *= 300
    made, _ = Preprocessing().prepare(scan_of(image), None, "it")
    assert made.shape == (1, 16, 16, 8)


def test_a_crop_through_labels_is_refused() -> None:
    image = torch.zeros(1, 20, 20, 20)
    image[:, 5:15, 5:15, 5:15] = 1
    label = torch.zeros(1, 20, 20, 20, dtype=torch.uint8)
    label[:, 0, 0, 0] = 1
    with pytest.raises(DataError, match=r"it: .* cut away 1 labelled voxels.*crop=false"):
        Preprocessing().prepare(scan_of(image, label), 16, "it")
    kept = Preprocessing(crop=False).prepare(scan_of(image, label), 20, "it")[1]
    assert kept is not None
    assert int(kept.sum()) == 1


def test_spacing_is_in_millimetres() -> None:
    """At twice the spacing half as many voxels carry the detail, whatever the final size."""
    made = phantom(2, 32)
    fine, _ = Preprocessing(spacing=None).prepare(made.scan(), 32, "it")
    coarse, _ = Preprocessing(spacing=4 * max(made.spacing)).prepare(made.scan(), 32, "it")
    assert fine.diff(dim=1).abs().mean() > 1.3 * coarse.diff(dim=1).abs().mean()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_its_values(name: str) -> None:
    read = TypeAdapter(Preprocessing).validate_python
    assert read(name) == read({"preset": name}) == PRESETS[name]
    assert "preset" not in read(name).model_dump()
    assert read(read(name).model_dump(mode="json")) == PRESETS[name]


def test_a_preset_can_be_changed_field_by_field() -> None:
    changed = TypeAdapter(Preprocessing).validate_python({"preset": "ct", "spacing": 1.5})
    assert (changed.window, changed.spacing) == (PRESETS["ct"].window, 1.5)


def test_what_was_written_before_there_were_windows_means_the_same() -> None:
    old = {"spacing": None, "crop": True, "percentiles": [0.5, 99.5], "fit": "stretch"}
    assert Preprocessing(**old) == Preprocessing()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"preset": "ctt"}, "no preset 'ctt'; did you mean ct"),
        ({"preset": ["ct"]}, "no preset"),
        ({"preset": "ultrasound"}, "the presets are mr, ct, fundus"),
        ({"window": [240, -100]}, r"window=\[240.0, -100.0\]: the first must be the lower"),
        ({"percentiles": [50, 50]}, "percentiles=.* must be the lower"),
        ({"percentiles": [-1, 101]}, "percentiles"),
        ({"window": [0, float("inf")]}, "window"),
        ({"spacing": float("nan")}, "spacing"),
        ({"dtype": "int8"}, "dtype"),
    ],
)
def test_impossible_settings_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Preprocessing).validate_python(fields)
    assert re.search(message, explain(caught.value, "preprocessing", Preprocessing))


@settings(max_examples=10, deadline=None)
@given(low=st.integers(-1000, 0), width=st.integers(1, 2000), air=st.integers(-3024, -1000))
def test_a_window_gives_every_scan_the_same_scale(low: int, width: int, air: int) -> None:
    """Neither metal nor what lies around the patient changes what 40 HU looks like."""
    generator = torch.Generator().manual_seed(0)
    image = 40 + 300 * torch.randn(1, 12, 12, 12, generator=generator)
    image[:, :2], image[:, 5, 5, 5] = air, 30_000
    made, _ = Preprocessing(window=(low, low + width), crop=False).prepare(
        scan_of(image), None, "it"
    )
    expected = ((image - low) / width).clamp(0, 1)
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=0)


def test_the_crop_of_a_ct_is_not_misled_by_what_lies_outside_the_circle() -> None:
    """Scanners fill the corners with -3024 HU; beside that, air looks like tissue."""
    image = torch.full((1, 30, 30, 30), -1000.0)
    image[:, 10:20, 8:22, 5:25] = 50
    image[:, 12, 12, 12] = 90
    image[:, :8], image[:, 22:] = -3024, -3024
    made, _ = PRESETS["ct"].prepare(scan_of(image), None, "it")
    assert made.shape == (1, 10, 14, 20)


def test_a_window_beside_the_scan_is_named() -> None:
    with pytest.raises(DataError, match=r"it: .*no contrast within window=\[5000.0, 6000.0\]"):
        Preprocessing(window=(5000, 6000), crop=False).prepare(
            scan_of(torch.rand(1, 9, 9, 9)), None, "it"
        )


def test_padding_is_darker_than_everything_else_whatever_the_units() -> None:
    image = -500 - 100 * torch.rand(1, 30, 10, 10, generator=torch.Generator().manual_seed(0))
    for preprocessing in (Preprocessing(fit="pad"), Preprocessing(fit="pad", window=(-700, -400))):
        made, _ = preprocessing.prepare(scan_of(image), 30, "it")
        assert float(made[:, :, 0].max()) == 0
        assert float(made[:, 15, 15, 15]) > 0


@pytest.mark.parametrize(
    ("preprocessing", "message"),
    [
        (Preprocessing(spacing=50, crop=False), "thinner than one voxel of .*spacing=50"),
        (Preprocessing(spacing=9, crop=False), "too thin to be resampled"),
    ],
)
def test_a_scan_that_becomes_too_thin_is_named(preprocessing: Preprocessing, message: str) -> None:
    with pytest.raises(DataError, match=f"it.*{message}"):
        preprocessing.prepare(scan_of(torch.rand(1, 20, 20, 20)), 16, "it")


def test_without_a_size_the_voxels_are_those_of_the_scan() -> None:
    made = phantom(0, 24)
    image, label = Preprocessing(crop=False).prepare(made.scan(), None, "it")
    assert image.shape == made.image.shape
    assert label is not None
    assert torch.equal(label, made.label[0])
