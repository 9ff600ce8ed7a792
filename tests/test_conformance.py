"""Every installed component keeps its contract, check by check."""

from collections.abc import Iterator
from typing import Any

import pytest

from ssl_registry import Backbone, PretextTask, registry
from ssl_registry.errors import ImageShapeError
from ssl_registry.testing import (
    Check,
    ConformanceError,
    check_backbone,
    check_pretext_task,
    checks_of,
    checks_of_downstream_task,
    checks_of_pretext_task,
    parametrize_with_checks,
)
from ssl_registry.testing.batch_checks import BATCH_CHECKS
from ssl_registry.testing.component_checks import COMPONENT_CHECKS

SMALL: dict[str, dict[str, Any]] = {
    "densenet121": {"growth": 4},
    "monai-basicunet3d": {"features": (4, 4, 8, 8, 16)},
    "monai-segresnet3d": {"blocks_down": (1, 1, 1)},
    "monai-swinunetr3d": {"feature_size": 12, "depths": (1, 1, 1, 1)},
    "unet2d": {"base_filters": 4},
    "unet3d": {"base_filters": 4},
    **{
        f"nnunet-{kind}{dims}d": {"n_stages": 3, "features_per_stage": (4, 6, 8)}
        for kind in ("plainconv", "resenc")
        for dims in (2, 3)
    },
}
"""Fields that keep a component's check quick; the rest of it is as installed."""

CHECKED_ELSEWHERE = {"ssl-registry-monai", "ssl-registry-nnunet", "ssl-registry-timm"}
"""Distributions whose large networks are checked once, by their own tests."""

TOGETHER = {"losses_are_finite_scalars", "gradients_reach_every_parameter"}
"""The checks that depend on which backbone a task is tried on; training with small ones."""

COMPILED = {"unet2d", "rotation2d", "byol2d", "fusion2d", "segmentation2d", "joint"}
"""What is compiled every day: a network, a question, a model of its own, an image for an answer."""

IN_DEPTH = {"rotation3d", "rpl3d", "joint"}
"""Tasks whose networks in 3D are checked every day as they are in 2D; of the others, gradients."""

LIGHT_IN_3D = {check.__name__ for check in (*COMPONENT_CHECKS, *BATCH_CHECKS)} | {
    "gradients_reach_every_parameter"
}


def installed(kind: Any, dims: int | None = None) -> list[str]:
    return [entry.qualified_name for entry in registry.entries(kind, dims)]


def bare(name: str) -> str:
    return name.rpartition(":")[2]


def make(name: str) -> Any:
    fields = SMALL.get(bare(name), registry.get(name).example_fields)
    return registry.create(name, **fields)


USUAL = {"unet2d", "unet3d"}
"""The backbones on which the examples are tried: a task's own checks have one of them already."""

EXAMPLES = {"rotation2d", "rotation3d", "fusion2d", "fusion3d", "classification2d"}
"""Tasks of one view, and with a decoder."""

SEVERAL = {"rpl2d", "rpl3d", "segmentation2d", "segmentation3d"}
"""Tasks that every backbone is tried on: of several views, and with a decoder."""

SLOW = {("monai-swinunetr3d", "segmentation3d")}
"""A pair that takes ten times as long as any other."""


def is_daily(backbone: str, task: str, check: str) -> bool:
    """Return whether `make test` has a check of a backbone with a task, or `make test-long`."""
    tried = EXAMPLES | SEVERAL if backbone in USUAL else SEVERAL
    lighter = check == "gradients_reach_every_parameter" or backbone in USUAL
    return task in tried and lighter and (backbone, task) not in SLOW


def pairs(kind: Any, *, daily: bool) -> Iterator[Check]:
    """Yield the checks of backbones with tasks of their dimensions: the daily ones or the rest."""
    for name in installed("backbone"):
        backbone, small = make(name), name.partition(":")[0] not in CHECKED_ELSEWHERE
        wanted = TOGETHER | ({"training_lowers_the_loss"} if small else set())
        dims = backbone.spatial_dims
        for named in installed(kind, dims):
            task = make(named)
            if kind == "pretext":
                shape = (64, 64) if dims == 2 else (32, 32, 32)
                checks = checks_of_pretext_task(task, shape, backbone=backbone)
            else:
                checks = checks_of_downstream_task(task, backbone=backbone)
            for check in checks:
                if check.name in wanted and daily == is_daily(bare(name), bare(named), check.name):
                    yield check


def alone(*, daily: bool) -> Iterator[Check]:
    """Yield the checks of every component by itself: the daily ones or the rest."""
    for name in installed(None):
        if name.partition(":")[0] in CHECKED_ELSEWHERE:
            continue
        component, called = make(name), bare(name)
        light = isinstance(component, PretextTask) and component.spatial_dims == 3
        for check in checks_of(component):
            compiled = check.name == "compiling_changes_nothing"
            now = called in COMPILED if compiled else check.name in LIGHT_IN_3D or not light
            if daily == (now or (called in IN_DEPTH and not compiled)):
                yield check


@parametrize_with_checks([*alone(daily=True)])
def test_a_component_keeps_its_contract(check: Check) -> None:
    check()


@pytest.mark.long
@parametrize_with_checks([*alone(daily=False)])
def test_a_component_keeps_the_rest_of_its_contract(check: Check) -> None:
    check()


@parametrize_with_checks(sorted({entry.distribution for entry in registry.entries()}))
def test_a_distribution_is_a_sound_plugin(check: Check) -> None:
    check()


@parametrize_with_checks([*pairs("pretext", daily=True)])
def test_a_backbone_learns_from_a_pretext_task_or_refuses_its_views(check: Check) -> None:
    learn_or_refuse(check)


@pytest.mark.long
@parametrize_with_checks([*pairs("pretext", daily=False)])
def test_every_backbone_learns_from_every_pretext_task_or_refuses_its_views(check: Check) -> None:
    learn_or_refuse(check)


def learn_or_refuse(check: Check) -> None:
    try:
        check()
    except ConformanceError as failure:
        refusal = failure.__cause__
        if not isinstance(refusal, ImageShapeError) or "`size`" not in str(refusal):
            raise


@parametrize_with_checks([*pairs("downstream", daily=True)])
def test_a_backbone_serves_a_downstream_task(check: Check) -> None:
    check()


@pytest.mark.long
@parametrize_with_checks([*pairs("downstream", daily=False)])
def test_every_backbone_serves_every_downstream_task(check: Check) -> None:
    check()


def test_something_is_installed_to_be_checked() -> None:
    assert {
        "ssl-registry:densenet121",
        "ssl-registry:unet2d",
        "ssl-registry:unet3d",
    } <= set(installed("backbone"))
    assert {
        f"ssl-registry:{task}{dims}d"
        for task in ("classification", "segmentation")
        for dims in (2, 3)
    } <= set(installed("downstream"))
    assert {"ssl-registry-rotation:rotation3d", "ssl-registry-rpl:rpl3d"} <= set(
        installed("pretext")
    )


def test_a_class_stands_for_its_default_fields() -> None:
    cls = registry.get("rotation2d")
    assert checks_of(cls) != []
    assert [c.name for c in checks_of(cls)] == [
        c.name for c in checks_of(registry.create("rotation2d"))
    ]


def test_what_is_no_component_is_refused() -> None:
    with pytest.raises(TypeError, match="is not a PretextTask, Backbone or DownstreamTask"):
        checks_of(dict)  # type: ignore[arg-type]


def test_all_at_once_is_the_same_as_one_by_one() -> None:
    task, backbone = make("rotation2d"), registry.create("unet2d", base_filters=2, levels=2)
    assert isinstance(task, PretextTask)
    assert isinstance(backbone, Backbone)
    check_pretext_task(task, image_shape=(16, 16), channels=(1,))
    check_backbone(backbone, image_shapes=[(32, 32)], channels=(1,))


def test_checks_are_named_described_and_documented() -> None:
    for check in checks_of(registry.create("rotation2d")):
        assert check.name.isidentifier()
        assert check.contract.splitlines()[0].endswith((".", ":"))
        assert check.documented == f"docs/reference/conformance.md#{check.name}"
        assert check.subject == "Rotation2d"
