"""Downstream tasks: what the pretrained encoder is for."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Literal, NamedTuple

from pydantic import Field
from torch import Tensor, nn

from ssl_registry.backbone import Encoder
from ssl_registry.component import Component
from ssl_registry.heads import decoder_of, matching_weights

PAGE: Final = "docs/reference/conformance.md"
"""Where it is written what a downstream task has to do."""


class Takeover(NamedTuple):
    """What a downstream head took over of a pretrained decoder.

    Attributes:
        taken: names of the head's own parameters and buffers that were pretrained.
        fresh: names of those of its decoder that begin anew.
        left: names of the pretrained ones that found no place.
    """

    taken: frozenset[str]
    fresh: frozenset[str]
    left: frozenset[str]


class DownstreamTask(Component, ABC):
    """A supervised task that an encoder is fine-tuned for.

    Attributes:
        headline: the key of `score` that figures and result lines quote; higher is better.
        target_kind: what predictions and targets are: `"mask"`, one class index per voxel
            `[B, *S]`, or `"class"`, one per image `[B]`; int64 both.
    """

    headline: ClassVar[str]
    target_kind: ClassVar[Literal["mask", "class"]] = "mask"

    freeze_epochs: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="epochs in which a pretrained encoder, batch statistics too, is frozen",
    )

    @abstractmethod
    def build_head(self, encoder: Encoder, num_classes: int) -> nn.Module:
        """Return the module that turns the pyramid `[B, C_l, *S_l]`, finest first, into outputs."""

    def take_over(
        self, head: nn.Module, weights: Mapping[str, Tensor], levels: int | None = None
    ) -> Takeover:
        """Give a head the weights of a pretrained decoder that fit it, in place; say which.

        Without more these are the weights of equal name and shape, but for the layer that answers.

        Args:
            head: that `build_head` has made.
            weights: of the decoder that a pretext task trained.
            levels: how many of the encoder's finest levels are taken over; what of the decoder
                works on coarser ones begins anew. None for all.
        """
        decoder = decoder_of(head)
        if decoder is None:
            return Takeover(frozenset(), frozenset(), frozenset(weights))
        fitting = matching_weights(decoder, weights, levels)
        decoder.load_state_dict({**decoder.state_dict(), **fitting})
        prefix = next(name for name, module in head.named_modules() if module is decoder)
        full = {name: f"{prefix}.{name}" if prefix else name for name in decoder.state_dict()}
        taken = frozenset(full[name] for name in fitting)
        return Takeover(
            taken, frozenset(full.values()) - taken, frozenset(weights) - frozenset(fitting)
        )

    @abstractmethod
    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the scalar to be lowered."""

    @abstractmethod
    def predict(self, outputs: Tensor) -> Tensor:
        """Return hard predictions: class indices (int64), as `target_kind` says."""

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return the probability of each class, `[B, K, *S]` or `[B, K]`; they add up to 1.

        Without more the outputs are taken for scores before the softmax. Whoever means
        something else by them says here what.
        """
        return outputs.float().softmax(dim=1)

    @abstractmethod
    def score(
        self, predictions: Sequence[Tensor] | Tensor, targets: Sequence[Tensor] | Tensor
    ) -> dict[str, float]:
        """Return named scores over cases (first axis, or one item each), `headline` among them."""

    def chance(self, targets: Sequence[Tensor] | Tensor) -> float | None:
        """Return the headline of the best answer that does not look at the images.

        By it a run says whether it learnt anything. None, which is said without more, where
        nobody can say.

        Args:
            targets: of the cases (first axis, or one item each).
        """
        return None

    def describe_case(self, prediction: Tensor, target: Tensor) -> dict[str, float]:
        """Return what `result.json` says about one test case; without more, its own score.

        Args:
            prediction: of that case, without the batch axis: `[*S]` or, of a class, `[]`.
            target: likewise.
        """
        return self.score([prediction], [target])

    def measure_case(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        spacing: Sequence[float] | None = None,
        probabilities: Tensor | None = None,
    ) -> dict[str, float]:
        """Return what else `result.json` says about one test case; without more, nothing.

        What takes long, or needs more than the labels, and would be too much for every
        validation. A value that is undefined is left out.

        Args:
            prediction: of that case, `[*S]` on the grid of its file or, of a class, `[]`.
            target: likewise.
            spacing: of the voxels in mm, one for each axis of a mask; 1 each for pictures.
            probabilities: of a class, `[K]`; None for masks.
        """
        return {}

    def summarise(self, cases: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """Return scores over all test cases beside those of `score`; without more, none.

        They stand beside the headline in `result.json`, `results.csv` and the report.

        Args:
            cases: what `describe_case` and `measure_case` say, one for each test case.
        """
        return {}
