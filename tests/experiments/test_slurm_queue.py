"""What is made of the states in which SLURM's controller says that jobs are."""

import subprocess

import pytest

from ssl_registry.experiments.engines.slurm_queue import SlurmQueue


class Controller:
    """Says what it was last given to say; without anything it does not answer."""

    def __init__(self) -> None:
        self.says: dict[str, str] | None = {}

    def __call__(self) -> str:
        if self.says is None:
            raise subprocess.CalledProcessError(1, "squeue")
        return "".join(f"{job}|{state}\n" for job, state in self.says.items())


@pytest.fixture
def controller() -> Controller:
    return Controller()


@pytest.fixture
def queue(controller: Controller) -> SlurmQueue:
    queue = SlurmQueue(controller)
    queue.register_job("7_1")
    return queue


@pytest.mark.parametrize(
    ("state", "done"),
    [
        ("PENDING", False),
        ("RUNNING", False),
        ("SUSPENDED", False),
        ("COMPLETING", False),
        ("REQUEUE_HOLD", False),
        ("COMPLETED", True),
        ("CANCELLED", True),
        ("NODE_FAIL", True),
        ("TIMEOUT", True),
    ],
)
def test_a_job_is_done_when_it_does_not_come_back(
    queue: SlurmQueue, controller: Controller, state: str, done: bool
) -> None:
    controller.says = {"7_0": "RUNNING", "7_1": state}
    assert queue.is_done("7_1") is done
    assert queue.is_on_its_way("7_1") is not done


def test_a_job_that_the_controller_has_forgotten_is_gone_and_not_waited_for(
    queue: SlurmQueue, controller: Controller
) -> None:
    controller.says = {"7_0": "RUNNING"}
    assert queue.get_state("7_1", "force") == "GONE"
    assert queue.is_done("7_1", "cache")
    assert not queue.is_on_its_way("7_1")


def test_how_a_job_ended_is_kept_when_the_controller_has_forgotten_it(
    queue: SlurmQueue, controller: Controller
) -> None:
    controller.says = {"7_1": "CANCELLED"}
    assert queue.get_state("7_1", "force") == "CANCELLED"
    controller.says = {}
    assert queue.get_state("7_1", "force") == "CANCELLED"


def test_while_the_controller_is_away_no_job_has_ended(
    queue: SlurmQueue, controller: Controller
) -> None:
    controller.says = None
    assert queue.get_state("7_1", "force") == "UNKNOWN"
    assert not queue.is_done("7_1", "force")
    controller.says = {"7_1": "RUNNING"}
    assert queue.get_state("7_1", "force") == "RUNNING"
    controller.says = None
    assert not queue.is_done("7_1", "force")


def test_the_controller_is_asked_once_for_all_jobs(
    queue: SlurmQueue, controller: Controller
) -> None:
    queue.register_job("7_2")
    controller.says = {"7_1": "RUNNING", "7_2": "PENDING"}
    assert queue.get_state("7_1") == "RUNNING"
    controller.says = None  # and not again at once
    assert queue.get_state("7_2") == "PENDING"
