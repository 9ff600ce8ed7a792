"""One fine-tuned model of an ensemble, and its probabilities for an image."""

from typing import Final

import torch
from torch import Tensor

from ssl_registry.data.cache.threads import one_thread
from ssl_registry.data.formats.scans import Scan
from ssl_registry.data.preparing.slice_answers import answer_slices, as_volume
from ssl_registry.data.preparing.slice_order import Placed
from ssl_registry.data.preparing.sliding_window import slide
from ssl_registry.errors import DataError
from ssl_registry.training.engine.answering import answering
from ssl_registry.training.finetuning.downstream_model import DownstreamModel
from ssl_registry.training.finetuning.mirroring import mirrored
from ssl_registry.training.finetuning.model_file import ModelSummary

WINDOWS: Final = 4
"""Windows of one image, or slices of one volume, that are answered together without a word of the
run that trained the model."""


class Member:
    """A model that answers for one image at a time.

    Args:
        model: in evaluation mode.
        summary: how to use it.
        device: where to compute.
        mirror: axes along which images are mirrored.
        windows: windows of one image, or slices of one volume, that are answered together.
        precision: of the run that trained it.
    """

    def __init__(
        self,
        model: DownstreamModel,
        summary: ModelSummary,
        device: torch.device,
        mirror: tuple[int, ...] = (),
        windows: int = WINDOWS,
        precision: str = "32-true",
    ) -> None:
        dense = summary.downstream.target_kind == "mask"
        self.network = model.to(device)
        if device.type == "cpu":  # as training lays it out: so answers are the same to the bit
            three = summary.backbone.spatial_dims == 3
            self.network.to(memory_format=torch.channels_last_3d if three else torch.channels_last)
        self.model = mirrored(self.network, mirror, dense=dense)
        self.summary, self.device, self.windows = summary, device, windows
        self.precision = precision

    def probabilities(self, image: Tensor) -> Tensor:
        """Return the probabilities `[K, *S]`, or `[K]`, for an image `[C, *S]`, on the CPU."""
        try:
            return self._probabilities(image)
        except RuntimeError:  # as of a `view` of features that do not lie as it expects
            self.network.to(memory_format=torch.contiguous_format)
            return self._probabilities(image)

    def _probabilities(self, image: Tensor) -> Tensor:
        with answering(self.precision, self.device):
            image = image.to(self.device)
            if self.summary.slices is None:
                answered = self.summary.downstream.probabilities(self._outputs(image[None]))
                return answered[0].cpu()
            outputs = answer_slices(image, self.windows, self._outputs)
            if self.summary.downstream.target_kind == "class":
                outputs = as_volume(outputs)[None]
                return self.summary.downstream.probabilities(outputs)[0].cpu()
            return as_volume(self.summary.downstream.probabilities(outputs).cpu())

    def _outputs(self, images: Tensor) -> Tensor:
        """Return the outputs for images `[B, C, *S]`, in one piece or by sliding windows."""
        if not self.summary.patches:
            return self.model(images)
        return torch.stack(
            [slide(image, self.summary.size, self.windows, self.model) for image in images]
        )

    def place(self, scan: Scan, name: str) -> Placed:
        """Return an image as the model sees it.

        Raises:
            DataError: it cannot be prepared, or has other channels.
        """
        summary = self.summary
        channels = scan["image"].data.shape[0]
        if channels != summary.in_channels:
            raise DataError(
                f"{name} has {channels} channels; the model takes {summary.in_channels}"
            )
        size = None if summary.patches else summary.size
        with one_thread():
            return summary.preprocessing.place(scan, size, name, summary.slices)
