"""How a trained network answers: its precision, and images that are read ahead for a GPU."""

import threading

import pytest
import torch

from ssl_registry.training.engine.answering import answering, dtype_for, read_ahead

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("precision", "device", "dtype"),
    [
        ("bf16-mixed", GPU, torch.bfloat16),
        ("16-mixed", GPU, torch.float16),
        ("32-true", GPU, None),
        ("bf16-mixed", CPU, None),
    ],
)
def test_a_network_answers_in_its_runs_precision_on_a_gpu_alone(
    precision: str, device: torch.device, dtype: torch.dtype | None
) -> None:
    assert dtype_for(precision, device) is dtype


def test_a_cpu_answers_in_float32_without_gradients() -> None:
    layer = torch.nn.Linear(2, 2)
    with answering("bf16-mixed", CPU):
        answer = layer(torch.ones(1, 2))
    assert answer.dtype is torch.float32
    assert answer.is_inference()


@pytest.mark.parametrize("device", [CPU, GPU])
def test_what_is_read_ahead_comes_in_order_and_fails_in_its_place(device: torch.device) -> None:
    def read(number: int) -> int:
        if number == 2:
            raise ValueError("the second")
        return 10 * number

    found: list[int | str] = []
    for get in read_ahead(read, range(1, 5), device):
        try:
            found.append(get())
        except ValueError as error:
            found.append(str(error))
    assert found == [10, "the second", 30, 40]


def test_for_a_gpu_the_next_image_is_read_while_one_is_answered() -> None:
    second = threading.Event()

    def read(number: int) -> int:
        if number == 2:
            second.set()
        return number

    images = read_ahead(read, [1, 2], GPU)
    assert next(images)() == 1
    assert second.wait(10)  # nobody has asked for it


def test_on_a_cpu_nothing_is_read_before_it_is_asked_for() -> None:
    read: list[int] = []
    images = read_ahead(read.append, [1, 2], CPU)
    first = next(images)
    assert read == []
    first()
    assert read == [1]
