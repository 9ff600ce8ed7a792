"""The parts for contrast tasks: a momentum teacher, and a queue of negatives."""

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ssl_registry.errors import ConfigError, PluginError
from ssl_registry.heads import NOBODY, Queue, Teacher
from ssl_registry.pretext_model import Moment
from tests.together import run_together


def student() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1))


def drawn_apart(network: nn.Module) -> nn.Module:
    for parameter in network.parameters():
        parameter.data += 1
    return network


def test_a_teacher_begins_as_its_student_and_no_optimiser_sees_it() -> None:
    network = student().eval()
    teacher = Teacher(network).eval()
    images = torch.rand(2, 1, 8, 8)
    answer = teacher(images)
    assert torch.equal(answer, network(images))
    assert not answer.requires_grad
    assert list(teacher.parameters()) == []


def test_a_teacher_names_its_weights_as_its_student_does() -> None:
    network = student()
    assert list(Teacher(network).network.state_dict()) == list(network.state_dict())


@pytest.mark.parametrize(("step", "momentum"), [(0, 0.9), (5, 0.95), (10, 1.0)])
def test_weights_move_by_the_momentum_of_the_moment(step: int, momentum: float) -> None:
    network = student()
    teacher = Teacher(network, 0.9, final=1.0)
    before = copy.deepcopy(dict(teacher.network.named_buffers()))
    drawn_apart(network)
    teacher.follow(network, Moment(step, 10, 0))
    for name, weight in network.named_parameters():
        wanted = momentum * before[name] + (1 - momentum) * weight
        assert torch.allclose(teacher.network.get_buffer(name), wanted)


def test_without_a_final_momentum_it_stays() -> None:
    teacher = Teacher(student(), 0.7)
    assert {teacher.momentum_at(Moment(step, 9, 0)) for step in range(10)} == {0.7}


@pytest.mark.parametrize("statistics", ["own", "student"])
def test_statistics_are_its_own_or_its_students(statistics: str) -> None:
    network = student()
    teacher = Teacher(network, statistics=statistics)
    network(torch.rand(4, 1, 8, 8))
    teacher.follow(network, Moment(1, 2, 0))
    same = torch.equal(teacher.network[1].running_mean, network[1].running_mean)
    assert same == (statistics == "student")


def test_shared_weights_stay_shared() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[1].weight = network[0].weight
    teacher = Teacher(network, 0.5)
    drawn_apart(network)
    teacher.follow(network, Moment(1, 2, 0))
    first, second = (layer.weight for layer in teacher.network)
    assert first is second
    assert torch.allclose(first, network[0].weight - 0.5)


def test_a_teacher_travels_in_a_state_dict() -> None:
    one, other = Teacher(student()), Teacher(student())
    other.load_state_dict(one.state_dict())
    for name, value in one.network.named_buffers():
        assert torch.equal(value, other.network.get_buffer(name))


def test_another_student_is_refused_in_words() -> None:
    with pytest.raises(PluginError, match="cannot follow this student.*my-own-task"):
        Teacher(student()).follow(nn.Linear(2, 2), Moment(0, 1, 0))
    with pytest.raises(ConfigError, match="momentum=1.5"):
        Teacher(student(), 1.5)
    with pytest.raises(ConfigError, match="momentum='0.9'"):
        Teacher(student(), "0.9")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="given a str; it copies a student"):
        Teacher("student")  # type: ignore[arg-type]


def test_a_queue_keeps_the_latest_in_the_places_of_the_oldest() -> None:
    queue = Queue(3, 1)
    for start in (1, 3, 5):
        named = torch.tensor([start, start + 1])
        queue.push(named[:, None].float(), named)
    assert sorted(queue.identities().tolist()) == [4, 5, 6]
    assert queue.embeddings()[:, 0].tolist() == queue.identities().tolist()


def test_a_batch_larger_than_the_queue_leaves_its_end() -> None:
    queue = Queue(2, 1)
    queue.push(torch.arange(5.0)[:, None])
    assert sorted(queue.embeddings()[:, 0].tolist()) == [3, 4]
    assert queue.filled.all()


@pytest.mark.parametrize(
    ("embeddings", "identities", "words"),
    [
        (torch.ones(2, 7), None, r"embeddings \[2, 7\]; this queue takes \[B, 8\]"),
        (torch.ones(8), None, r"embeddings \[8\]"),
        (torch.ones(2, 8), torch.ones(3, dtype=torch.int64), r"identities \[3\].*of 2 embeddings"),
        (torch.ones(2, 8), torch.ones(2), "float32"),
    ],
)
def test_a_queue_refuses_what_has_another_shape(
    embeddings: Tensor, identities: Tensor | None, words: str
) -> None:
    with pytest.raises(PluginError, match=words):
        Queue(4, 8).push(embeddings, identities)


def test_what_was_read_is_not_changed_by_a_push() -> None:
    queue = Queue(2, 2)
    seen = queue.embeddings()
    loss = (nn.Linear(2, 2)(seen) ** 2).sum()
    queue.push(torch.ones(2, 2))
    loss.backward()  # type: ignore[no-untyped-call]
    assert (seen == 0).all()
    assert (queue.identities() != NOBODY).all()


def test_an_empty_queue_takes_nothing() -> None:
    queue = Queue(0, 4)
    queue.push(torch.ones(2, 4))
    assert queue.embeddings().shape == (0, 4)
    for size in (-1, "3"):
        with pytest.raises(ConfigError, match="whole numbers"):
            Queue(size, 4)  # type: ignore[arg-type]


def push_own(_: None) -> dict[str, Tensor]:
    from ssl_registry import distributed

    queue = Queue(4, 1)
    for step in range(3):
        queue.push(torch.tensor([[10.0 * step + distributed.rank()]]))
    return {"kept": queue.embeddings(), "position": queue.position}


def test_two_processes_have_the_same_queue(tmp_path: Path) -> None:
    one, other = run_together(tmp_path, push_own, None)
    assert torch.equal(one["kept"], other["kept"])
    assert sorted(one["kept"][:, 0].tolist()) == [10, 11, 20, 21]
    assert math.isclose(int(one["position"]), int(other["position"]))
