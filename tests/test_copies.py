"""How often a training step copies something to the images' device: once, or not at all.

Counted on torch's meta device, which takes tensors as a GPU does and computes nothing: whatever
reads a value back from it raises an error, as a GPU would have the host wait.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import lightning as L
import pytest
import torch
from lightning.fabric.accelerators import CPUAccelerator
from lightning.fabric.strategies import SingleDeviceStrategy
from rich.console import Console
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import Dataset

from ssl_registry import CaseInfo, Moment, registry, transfer
from ssl_registry.augmentation import Augmentation
from ssl_registry.training.engine import loop
from ssl_registry.training.engine.callbacks import Callback, StepProgress, Stopwatch
from ssl_registry.training.engine.loop import Training
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.finetuning.downstream_model import DownstreamModel, Finetuning
from ssl_registry.training.pretraining.pretext_training import Pretraining
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.runs import FinetuneSettings, PretrainSettings

TASKS: Final = sorted(
    entry.name
    for entry in registry.entries(kind="pretext")
    if entry.distribution.startswith("ssl-registry")
)
JOINT: Final = {"tasks": ["rotation2d", "place2d"]}
VARIANTS: Final[list[tuple[str, dict[str, Any]]]] = [
    ("cpc2d", {"negatives": "others"}),
    ("exemplar2d", {"memory": 0, "negatives": "random"}),
    ("exemplar2d", {"memory": 0, "negatives": "semi-hard"}),
    ("exemplar2d", {"memory": 0, "augment": "nnunet"}),
    ("exemplar3d", {"rotation": "any"}),
    ("fusion2d", {"mix": "self"}),
    ("jigsaw2d", {"fusion": "early"}),
    ("local2d", {"negatives": "batch", "positives": "patient"}),
    ("masked2d", {"fill": "mean", "normalise": True, "sparse": True}),
    ("moco2d", {"queue": 0, "final_momentum": 1.0}),
    ("place3d", {"augment": "none"}),
    ("rotation2d", {"window": 48, "levels": [2, 3]}),
    ("rotation3d", {"axes": ["x"]}),
    ("rpl3d", {"fusion": "early", "questions": 1}),
    ("voco2d", {"inter": 0, "crops": 2}),
]
"""Tasks with fields that lead another way than the defaults do."""
CASES: Final[list[tuple[str, dict[str, Any], bool]]] = [
    *((name, JOINT if name == "joint" else {}, False) for name in TASKS),
    *((name, {}, True) for name in TASKS if name.endswith("2d")),
    *((name, fields, False) for name, fields in VARIANTS),
]
"""Tasks, their fields, and whether their images are slices of volumes."""


class Copies(TorchDispatchMode):
    """Counts operations that take something from the host to the device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.made = _Made(self)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        given = [t for t in _pytree.tree_leaves(args) if isinstance(t, Tensor)]
        out = {t.device.type for t in _pytree.tree_leaves(made) if isinstance(t, Tensor)}
        copies = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
        # A number of the host that takes part in a sum goes along with the call.
        came = any(t.device.type == "cpu" and (t.ndim or copies) for t in given)
        self.count += "meta" in out and came
        return made

    def __enter__(self) -> Any:
        self.made.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.made.__exit__(*error)


class _Made(TorchFunctionMode):
    """Counts tensors that are made of Python's numbers on the device."""

    def __init__(self, copies: Copies) -> None:
        super().__init__()
        self.copies = copies

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and named.get("device") is not None:
            self.copies.count += torch.device(named["device"]).type == "meta"
        return func(*args, **named)


class _OfTheHost(type):
    """Makes generators on the host where the meta device is asked for, which has none."""

    made = torch.Generator

    def __call__(cls, device: Any = "cpu") -> torch.Generator:
        return cls.made("cpu" if torch.device(device).type == "meta" else device)

    def __instancecheck__(cls, one: object) -> bool:
        return isinstance(one, cls.made)


@pytest.fixture
def like_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the meta device have generators and autocast, which it lacks."""
    autocast = torch.autocast

    def cast(device: str, *args: Any, **kwargs: Any) -> Any:
        return nullcontext() if device == "meta" else autocast(device, *args, **kwargs)

    monkeypatch.setattr(torch, "autocast", cast)
    monkeypatch.setattr(torch, "Generator", _OfTheHost("Generator", (), {}))


@pytest.mark.usefixtures("like_a_gpu")
@pytest.mark.parametrize(("name", "fields", "of_slices"), CASES, ids=str)
def test_a_step_copies_to_the_device_once_at_most(
    name: str, fields: dict[str, Any], of_slices: bool
) -> None:
    task: Any = registry.create(name, **fields)
    dims = task.spatial_dims
    shape = (96, 96) if dims == 2 else (48, 48, 48)
    backbone = registry.backbone(f"unet{dims}d", base_filters=2, levels=3, norm="instance")
    model = task.build_model(backbone.build(task.view_channels(1)), shape).to("meta")
    copies_at_most = len(task.tasks) if name == "joint" else 1  # each of a joint is a step's part
    for batch in (2, 9):
        images = torch.empty((batch, 1, *shape), device="meta")
        cases = [CaseInfo(f"{n}", f"{n}", place=n / 9 if of_slices else None) for n in range(batch)]
        moment = Moment(0, 10, 0, cases)
        model(images, torch.Generator().manual_seed(0), moment)  # what is kept is made now
        with Copies() as copies:
            loss, _ = model(images, torch.Generator().manual_seed(1), moment)
            loss.backward()
            model.after_step(moment)
        assert loss.device.type == "meta"
        assert copies.count <= copies_at_most


@pytest.mark.usefixtures("like_a_gpu")
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["segmentation", "classification"])
def test_a_step_of_fine_tuning_copies_once_and_waits_for_nothing(kind: str, dims: int) -> None:
    fields = {"downstream": f"{kind}{dims}d", "size": 16, "out": "run", "augment": "nnunet"}
    settings = read_settings(FinetuneSettings, fields, "finetune")
    backbone = registry.backbone(f"unet{dims}d", base_filters=2, levels=3)
    encoder = backbone.build(2)
    head = settings.downstream.build_head(encoder, 3)
    module = Finetuning(DownstreamModel(encoder, head), settings.downstream, settings).to("meta")
    shape = (16,) * dims
    images = torch.empty((4, 2, *shape), device="meta")
    labels = (4, *shape) if kind == "segmentation" else (4,)
    target = torch.empty(labels, device="meta", dtype=torch.int64)
    moment = Moment(0, 1, 0)
    with Copies() as copies:
        loss = module.training_step((images, target), torch.Generator().manual_seed(0), moment)
    assert loss["loss"].device.type == "meta"
    assert copies.count == 1


class Meta(CPUAccelerator):
    """Has Lightning train on the meta device."""

    def setup_device(self, device: torch.device) -> None:
        assert device.type == "meta"


class Zeros(Dataset[Tensor]):
    """Images in which nothing is to be seen."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Tensor:
        return torch.zeros(1, 16, 16)


@pytest.mark.usefixtures("like_a_gpu")
@pytest.mark.parametrize(
    "fields",
    [
        {"task": "rotation2d", "clip": 1.0, "accumulate": 2},
        {"task": "moco2d", "optimizer": "sgd", "schedule": "poly", "warmup": 0.5},
    ],
    ids=str,
)
def test_the_loop_takes_each_batch_over_and_waits_for_nothing(
    fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {
        "backbone": {"name": "unet2d", "base_filters": 2, "levels": 2}, "size": 16, "epochs": 100,
        "batch_size": 2, "device": "cpu", "out": tmp_path, "workers": 0, **fields,
    }  # fmt: skip
    settings = read_settings(PretrainSettings, said, "test")
    encoder = settings.backbone.build(settings.task.view_channels(1))
    module = Pretraining(settings.task.build_model(encoder, (16, 16)), settings)
    meta = SingleDeviceStrategy(torch.device("meta"), accelerator=Meta())
    training = Training(L.Fabric(strategy=meta), module, Zeros(), None, None)
    assert not training.may_always_look
    monkeypatch.setattr(training, "close_epoch", lambda: {"epoch": 1})  # where it may wait
    # In a log the loss is fetched at every tenth of the run, to which four batches do not come.
    console = Console(quiet=True, force_terminal=False)
    listeners: list[Callback] = [StepProgress(console, "test"), Stopwatch()]
    for listener in listeners:
        listener.on_start(0, training.total)
    with Copies() as copies:
        loop._train_epoch(
            training, loop._Saver(training, RunFolder(tmp_path), listeners), listeners
        )
    assert (training.batch, training.step) == (4, 4 // settings.accumulate)
    assert next(module.parameters()).device.type == "meta"
    assert copies.count == 2 * training.batch  # the images, and what is drawn for them


@pytest.mark.usefixtures("like_a_gpu")
def test_augmented_fine_tuning_copies_to_the_device_once() -> None:
    images = torch.empty((4, 2, 16, 16, 16), device="meta")
    labels = torch.empty((4, 16, 16, 16), device="meta", dtype=torch.uint8)
    with Copies() as copies:
        Augmentation.model_validate("nnunet")(
            images, labels, generator=torch.Generator().manual_seed(0)
        )
    assert copies.count == 1


def test_the_count_would_notice() -> None:
    with Copies() as copies:
        torch.arange(3).to("meta")
        torch.empty(4, device="meta").index_select(0, torch.arange(2).to("meta"))
        torch.tensor([1, 2], device="meta")
        torch.ones(()).to("meta")
    assert copies.count == 4


def test_what_is_carried_arrives_as_it_was() -> None:
    sent = (
        torch.tensor([True, False, True]),
        torch.arange(6).view(2, 3),
        torch.rand(5, dtype=torch.float64),
        torch.empty(0, 3),
        torch.tensor(7, dtype=torch.int16),
    )
    assert transfer.carry(torch.device("cpu"), *sent) == sent
    made: list[Tensor] = []
    there = torch.device("cpu", 0)  # a device of another name, so that they are packed
    made += transfer.carry(there, *sent)
    for came, went in zip(made, sent, strict=True):
        assert came.dtype == went.dtype
        assert torch.equal(came, went)
