"""The checks of a backbone see one that breaks its contract in a single respect."""

import random
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssl_registry import Backbone, Encoder, ForeignWeights, LibraryWeights
from ssl_registry.errors import ImageShapeError
from ssl_registry.testing import ConformanceError, check_backbone, checks_of_backbone
from ssl_registry.testing.component_checks import COMPONENT_CHECKS


class Halves(Encoder):
    """Two levels; what is wrong with it is asked of the backbone that built it."""

    def __init__(self, in_channels: int, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.in_channels = 1 if fault == "in_channels" else in_channels
        self.channels = (2, 5) if fault == "channels" else (2, 4)
        self.strides = ((1, 1), (3, 3)) if fault == "strides" else ((1, 1), (2, 2))
        if fault == "one stride for all axes":
            self.strides = (1, 2)  # type: ignore[assignment]
        if fault == "coarse first":
            self.channels, self.strides = (4, 2), ((2, 2), (1, 1))
        self.fine = nn.Conv2d(in_channels, 2, 3, padding=1)
        self.coarse = nn.Conv2d(2, 4, 3, padding=1, stride=2)
        if fault == "spare layer":
            self.spare = nn.Linear(1, 1)
        if fault == "constant weights":
            for parameter in self.parameters():
                nn.init.constant_(parameter, 0.1)
        if fault == "weights of its own":
            generator = torch.Generator()
            generator.seed()
            nn.init.normal_(self.fine.weight, generator=generator)
        if fault == "attribute":
            self.offset = torch.rand(2, 1, 1)
        if fault == "tied":
            self.again = nn.Parameter(self.fine.bias.data)

    def forward(self, x: Tensor) -> list[Tensor]:
        if self.fault == "odd sides" and x.shape[-1] % 2:
            raise RuntimeError("sides must be even")
        if self.fault == "odd sides in words" and x.shape[-1] % 2:
            raise ImageShapeError("sides must be even: change `size`")
        if self.fault == "no size":
            raise ImageShapeError("too large")
        return self.pyramid(self.changed(self.fine(self.seen(x))))

    def seen(self, x: Tensor) -> Tensor:
        if self.fault == "python":
            random.random()
        if self.fault == "numpy":
            np.random.rand()
        if self.fault == "in place":
            x.clamp_(max=0.5)
        if self.fault == "any channels":
            return x.mean(1, keepdim=True).expand(-1, self.in_channels, -1, -1)
        return x - x.mean(0) if self.fault == "batch" else x

    def changed(self, fine: Tensor) -> Tensor:
        if self.fault == "autocast":
            mixed = torch.zeros(fine.shape)
            mixed[torch.ones(len(mixed), dtype=torch.bool)] = fine
        if self.fault == "stuck" and fine.requires_grad:
            fine.register_hook(torch.neg)
        if self.fault == "compiled" and torch.compiler.is_compiling():
            return fine * 0
        change: dict[str, Callable[[], Tensor]] = {
            "attribute": lambda: fine + self.offset,
            "tied": lambda: fine + self.again.view(-1, 1, 1),
            "noise": lambda: fine + torch.rand_like(fine),
            "float32": fine.float,
            "nan": lambda: fine / 0,
        }
        return change.get(self.fault, lambda: fine)()

    def pyramid(self, fine: Tensor) -> list[Tensor]:
        if self.fault == "levels":
            return [fine]
        coarse = self.coarse(fine.to(self.coarse.weight.dtype))
        return [coarse, fine] if self.fault == "coarse first" else [fine, coarse]


WIDTHS = count(1)
"""A width for each network of a backbone that never builds the same."""


class HalvesBackbone(Backbone):
    spatial_dims: ClassVar[Literal[2, 3]] = 2
    weight_formats: ClassVar[tuple[str, ...]] = ("halves",)

    fault: str = ""

    def for_shape(
        self, image_shape: tuple[int, ...], spacing: tuple[float, ...] | None = None
    ) -> Self:
        if not self.fault.startswith("shape"):
            return self
        return self.model_copy(update={"fault": f"shape {image_shape}"})

    def build(self, in_channels: int) -> Encoder:
        if self.fault == "no encoder":
            return cast(Encoder, nn.Conv2d(in_channels, 2, 3))
        encoder = Halves(in_channels, self.fault)
        if self.fault == "another network each time":
            encoder.spare = nn.Linear(next(WIDTHS), 1)
        return encoder

    def library_weights(self, encoder: Encoder, outputs: int) -> LibraryWeights:
        return LibraryWeights("halves", encoder.state_dict(), "model = Halves(1)")

    def read_weights(self, content: Mapping[str, Any]) -> ForeignWeights | None:
        if self.fault == "stumbles":
            content["fine.weight"]
        if self.fault == "reads everything":
            return ForeignWeights("halves", content, {})
        if self.fault not in ("mixes names up", "unknown format") or "fine.bias" not in content:
            return None
        names = {"coarse.bias": "fine.bias"} if self.fault == "mixes names up" else {}
        return ForeignWeights("halves" if names else "nobody's", content, names)


BROKEN: dict[str, list[tuple[str, str]]] = {
    "an_encoder_is_built": [("no encoder", "came +Conv2d"), ("in_channels", "in_channels=2")],
    "equal_seeds_give_equal_weights": [("weights of its own", "equal seeds")],
    "other_seeds_give_other_weights": [("constant weights", "differ with the seed")],
    "encoders_leave_global_streams_alone": [("python", "moved"), ("numpy", "moved")],
    "strides_grow": [
        ("coarse first", r"\[\(2, 2\), \(1, 1\)\]"),
        ("one stride for all axes", r"one for each spatial axis"),
    ],
    "levels_have_the_promised_shape": [
        ("channels", "5 channels at strides .2, 2."),
        ("strides", "4 channels at strides .3, 3."),
        ("levels", "as many levels"),
        ("odd sides", "sides must be even"),
        ("no size", "too large"),
    ],
    "networks_for_a_shape_are_in_their_fields": [("shape", "fields that were set")],
    "features_do_not_depend_on_the_batch": [("batch", "depending on the batch")],
    "evaluation_repeats_itself": [("noise", "equal features twice")],
    "encoders_leave_images_alone": [("in place", "changed images")],
    "features_keep_the_dtype": [("float32", "features of torch.float64")],
    "wrong_channels_are_refused": [("any channels", "an error from 2 channels where 1")],
    "weights_go_through_the_encoder_file": [
        ("attribute", "encoder that was loaded"),
        ("tied", "share memory"),
    ],
    "encoder_files_are_read_back": [("another network each time", "from its own weights")],
    "files_of_others_are_left_alone": [
        ("reads everything", "None from read_weights of"),
        ("stumbles", "KeyError"),
    ],
    "weights_come_back_from_the_library": [
        ("mixes names up", "the tensor that was written"),
        ("unknown format", "a format of weight_formats"),
    ],
    "losses_are_finite_scalars": [("nan", "came +nan")],
    "gradients_reach_every_parameter": [("spare layer", "finite gradient for spare.weight")],
    "training_lowers_the_loss": [("stuck", "a loss below")],
    "compiling_changes_nothing": [("compiled", "when compiled")],
    "autocast_works": [("autocast", "dtype")],
    "work_stays_on_the_device": [("attribute", "device 'meta'")],
}
"""For every check of a backbone, the faults it has to catch."""

CASES = [(check, fault, words) for check, cases in BROKEN.items() for fault, words in cases]


@pytest.mark.parametrize("fault", ["", "odd sides in words"])
def test_a_sound_backbone_passes(fault: str) -> None:
    check_backbone(HalvesBackbone(fault=fault))


@pytest.mark.parametrize(("check", "fault", "words"), CASES)
def test_a_check_catches_a_broken_backbone(check: str, fault: str, words: str) -> None:
    checks = checks_of_backbone(HalvesBackbone(fault=fault))
    (found,) = [one for one in checks if one.name == check]
    with pytest.raises(ConformanceError, match=f"(?s){check} does not hold.*{words}"):
        found()


def test_every_check_of_a_backbone_is_proved_by_a_broken_one() -> None:
    shared = {check.__name__ for check in COMPONENT_CHECKS}
    checks = [check.name for check in checks_of_backbone(HalvesBackbone)]
    assert list(BROKEN) == [name for name in checks if name not in shared]
    assert shared < set(checks)
