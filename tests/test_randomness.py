"""Chance belongs to a purpose: equal words, equal bits, and nobody else's stream is touched."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssl_registry import derive_generator
from ssl_registry.randomness import lend_to_torch

WORDS = st.lists(st.one_of(st.integers(0, 9), st.text(max_size=3)), max_size=3)


def draw(*words: str | int) -> list[int]:
    generator = derive_generator(7, *words)
    return torch.randint(2**31, (4,), generator=generator).tolist()


@given(one=WORDS, other=WORDS)
def test_a_stream_follows_from_its_words_and_from_nothing_else(
    one: list[str | int], other: list[str | int]
) -> None:
    assert draw(*one) == draw(*one)
    same = [(type(word), word) for word in one] == [(type(word), word) for word in other]
    assert (draw(*one) == draw(*other)) is same


def test_words_do_not_run_together() -> None:
    assert draw("ab", "c") != draw("a", "bc")
    assert draw("1") != draw(1)


def test_another_process_draws_the_same() -> None:
    code = (
        "import torch; from ssl_registry import derive_generator;"
        "print(torch.randint(2**31, (4,), generator=derive_generator(7, 'order', 3)).tolist())"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == str(draw("order", 3))


def test_torch_draws_from_what_it_is_lent_and_gets_its_own_back() -> None:
    before = torch.get_rng_state()
    with lend_to_torch(derive_generator(0)):
        one = torch.nn.Linear(3, 3).weight
    with lend_to_torch(derive_generator(0)):
        same = torch.nn.Linear(3, 3).weight
    with lend_to_torch(derive_generator(1)):
        other = torch.nn.Linear(3, 3).weight
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_state_comes_back_after_an_error() -> None:
    before = torch.get_rng_state()
    with pytest.raises(IndexError), lend_to_torch(derive_generator(0)):
        torch.rand(1)[5]
    assert torch.equal(torch.get_rng_state(), before)
