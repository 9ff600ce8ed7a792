"""Every installed component keeps its contract, check by check."""

from collections.abc import Iterator
from typing import Any

import pytest

from ssl_registry import Backbone, PretextTask, registry
from ssl_registry.testing import (
    Check,
    check_backbone,
    check_pretext_task,
    checks_of,
    checks_of_downstream_task,
    checks_of_pretext_task,
    parametrize_with_checks,
)

SMALL: dict[str, dict[str, Any]] = {
    "densenet121": {"growth": 4},
    "unet2d": {"base_filters": 4},
    "unet3d": {"base_filters": 4},
}
"""Fields that keep a component's check quick; the rest of it is as installed."""

TOGETHER = (
    "losses_are_finite_scalars",
    "gradients_reach_every_parameter",
    "training_lowers_the_loss",
)
"""The checks that depend on which backbone a task is tried on."""


def installed(kind: Any, dims: int | None = None) -> list[str]:
    return [entry.qualified_name for entry in registry.entries(kind, dims)]


def make(name: str) -> Any:
    return registry.create(name, **SMALL.get(name.rpartition(":")[2], {}))


def pairs(kind: Any) -> Iterator[Check]:
    """Yield the checks of every backbone with every task of its dimensions."""
    checks = checks_of_pretext_task if kind == "pretext" else checks_of_downstream_task
    for backbone in map(make, installed("backbone")):
        for task in map(make, installed(kind, backbone.spatial_dims)):
            yield from (c for c in checks(task, backbone=backbone) if c.name in TOGETHER)


@parametrize_with_checks([make(name) for name in installed(None)])
def test_a_component_keeps_its_contract(check: Check) -> None:
    check()


@parametrize_with_checks(sorted({entry.distribution for entry in registry.entries()}))
def test_a_distribution_is_a_sound_plugin(check: Check) -> None:
    check()


@parametrize_with_checks([*pairs("pretext")])
def test_every_backbone_learns_from_every_pretext_task(check: Check) -> None:
    check()


@parametrize_with_checks([*pairs("downstream")])
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
    with pytest.raises(TypeError, match="is no PretextTask, Backbone or DownstreamTask"):
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
