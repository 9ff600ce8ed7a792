"""Classes registered in this process alone, for notebooks and tests."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor, nn

from ssl_registry import Encoder, PretextBatch, PretextTask
from ssl_registry.errors import NameConflictError, PluginError, PluginWarning, UnknownComponentError

if TYPE_CHECKING:
    from conftest import Site


class Question(PretextTask):
    """Is anything there?

    A second paragraph.
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2

    doubt: float = 0.5

    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        return PretextBatch(images[:, None], None, {})

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        return nn.Identity()

    def loss(self, outputs: Tensor, target: Tensor | None) -> Tensor:
        return outputs.mean()


def test_a_class_can_be_registered_without_a_package(site: "Site") -> None:
    registry = site.registry()
    assert registry.register(Question, name="question2d") is Question
    found = registry.find("question2d")
    assert (found.kind, found.dims, found.summary) == ("pretext", 2, "Is anything there?")
    assert found.qualified_name == "in-process:question2d"
    assert registry.get("question2d") is Question
    made = registry.create("in-process:question2d", doubt=0.25)
    assert registry.create(registry.spec_of(made)) == made
    assert "question2d" in [e.name for e in registry.entries("pretext", 2)]


def test_a_summary_can_be_given(site: "Site") -> None:
    registry = site.registry()
    registry.register(Question, name="question2d", summary="Mine")
    assert registry.find("question2d").summary == "Mine"


def test_another_registry_knows_nothing_of_it(site: "Site") -> None:
    site.registry().register(Question, name="question2d")
    with pytest.raises(UnknownComponentError):
        site.registry().get("question2d")


def define(doubt: float) -> type[PretextTask]:
    """Return what the same notebook cell defines when it is run again."""

    class Cell(Question):
        doubt: float = 0.0

    Cell.model_fields["doubt"].default = doubt
    Cell.model_rebuild(force=True)
    return Cell


def test_running_a_cell_again_replaces_the_class(site: "Site") -> None:
    registry = site.registry()
    first, second = define(0.1), define(0.9)
    registry.register(first, name="cell2d")
    assert registry.get("cell2d") is first
    registry.register(second, name="cell2d")
    assert registry.get("cell2d") is second
    assert registry.create("cell2d").model_dump() == {"doubt": 0.9}
    assert len([e for e in registry.entries() if e.name == "cell2d"]) == 1


@pytest.mark.parametrize("taken", ["unet3d", "a3d", "cell2d"])
def test_a_taken_name_cannot_be_registered(site: "Site", taken: str) -> None:
    site.offer("acme", '[Entry("a3d", "fake_components:Task", dims=3)]')
    registry = site.registry()
    registry.register(define(0.1), name="cell2d")
    before = registry.find(taken)
    with pytest.raises(NameConflictError, match=f"{before.qualified_name}: choose another"):
        registry.register(Question, name=taken)
    assert registry.find(taken) == before


class WithoutDims(Question):
    spatial_dims: ClassVar[Any] = 4


class Abstract(PretextTask):
    spatial_dims: ClassVar[Literal[2, 3]] = 2


@pytest.mark.parametrize(
    ("cls", "name", "message"),
    [
        (Question, "Question2d", "'Question2d' is not lower-case"),
        (Question, "in:process", "'in:process' is not lower-case"),
        (Question, "", "'' is not lower-case"),
        (dict, "question2d", "not a subclass of any of PretextTask, Backbone, DownstreamTask"),
        (Question(), "question2d", "not a subclass of any of"),
        (WithoutDims, "question2d", "spatial_dims must be 2 or 3"),
        (Abstract, "question2d", "does not implement build_head, loss, make_batch"),
    ],
)
def test_what_cannot_be_registered_is_refused(
    site: "Site", cls: Any, name: str, message: str
) -> None:
    registry = site.registry()
    with pytest.raises(PluginError, match=message):
        registry.register(cls, name=name)
    assert all(e.distribution != "in-process" for e in registry.entries())


def test_registering_survives_a_broken_plugin(site: "Site") -> None:
    site.install("broken", "import no_such_package")
    registry = site.registry()
    with pytest.warns(PluginWarning):
        registry.register(Question, name="question2d")
    assert registry.get("question2d") is Question
