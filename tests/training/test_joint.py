"""Joint training: several tasks, one encoder, one pass of it for each."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ssl_registry import PretextModel, load_encoder, pretrain, registry
from ssl_registry.errors import ConfigError, PluginError, SslRegistryError
from ssl_registry.experiments.figures.pretext import draw_pretext
from tests.dense import register_dense
from tests.experiments.rows import make_pretrain_row

SMALL = {"base_filters": 2, "levels": 2}


def model_of(task: Any, levels: int = 2) -> PretextModel:
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        encoder = registry.create("unet3d", base_filters=2, levels=levels).build(1)  # type: ignore[attr-defined]
        model: PretextModel = task.build_model(encoder, (12, 12, 12))
    return model


def ask(model: PretextModel) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    images = torch.rand(2, 1, 12, 12, 12, generator=torch.Generator().manual_seed(1))
    return model(images, torch.Generator().manual_seed(2))  # type: ignore[no-any-return]


def test_the_encoder_sees_each_tasks_views_once() -> None:
    model = model_of(registry.create("joint", tasks=["rotation3d", "exemplar3d"]))
    passes = []
    model.encoder.register_forward_hook(lambda *_: passes.append(1))
    ask(model)
    assert len(passes) == 2


def test_the_loss_is_the_weighted_sum_and_each_part_is_shown() -> None:
    tasks = ["rotation3d", {"name": "rotation3d", "weight": 0.5, "levels": [1]}]
    loss, metrics = ask(model_of(registry.create("joint", tasks=tasks)))
    total = metrics["rotation3d_loss"] + 0.5 * metrics["rotation3d_2_loss"]
    assert torch.allclose(loss, total)
    assert {"rotation3d_accuracy", "rotation3d_2_accuracy"} <= metrics.keys()


def test_every_parameter_is_counted_once_and_trained() -> None:
    model = model_of(registry.create("joint", tasks=["rotation3d", "exemplar3d"]))
    parameters = list(model.parameters())
    assert len({id(one) for one in parameters}) == len(parameters)
    ask(model)[0].backward()  # type: ignore[no-untyped-call]
    assert all(one.grad is not None for one in parameters)


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        (["rotation3d"], "^[^\n]*at least 2[^\n]*$"),
        ("rotation3d", "it has a list of at least 2 tasks"),
        ({"rotation3d": 1, "rpl3d": 0.5}, r"\[rotation3d, \{name: rpl3d, weight: 0.5\}\]"),
        (["rotation3d", None], "^None is no task of a joint"),
        (["rotation3d", "rotation2d"], "rotation3d in 3D, rotation2d in 2D"),
        (["rotation3d", "unet3d"], "unet3d is not a pretext task"),
        (["rotation3d", {"name": "rotation3d", "weight": 0}], "^[^\n]*weight=0[^\n]*$"),
        (["rotation3d", "rotaton3d"], "rotation3d"),
    ],
)
def test_what_does_not_belong_together_is_refused(tasks: Any, words: str) -> None:
    with pytest.raises(SslRegistryError, match=words):
        registry.create("joint", tasks=tasks)


def test_weights_are_said_at_each_task() -> None:
    with pytest.raises(ConfigError, match=r"rotation3d, \{name: rpl3d, weight: 0.5\}"):
        registry.create("joint", tasks=["rotation3d", "rpl3d"], weights=[1, 0.5])


def test_a_task_whose_loss_has_no_gradient_is_not_hidden_by_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Detached3d(type(registry.create("rotation3d"))):  # type: ignore[misc]
        """Teaches nothing."""

        def loss(self, outputs: Any, target: Any) -> Any:
            return super().loss(outputs, target).detach()

    monkeypatch.setattr(registry, "_registered", {})
    registry.register(Detached3d, name="detached3d")
    model = model_of(registry.create("joint", tasks=["rotation3d", "detached3d"]))
    with pytest.raises(PluginError, match="Detached3d.*no gradient.*teaches nothing"):
        ask(model)
    ask(model.eval())


def test_stacked_and_single_views_are_refused_with_their_channels() -> None:
    tasks = ["rotation3d", {"name": "jigsaw3d", "fusion": "early"}]
    with pytest.raises(ConfigError, match="1 for rotation3d, 27 for jigsaw3d"):
        registry.create("joint", tasks=tasks).view_channels(1)  # type: ignore[attr-defined]


def test_a_joint_run_shows_each_part_and_keeps_the_decoder(tmp_path: Path) -> None:
    dense = register_dense()
    run = pretrain(
        task={"name": "joint", "tasks": ["rotation3d", {"name": dense, "weight": 2.0}]},
        backbone=SMALL,
        data="phantoms:8",
        size=16,
        epochs=1,
        batch_size=2,
        validate_every=1,
        device="cpu",
        out=tmp_path / "joint",
        quiet=True,
    )
    with (run.folder / "metrics.csv").open() as file:
        (row,) = csv.DictReader(file)
    shown = {"val_rotation3d_loss", "val_rotation3d_accuracy", f"val_{dense}_squared"}
    assert shown <= row.keys()
    note = run.result["learnt_note"]
    assert "rotation3d" in note
    assert f"{dense} " in note
    written = json.loads((run.folder / "encoder.json").read_text())
    assert written["decoder"]["structure"] == "UNetDecoder"
    assert (run.folder / "decoder.safetensors").is_file()
    assert isinstance(load_encoder(run.folder), nn.Module)
    figure = draw_pretext([make_pretrain_row("both", 0, folder=run.folder)])
    assert figure is not None
    named = {text.get_text() for axes in figure.axes for text in axes.texts} - {""}
    assert {"both: rotation3d", f"both: {dense}"} <= named


def test_dense_and_global_questions_are_asked_together() -> None:
    tasks = [
        "fusion3d",
        {"name": "place3d", "weight": 10},
        "genesis3d",
        {"name": "voco3d", "grid": 2},
    ]
    task = registry.create("joint", tasks=tasks)
    model = model_of(task)
    loss, metrics = ask(model)
    loss.backward()  # type: ignore[no-untyped-call]
    parts = [metrics[f"{name}3d_loss"] for name in ("fusion", "place", "genesis", "voco")]
    assert torch.allclose(loss, sum(w * part for w, part in zip((1, 10, 1, 1), parts, strict=True)))  # type: ignore[arg-type]
    first, *_ = model.models  # type: ignore[misc]
    assert model.parts()["decoder"] is first.parts()["decoder"]  # type: ignore[operator]
