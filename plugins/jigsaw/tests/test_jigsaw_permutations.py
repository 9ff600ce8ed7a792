"""The permutations: far apart, all different, and the same on every machine."""

import hashlib
import subprocess
import sys

import pytest
import torch
from ssl_registry_jigsaw.permutations import MOST, choose_permutations, orders_of
from torch import Tensor

GOLDEN = {
    2: "82b9e3de1a6d8b8878d0926ae8075f851e2c5397b63d5a1d6ff9d56f7e86913a",
    3: "998553e4c8f9cc9f1c410e1fa4ea94e6947c6cbf545583d1c084aa4a750ee25f",
}
"""SHA-256 of the first 100 permutations from seed 0: they may never change in silence."""


def distances(rows: Tensor) -> Tensor:
    """Hamming distances of all pairs, in any order."""
    counts = (rows[:, None] != rows).sum(-1)
    return counts[torch.ones_like(counts).triu(1).bool()]


def fingerprint(rows: Tensor) -> str:
    return hashlib.sha256(str(rows.tolist()).encode()).hexdigest()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("count", [2, 100, 1000, MOST])
@pytest.mark.parametrize("seed", [0, 1])
def test_they_are_different_permutations_and_not_the_identity(
    dims: int, count: int, seed: int
) -> None:
    chosen = choose_permutations(3**dims, count, seed)
    cells = torch.arange(3**dims)
    assert chosen.shape == (count, 3**dims)
    assert chosen.dtype == torch.int64
    assert torch.equal(chosen.sort(1).values, cells.expand(count, -1))
    assert len(chosen.unique(dim=0)) == count
    assert not (chosen == cells).all(1).any()


@pytest.mark.parametrize(
    ("dims", "count", "least"),
    [
        (2, 100, 7),
        (2, 503, 7),
        (2, MOST, 6),
        (3, 26, 27),
        (3, 100, 26),
        (3, 701, 26),
        (3, MOST, 24),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_they_are_as_far_apart_as_promised(dims: int, count: int, least: int, seed: int) -> None:
    chosen = choose_permutations(3**dims, count, seed)
    assert distances(chosen).min() == least
    assert (chosen != torch.arange(3**dims)).sum(1).min() >= least


@pytest.mark.parametrize("dims", [2, 3])
def test_they_are_the_same_on_every_machine(dims: int) -> None:
    assert fingerprint(choose_permutations(3**dims, 100, 0)) == GOLDEN[dims]


@pytest.mark.parametrize("dims", [2, 3])
def test_another_seed_gives_others(dims: int) -> None:
    first, other = (choose_permutations(3**dims, 100, seed) for seed in (0, 1))
    both = torch.cat([first, other])
    assert len(both.unique(dim=0)) > 150


@pytest.mark.parametrize("dims", [2, 3])
def test_more_of_them_begin_with_the_same_ones(dims: int) -> None:
    few, many = choose_permutations(3**dims, 100, 0), choose_permutations(3**dims, 1000, 0)
    assert torch.equal(many[:100], few)


def test_global_streams_are_neither_read_nor_moved() -> None:
    wanted = choose_permutations(27, 50, 7)
    choose_permutations.cache_clear()
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(123)
        before = torch.get_rng_state()
        assert torch.equal(choose_permutations(27, 50, 7), wanted)
        assert torch.equal(torch.get_rng_state(), before)


def test_rows_of_tiles_do_not_stay_together() -> None:
    """Affine maps of the grid itself would leave a quarter of all rows as they are."""
    rows = choose_permutations(27, 100, 0).reshape(-1, 3)
    whole = (rows // 3 == rows[:, :1] // 3).all(1)
    assert whole.float().mean() < 0.05


def test_nothing_is_computed_at_import() -> None:
    code = (
        "from ssl_registry_jigsaw import jigsaw, permutations\n"
        "assert permutations.choose_permutations.cache_info().currsize == 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("tiles", "count"), [(2, 1), (3, 5), (4, 23), (6, 100), (8, 100), (12, 100)]
)
def test_grids_without_a_group_have_different_permutations_too(tiles: int, count: int) -> None:
    assert orders_of(tiles) >= count
    chosen = choose_permutations(tiles, count, 0)
    assert torch.equal(chosen.sort(1).values, torch.arange(tiles).expand(count, -1))
    assert len(chosen.unique(dim=0)) == count
    assert not (chosen == torch.arange(tiles)).all(1).any()
    if tiles >= 8:  # random ones have pairs that differ in 3 and 6 places
        assert distances(chosen).min() >= {8: 5, 12: 8}[tiles]
    choose_permutations.cache_clear()
    assert torch.equal(choose_permutations(tiles, count, 0), chosen)


def test_few_tiles_have_few_orders() -> None:
    assert [orders_of(tiles) for tiles in (2, 3, 4, 6, 7, 27)] == [1, 5, 23, 719, MOST, MOST]
