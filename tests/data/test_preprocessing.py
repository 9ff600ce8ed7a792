"""Preprocessing: one orientation, spacing, intensity and size, for image and label alike."""

import numpy as np
import pytest
import torch
import torchio as tio
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_registry.data.phantoms import phantom
from ssl_registry.data.preprocessing import Preprocessing, foreground_bounds
from ssl_registry.data.scans import scan_of_phantom
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
    fine, _ = Preprocessing(spacing=None).prepare(scan_of_phantom(made), 32, "it")
    coarse, _ = Preprocessing(spacing=4 * max(made.spacing)).prepare(
        scan_of_phantom(made), 32, "it"
    )
    assert fine.diff(dim=1).abs().mean() > 1.3 * coarse.diff(dim=1).abs().mean()
