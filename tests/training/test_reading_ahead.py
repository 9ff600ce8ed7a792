"""That the test and `predict` answer for one case while the next is being read for a GPU.

Torch's meta device stands for the GPU: it computes nothing, and answers are put in its place.
"""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssl_registry import predict
from ssl_registry.data.cache.cache_file import Array
from ssl_registry.data.cache.packed_labels import OwnLabels
from ssl_registry.data.cache.prepared import Prepared
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.preparing.scan_grid import ScanGrid
from ssl_registry.data.sources.cases import FileCase
from ssl_registry.training import ensemble
from ssl_registry.training.ensemble_member import Member
from ssl_registry.training.finetuning.downstream_model import grade_cases, predict_cases
from ssl_registry.training.finetuning.scan_answers import label_scans
from tests.training.test_prediction import components, threshold_run, write_scan

__all__ = ["components"]  # a fixture, for the components that `threshold_run` names

PLACES = np.eye(4)


class Readings:
    """Counts what was read, and has an answer wait until the next case was read too."""

    def __init__(self, cases: int) -> None:
        self.cases, self.read, self.answered = cases, 0, 0
        self.more = threading.Condition()

    def note(self) -> None:
        with self.more:
            self.read += 1
            self.more.notify_all()

    def answer(self) -> None:
        self.answered += 1
        wanted = min(self.answered + 1, self.cases)
        with self.more:
            assert self.more.wait_for(lambda: self.read >= wanted, 10), "nothing was read ahead"


class Case:
    """A case as `Prepared` is used."""

    affine = PLACES
    image = Prepared.image

    def __init__(self, readings: Readings) -> None:
        self.readings = readings

    def _load(self, name: str, load: Any) -> Array:
        self.readings.note()
        return np.zeros((1, 2, 2, 2))

    def own_labels(self) -> OwnLabels:
        return OwnLabels(torch.zeros(2, 2, 2, dtype=torch.int64), ScanGrid((2, 2, 2), PLACES))


class Answers(nn.Module):
    """A model in fine-tuning as far as it is asked for answers, on the meta device."""

    precision, stacked = "32-true", False
    task = SimpleNamespace(probabilities=lambda outputs: outputs.softmax(1), spatial_dims=3)

    def __init__(self, readings: Readings) -> None:
        super().__init__()
        self.readings = readings
        self.weight = nn.Parameter(torch.empty(1, device="meta"))

    def outputs(self, images: Tensor) -> Tensor:
        assert images.device.type == "meta"
        self.readings.answer()
        return torch.zeros(1, 2, 2, 2, 2)

    def predict(self, outputs: Tensor) -> Tensor:
        return outputs.argmax(1)


@pytest.mark.parametrize("ask", [predict_cases, grade_cases, label_scans])
def test_the_test_reads_the_next_case_while_it_answers(ask: Any) -> None:
    readings = Readings(3)
    ask(Answers(readings), [Case(readings) for _ in range(3)])
    assert readings.answered == 3


def test_predict_reads_the_next_scan_while_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        write_scan(tmp_path / "scans" / f"{name}.nii.gz", np.eye(4))
    run = threshold_run(tmp_path / "run", Preprocessing(), 8)
    readings, read = Readings(3), FileCase.read

    def note(case: FileCase) -> Any:
        scan = read(case)
        readings.note()
        return scan

    def answer(member: Member, image: Tensor) -> Tensor:
        readings.answer()
        return torch.ones(2, *image.shape[1:]) / 2

    monkeypatch.setattr(ensemble, "choose_prediction_device", lambda _: torch.device("meta"))
    monkeypatch.setattr(FileCase, "read", note)
    monkeypatch.setattr(Member, "probabilities", answer)
    assert len(predict(run, tmp_path / "scans", tmp_path / "labels", quiet=True).files) == 3
    assert readings.answered == 3
