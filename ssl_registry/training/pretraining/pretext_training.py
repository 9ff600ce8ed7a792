"""A pretext model in training, and in its closing examination."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ssl_registry.authors_errors import blame, spell_component
from ssl_registry.data.cache.datasets import PreparedImages
from ssl_registry.data.cache.patches import Patches
from ssl_registry.errors import PluginError, SslRegistryError
from ssl_registry.pretext_model import PAGE, CaseInfo, Moment, PretextModel, check_answer
from ssl_registry.training.engine.trained import Trained
from ssl_registry.training.preparation.case_infos import info_of
from ssl_registry.training.settings.runs import PretrainSettings


class Pretraining(Trained):
    """A pretext model in training.

    Args:
        model: that the task has built.
        settings: of the run.
        infos: what is known of each case, by its name; nothing where that is of no interest.
    """

    settings: PretrainSettings

    def __init__(
        self,
        model: PretextModel,
        settings: PretrainSettings,
        infos: Mapping[str, CaseInfo] | None = None,
    ) -> None:
        super().__init__(settings, "pretrain")
        self.model = model
        self.infos = infos or {}

    def training_step(
        self, batch: Tensor, generator: torch.Generator, moment: Moment
    ) -> dict[str, Tensor]:
        """Ask the question of images `[B, C, *S]`."""
        task = self.settings.task
        with blame(task, "the model's forward"):
            answer = self.model(batch, generator, moment)
        loss, metrics = check_answer(answer, spell_component(task))
        return {"loss": loss, **metrics}

    def validation_step(
        self, batch: Tensor, generator: torch.Generator, moment: Moment
    ) -> dict[str, Tensor]:
        """Ask the same questions in every epoch, so the curve moves only with the model."""
        return self.training_step(batch, generator, moment)

    @property
    def acts_after_step(self) -> bool:
        """Whether the model does something after a step."""
        return type(self.model).after_step is not PretextModel.after_step

    def after_step(self, moment: Moment) -> None:
        """Let the model do what it does after a step."""
        with blame(self.settings.task, "the model's after_step"):
            self.model.after_step(moment)

    def cases_of(self, data: Dataset[Any], indices: Sequence[int]) -> Sequence[CaseInfo]:
        """Return what is known of these images."""
        if not self.infos or not isinstance(data, (PreparedImages, Patches)):
            return ()
        return [info_of(data.seen_at(index), self.infos) for index in indices]

    def explain(self, error: RuntimeError) -> SslRegistryError | None:
        """Say whose the fault is where an author kept a graph or wrote over what a loss needs."""
        said = str(error)
        who = spell_component(self.settings.task)
        if "backward through the graph a second time" in said:
            return PluginError(
                f"{who}: something was kept from one step to the next with the graph that computed "
                "it, as a head, a queue or a centre may do: keep it with .detach(); "
                f"see {PAGE}"
            )
        if "modified by an inplace operation" in said:
            return PluginError(
                f"{who}: a tensor that the loss was computed from was written over before the "
                "gradient was, as a queue may be: read a copy of it, as heads.Queue does, or write "
                f"in after_step; see {PAGE}"
            )
        if "does not require grad" in said:
            return PluginError(
                f"{who}: the loss has no gradient: it was detached, or computed under no_grad or "
                f"from a teacher alone; see {PAGE}"
            )
        return None


class Exam:
    """The batches of validation images that the examination asks about, and when it does."""

    def __init__(self, module: Pretraining, loader: DataLoader[Tensor]) -> None:
        self.module, self.loader = module, loader

    def __iter__(self) -> Iterator[tuple[Tensor, Moment]]:
        epochs = self.module.settings.epochs
        for images, indices in zip(self.loader, self.loader.batch_sampler or (), strict=True):
            cases = self.module.cases_of(self.loader.dataset, indices)
            yield images, Moment(epochs, epochs, epochs, cases)
