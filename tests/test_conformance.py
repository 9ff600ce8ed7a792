"""Every installed component keeps its contract."""

from typing import Any

import pytest

from ssl_registry import (
    registry,
)
from ssl_registry.testing import check_backbone, check_downstream_task, check_pretext_task

SMALL: dict[str, dict[str, Any]] = {
    "densenet121": {"growth": 4},
    "unet2d": {"base_filters": 4},
    "unet3d": {"base_filters": 4},
}
"""Fields that keep a component's check quick; the rest of it is as installed."""


def installed(kind: Any, dims: int | None = None) -> list[str]:
    return [entry.qualified_name for entry in registry.entries(kind, dims)]


def make(name: str) -> Any:
    return registry.create(name, **SMALL.get(name.rpartition(":")[2], {}))


@pytest.mark.parametrize("name", installed("pretext"))
def test_pretext_task(name: str) -> None:
    check_pretext_task(make(name))


@pytest.mark.parametrize("name", installed("backbone"))
def test_backbone(name: str) -> None:
    check_backbone(make(name))


@pytest.mark.parametrize("name", installed("downstream"))
def test_downstream_task(name: str) -> None:
    check_downstream_task(make(name))


@pytest.mark.parametrize("backbone", installed("backbone"))
def test_every_backbone_learns_from_every_pretext_task(backbone: str) -> None:
    structure = make(backbone)
    for task in installed("pretext", structure.spatial_dims):
        check_pretext_task(make(task), channels=(1,), backbone=structure)


@pytest.mark.parametrize("backbone", installed("backbone"))
def test_every_backbone_serves_every_downstream_task(backbone: str) -> None:
    structure = make(backbone)
    for task in installed("downstream", structure.spatial_dims):
        check_downstream_task(make(task), backbone=structure)


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
