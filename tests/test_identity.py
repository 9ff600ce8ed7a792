"""Whom the fingerprint takes for whom."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssl_registry.heads import NOBODY, identify

SHAPES = [(6, 5), (4, 5, 6)]


def images(batch: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand((batch, 2, *shape), generator=torch.Generator().manual_seed(seed))


@given(st.sampled_from(SHAPES), st.lists(st.integers(0, 3), min_size=1, max_size=9))
def test_equal_images_and_only_those_are_one(shape: tuple[int, ...], who: list[int]) -> None:
    identities = identify(images(4, *shape)[who])
    names = torch.tensor(who)
    same = identities[:, None] == identities
    assert torch.equal(same, names[:, None] == names)
    assert (identities != NOBODY).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_single_voxel_anywhere_makes_another_image(shape: tuple[int, ...]) -> None:
    count = 2 * torch.Size(shape).numel()
    dots = torch.eye(count).reshape(count, 2, *shape)
    faint = (torch.rand(1, 2, *shape) + 1e-6 * dots)[:8]
    everybody = torch.cat([dots, 0.5 * dots, torch.zeros(1, 2, *shape), faint])
    assert len(identify(everybody).unique()) == len(everybody)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mirror_image_is_another_image(shape: tuple[int, ...]) -> None:
    image = images(1, *shape)
    others = [image.flip(axis) for axis in range(1, image.ndim)]
    assert len({int(identify(one)) for one in [image, *others]}) == image.ndim


@pytest.mark.parametrize("shape", SHAPES)
def test_layout_and_type_make_no_difference(shape: tuple[int, ...]) -> None:
    some = images(3, *shape).bfloat16()
    wanted = identify(some)
    spread = some.repeat_interleave(2, dim=-1)[..., ::2]
    for same in (some.float(), some.double(), some.mT.contiguous().mT, spread):
        assert torch.equal(identify(same), wanted)
    halves = images(3, *shape).half()
    assert torch.equal(identify(halves), identify(halves.float()))


def test_the_number_of_an_image_stays_what_it_was() -> None:
    """A memory in a checkpoint is read by later versions too."""
    steps = torch.arange(24, dtype=torch.float32).reshape(1, 1, 4, 6)
    assert identify(steps).tolist() == [NUMBER]


NUMBER = 3402528927204818598
