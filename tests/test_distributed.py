"""What processes that train together tell each other."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_registry import distributed
from ssl_registry.errors import RunError
from ssl_registry.training.engine.devices import on_main
from ssl_registry.training.engine.means import Means
from tests.together import run_together

POINTS = torch.linspace(-1, 1, 12).reshape(4, 3)


def spread(points: Tensor, own: slice) -> Tensor:
    """Return a loss of some rows that depends on all of them."""
    return (torch.cdist(points[own], points) ** 2).sin().mean()


def test_alone_a_process_has_what_it_has() -> None:
    assert (distributed.processes(), distributed.rank(), distributed.is_main()) == (1, 0, True)
    assert torch.equal(distributed.gather(POINTS), POINTS[None])
    assert distributed.from_all("me") == ["me"]


def gather_and_learn() -> dict[str, Tensor]:
    first = 2 * distributed.rank()
    own = POINTS[first : first + 2].clone().requires_grad_()
    everyone = distributed.gather(own)
    spread(everyone.flatten(0, 1), slice(first, first + 2)).backward()
    assert own.grad is not None
    return {"everyone": everyone.detach(), "gradient": own.grad}


def test_gathered_rows_have_the_gradient_that_one_process_finds(tmp_path: Path) -> None:
    points = POINTS.clone().requires_grad_()
    # Strategies average over the processes, as this mean of their losses does.
    ((spread(points, slice(0, 2)) + spread(points, slice(2, 4))) / 2).backward()
    assert points.grad is not None
    found = run_together(tmp_path, gather_and_learn)
    assert all(torch.equal(one["everyone"].flatten(0, 1), POINTS) for one in found)
    gradient = torch.cat([one["gradient"] for one in found]) / 2
    assert torch.allclose(gradient, points.grad, atol=1e-6)


def tell_each_other() -> dict[str, Any]:
    means = Means()
    means.add({"loss": torch.tensor(float(distributed.rank()))}, 1 + distributed.rank())
    if distributed.is_main():
        means.add({"only_here": torch.tensor(3.0)}, 0)
    failed = ""
    try:
        on_main(fail)
    except RunError as error:
        failed = str(error)
    return {"all": distributed.from_all(distributed.rank()), "read": means.read(), "failed": failed}


def fail() -> None:
    raise RunError("the disk is full")


def test_means_are_over_all_and_where_the_main_one_fails_all_do(tmp_path: Path) -> None:
    for told in run_together(tmp_path, tell_each_other):
        assert told["all"] == [0, 1]
        assert told["read"]["loss"] == pytest.approx((0 * 1 + 1 * 2) / 3)
        assert told["failed"] == "the disk is full"
