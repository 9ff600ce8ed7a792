"""The embedded phantoms: reproducible, anatomically consistent, varied, chiral."""

import json
import math
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssl_registry.data.sources.anatomy import paint_patient
from ssl_registry.data.sources.phantoms import (
    LABELS,
    POPULATION_SEED,
    Phantom,
    make_phantom,
    phantom,
    write_phantoms,
)
from ssl_registry.errors import ImageShapeError
from ssl_registry.randomness import derive_generator

POPULATION = range(40)
LIVER, SPLEEN, RIGHT_KIDNEY, LEFT_KIDNEY = 1, 2, 3, 4


@cache
def case(index: int, side: int = 32) -> Phantom:
    return phantom(index, side)


def millilitres(made: Phantom) -> Tensor:
    """Return the volume of each label."""
    voxels = torch.bincount(made.label.flatten().long(), minlength=len(LABELS))
    return voxels * (np.prod(made.spacing) / 1000)


def centroid(made: Phantom, label: int) -> Tensor:
    """Return where an organ lies, in mm from the middle of the volume."""
    places = (made.label[0] == label).nonzero().double().mean(0)
    middle = (torch.tensor(made.label.shape[1:]) - 1) / 2
    return (places - middle) * torch.tensor(made.spacing)


def quarter_turns(volume: Tensor) -> list[Tensor]:
    """Return the volume unturned and after each turn about one axis."""
    planes = [(1, 2), (0, 2), (0, 1)]
    return [volume, *(torch.rot90(volume, k, plane) for plane in planes for k in (1, 2, 3))]


@settings(max_examples=20, deadline=None)
@given(index=st.integers(0, 2**40), side=st.integers(16, 33))
def test_image_and_label_have_the_promised_form(index: int, side: int) -> None:
    made = phantom(index, side)
    assert made.image.shape == made.label.shape == (1, side, side, side)
    assert (made.image.dtype, made.label.dtype) == (torch.float32, torch.uint8)
    assert made.image.isfinite().all()
    assert made.image.min() >= 0
    assert set(made.label.unique().tolist()) <= set(LABELS)
    for step, average in zip(made.spacing, (340, 315, 355), strict=True):
        assert side * step == pytest.approx(average, rel=0.0601)


def test_equal_index_gives_equal_bits() -> None:
    one, other = phantom(3, 48), phantom(3, 48)
    assert torch.equal(one.image, other.image)
    assert torch.equal(one.label, other.label)
    assert one.spacing == other.spacing


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = phantom(5, 64)
        torch.set_num_threads(3)
        shared = phantom(5, 64)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(alone.image, shared.image)
    assert torch.equal(alone.label, shared.label)


def test_equal_generators_give_equal_bits_and_one_generator_gives_many() -> None:
    generator = torch.Generator().manual_seed(1)
    first, second = make_phantom(generator, 24), make_phantom(generator, 24)
    again = make_phantom(torch.Generator().manual_seed(1), 24)
    assert torch.equal(first.image, again.image)
    assert not torch.equal(first.label, second.label)


def test_different_indices_differ() -> None:
    labels = {case(index).label.numpy().tobytes() for index in POPULATION}
    assert len(labels) == len(POPULATION)
    assert len({case(index).spacing for index in POPULATION}) == len(POPULATION)


def test_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    phantom(0, 16)
    assert torch.equal(torch.get_rng_state(), before)


def test_another_side_gives_the_same_patient() -> None:
    for index in range(5):
        fine, coarse = case(index, 64), case(index, 32)
        torch.testing.assert_close(millilitres(fine)[1:], millilitres(coarse)[1:], rtol=0.2, atol=8)
        for label in (LIVER, SPLEEN, RIGHT_KIDNEY, LEFT_KIDNEY):
            apart = centroid(fine, label) - centroid(coarse, label)
            assert apart.norm() < max(coarse.spacing) / 2


@pytest.mark.parametrize(("side", "patients"), [(32, len(POPULATION)), (64, 8)])
def test_every_organ_has_a_sensible_size(side: int, patients: int) -> None:
    lowest = torch.tensor([350.0, 30, 40, 40])
    highest = torch.tensor([2500.0, 450, 300, 300])
    for index in POPULATION[:patients]:
        volumes = millilitres(case(index, side))[1:]
        assert (volumes > lowest).all(), (index, volumes)
        assert (volumes < highest).all(), (index, volumes)


def test_every_organ_shows_at_the_smallest_side() -> None:
    for index in POPULATION:
        assert case(index, 16).label.unique().tolist() == list(LABELS)


def test_a_smaller_side_is_refused() -> None:
    with pytest.raises(ImageShapeError, match="16 or more"):
        phantom(0, 15)


@pytest.mark.parametrize("index", POPULATION)
def test_organs_lie_where_anatomy_puts_them(index: int) -> None:
    made = case(index)
    right, anterior, superior = range(3)
    liver, spleen = centroid(made, LIVER), centroid(made, SPLEEN)
    right_kidney, left_kidney = centroid(made, RIGHT_KIDNEY), centroid(made, LEFT_KIDNEY)
    assert liver[right] > spleen[right] + 60
    assert right_kidney[right] > left_kidney[right] + 60
    assert left_kidney[right] > spleen[right]
    assert spleen[superior] > left_kidney[superior]
    assert liver[superior] > right_kidney[superior]
    assert liver[anterior] > max(right_kidney[anterior], left_kidney[anterior])
    assert max(right_kidney[anterior], left_kidney[anterior]) < 0


def test_the_left_kidney_is_the_higher_one_in_most_patients() -> None:
    higher = [
        centroid(case(i), LEFT_KIDNEY)[2] > centroid(case(i), RIGHT_KIDNEY)[2] for i in POPULATION
    ]
    assert sum(higher) > 0.7 * len(higher)


def test_kidneys_are_of_one_tissue() -> None:
    for index in POPULATION:
        body = paint_patient(derive_generator(POPULATION_SEED, "phantom", index), 32)
        right, left = (body.image[body.label == side] for side in (RIGHT_KIDNEY, LEFT_KIDNEY))
        assert abs(right.mean() / left.mean() - 1) < 0.1


def test_brightness_does_not_tell_right_kidney_from_left() -> None:
    """Shading may favour one side in a patient, and favours neither in the population."""
    ratios = torch.tensor(
        [
            made.image[made.label == RIGHT_KIDNEY].mean()
            / made.image[made.label == LEFT_KIDNEY].mean()
            for made in map(case, POPULATION)
        ]
    )
    assert abs(float(ratios.log().mean())) < 0.05
    assert 0.25 < float((ratios > 1).float().mean()) < 0.75
    assert ratios.log().abs().max() < math.log(2)


def test_intensity_alone_names_no_organ() -> None:
    """Spleen is brighter than kidney in some patients and darker in others."""
    brighter = [
        bool(
            case(i).image[case(i).label == SPLEEN].mean()
            > case(i).image[case(i).label == LEFT_KIDNEY].mean()
        )
        for i in POPULATION
    ]
    assert 0.25 < sum(brighter) / len(brighter) < 0.75


def test_the_population_varies() -> None:
    volumes = torch.stack([millilitres(case(index))[1:] for index in POPULATION])
    assert (volumes.std(0) / volumes.mean(0) > 0.15).all()
    peaks = torch.stack([case(index).image.max() for index in POPULATION])
    assert peaks.max() / peaks.min() > 100


@pytest.mark.parametrize("index", range(10))
def test_all_ten_quarter_turns_differ(index: int) -> None:
    """They differ by more than noise, so that a network can tell which one it sees."""
    made = case(index)
    images, labels = quarter_turns(made.image[0]), quarter_turns(made.label[0])
    contrast = made.image.std()
    for i in range(10):
        for j in range(i):
            assert (images[i] - images[j]).square().mean().sqrt() > 0.3 * contrast
            both = (labels[i] == labels[j]) & (labels[i] > 0)
            assert both.sum() < 0.6 * (labels[i] > 0).sum()


def test_mirrored_patients_are_no_patients() -> None:
    """The mean body is far from its mirror image along every axis."""
    mean = torch.stack([(case(index).label[0] == LIVER).float() for index in POPULATION]).mean(0)
    for axis in range(3):
        assert (mean - mean.flip(axis)).abs().sum() > 0.3 * mean.sum()


def test_written_phantoms_read_back(tmp_path: Path) -> None:
    folder = write_phantoms(tmp_path / "decathlon", 2, side=20)
    summary = json.loads((folder / "dataset.json").read_text())
    assert summary["labels"] == {str(value): name for value, name in LABELS.items()}
    assert summary["modality"] == {"0": "synthetic"}
    assert summary["tensorImageSize"] == "3D"
    assert (summary["numTraining"], summary["numTest"], summary["test"]) == (2, 0, [])
    assert len(summary["training"]) == 2
    for index, pair in enumerate(summary["training"]):
        made = phantom(index, 20)
        image, label = (nib.load(folder / pair[kind]) for kind in ("image", "label"))
        np.testing.assert_array_equal(np.asanyarray(image.dataobj), made.image[0].numpy())
        np.testing.assert_array_equal(np.asanyarray(label.dataobj), made.label[0].numpy())
        for volume in (image, label):
            assert nib.aff2axcodes(volume.affine) == ("R", "A", "S")
            np.testing.assert_allclose(volume.header.get_zooms(), made.spacing, rtol=1e-6)
            np.testing.assert_allclose(np.diag(volume.affine)[:3], made.spacing, rtol=1e-6)
            assert volume.header.get_xyzt_units()[0] == "mm"


def test_written_phantoms_are_equal_byte_for_byte(tmp_path: Path) -> None:
    one, other = (write_phantoms(tmp_path / name, 1, side=16) for name in ("one", "other"))
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert [str(path) for path in files] == [
        "dataset.json",
        "imagesTr/phantom_000.nii.gz",
        "labelsTr/phantom_000.nii.gz",
    ]
    for path in files:
        assert (one / path).read_bytes() == (other / path).read_bytes()
