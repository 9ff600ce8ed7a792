"""Which checks there are for what, one by one or all at once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from ssl_registry.backbone import Backbone
from ssl_registry.component import Component
from ssl_registry.downstream import DownstreamTask
from ssl_registry.pretext import PretextTask
from ssl_registry.testing.backbone_checks import BACKBONE_CHECKS
from ssl_registry.testing.backbone_trial import BackboneTrial
from ssl_registry.testing.batch_checks import BATCH_CHECKS
from ssl_registry.testing.check import Check, bind
from ssl_registry.testing.component_checks import COMPONENT_CHECKS
from ssl_registry.testing.downstream_checks import DOWNSTREAM_CHECKS
from ssl_registry.testing.downstream_trial import DownstreamTrial
from ssl_registry.testing.learning_checks import LEARNING_CHECKS
from ssl_registry.testing.model_checks import MODEL_CHECKS
from ssl_registry.testing.plugin_checks import PLUGIN_CHECKS, find_plugin
from ssl_registry.testing.pretext_trial import PretextTrial

if TYPE_CHECKING:
    import pytest

C = TypeVar("C", bound=Component)

Checked = Component | type[Component] | str
"""A component, its class, or the name of an installed distribution."""


def checks_of_pretext_task(
    task: PretextTask | type[PretextTask],
    image_shape: tuple[int, ...] | None = None,
    channels: Sequence[int] = (1, 3),
    backbone: Backbone | None = None,
) -> list[Check]:
    """Return the checks of a pretext task; see `check_pretext_task` for the arguments."""
    made = _instance(task)
    shapes = (image_shape,) if image_shape else None
    trial = PretextTrial(made, shapes, tuple(channels), backbone)
    return [
        *bind(COMPONENT_CHECKS, trial),
        *(bind(BATCH_CHECKS, trial) if made.asks() else []),
        *bind(LEARNING_CHECKS, trial),
        *bind(MODEL_CHECKS, trial),
    ]


def checks_of_backbone(
    backbone: Backbone | type[Backbone],
    image_shapes: Sequence[tuple[int, ...]] | None = None,
    channels: Sequence[int] = (1, 2, 3, 4),
) -> list[Check]:
    """Return the checks of a backbone; see `check_backbone` for the arguments."""
    made = _instance(backbone)
    shapes = tuple(image_shapes) if image_shapes else None
    trial = BackboneTrial(made, shapes, tuple(channels))
    return [
        *bind(COMPONENT_CHECKS, trial),
        *bind(BACKBONE_CHECKS, trial),
        *bind(LEARNING_CHECKS, trial),
    ]


def checks_of_downstream_task(
    task: DownstreamTask | type[DownstreamTask],
    image_shape: tuple[int, ...] | None = None,
    backbone: Backbone | None = None,
) -> list[Check]:
    """Return the checks of a downstream task; see `check_downstream_task` for the arguments."""
    made = _instance(task)
    shapes = (image_shape,) if image_shape else None
    trial = DownstreamTrial(made, shapes, (1,), backbone)
    return [
        *bind(COMPONENT_CHECKS, trial),
        *bind(DOWNSTREAM_CHECKS, trial),
        *bind(LEARNING_CHECKS, trial),
    ]


def checks_of(checked: Checked) -> list[Check]:
    """Return all checks of a component, its class, or an installed distribution, by name.

        for check in checks_of(MyTask(tiles=3)):
            check()

    Args:
        checked: a component with the fields it should be checked with; its class, for the
            default fields; or the name of an installed plugin, for its entry points.

    Raises:
        UnknownPluginError: no plugin of that name is installed.
        TypeError: it implements none of the interfaces.
    """
    if isinstance(checked, str):
        return bind(PLUGIN_CHECKS, find_plugin(checked))
    made = _instance(checked)
    if isinstance(made, PretextTask):
        return checks_of_pretext_task(made)
    if isinstance(made, Backbone):
        return checks_of_backbone(made)
    if isinstance(made, DownstreamTask):
        return checks_of_downstream_task(made)
    raise TypeError(f"{made!r} is not a PretextTask, Backbone or DownstreamTask")


def check_pretext_task(
    task: PretextTask | type[PretextTask],
    image_shape: tuple[int, ...] | None = None,
    channels: Sequence[int] = (1, 3),
    backbone: Backbone | None = None,
) -> None:
    """Check that a pretext task keeps the contract of `PretextTask`.

    Args:
        task: with the fields it should be checked with, or its class.
        image_shape: spatial shape that it can work on; without it, 64 voxels a side in
            2D and 32 in 3D, or more where it refuses these.
        channels: numbers of image channels to try.
        backbone: what a few steps are trained with; without it, three convolutions.

    Raises:
        ConformanceError: something does not hold; the message says what, and what to read.
    """
    for check in checks_of_pretext_task(task, image_shape, channels, backbone):
        check()


def check_backbone(
    backbone: Backbone | type[Backbone],
    image_shapes: Sequence[tuple[int, ...]] | None = None,
    channels: Sequence[int] = (1, 2, 3, 4),
) -> None:
    """Check that a backbone keeps the contract of `Backbone` and builds true `Encoder`s.

    Args:
        backbone: with the fields it should be checked with, or its class.
        image_shapes: spatial shapes to try; it has to accept the first, and may refuse
            others with an `ImageShapeError`. Without them, a few with equal, unequal and odd
            sides.
        channels: numbers of input channels to try.

    Raises:
        ConformanceError: something does not hold; the message says what, and what to read.
    """
    for check in checks_of_backbone(backbone, image_shapes, channels):
        check()


def check_downstream_task(
    task: DownstreamTask | type[DownstreamTask],
    image_shape: tuple[int, ...] | None = None,
    backbone: Backbone | None = None,
) -> None:
    """Check that a downstream task keeps the contract of `DownstreamTask`.

    Args:
        task: with the fields it should be checked with, or its class.
        image_shape: spatial shape of the images; without it, 16 voxels a side, or more where
            the backbone refuses these.
        backbone: whose encoder it is tried on; without it, three convolutions.

    Raises:
        ConformanceError: something does not hold; the message says what, and what to read.
    """
    for check in checks_of_downstream_task(task, image_shape, backbone):
        check()


def parametrize_with_checks(checked: Sequence[Checked | Check]) -> "pytest.MarkDecorator":
    """Return a pytest decorator that makes one test of every check, by its name.

        @parametrize_with_checks([MyTask, MyTask(tiles=3), "my-distribution"])
        def test_it_keeps_the_contract(check):
            check()

    Args:
        checked: components, classes, names of distributions (see `checks_of`), or checks.
    """
    import pytest

    checks = [
        check for one in checked for check in ([one] if isinstance(one, Check) else checks_of(one))
    ]
    ids = [f"{check.subject}-{check.name}" for check in checks]
    return pytest.mark.parametrize("check", checks, ids=ids)


def _instance(component: "C | type[C]") -> "C":
    """Return a component; of a class, one with its default fields."""
    return component() if isinstance(component, type) else component
