"""Joint training: several pretext tasks teach one encoder."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, InstanceOf, model_serializer, model_validator
from torch import Tensor, nn

from ssl_registry.authors_errors import blame, spell_component
from ssl_registry.backbone import Encoder
from ssl_registry.errors import ConfigError, PluginError
from ssl_registry.pretext import PretextTask
from ssl_registry.pretext_model import (
    PAGE,
    Moment,
    PretextModel,
    check_answer,
    check_called,
    check_model,
)
from ssl_registry.question_model import check_pieces
from ssl_registry.registry import registry

_EXAMPLE: Final = (
    "it has a list of at least 2 tasks, each by its name, or with fields and a weight of its own, "
    "as in tasks=[rotation3d, {name: rpl3d, weight: 0.5}]"
)


class WeightedTask(BaseModel):
    """A pretext task of several, and what its loss counts.

    In a file it is the task's name, or a mapping with `name`, the task's own fields, and `weight`
    where it is not 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: InstanceOf[PretextTask]
    weight: float = Field(1.0, gt=0, description="what the loss is multiplied by")

    @model_validator(mode="before")
    @classmethod
    def _from_a_name_or_a_mapping(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if isinstance(value, PretextTask):
            return {"task": value}
        if not isinstance(value, Mapping):
            raise ConfigError(f"{value!r} is no task of a joint: {_EXAMPLE}")
        if "task" in value:
            return value
        spec = {key: inner for key, inner in value.items() if key != "weight"}
        task = registry.create(spec)
        if not isinstance(task, PretextTask):
            raise ConfigError(
                f"{spec['name']} is not a pretext task: `ssl-registry list --kind pretext` shows "
                "which there are"
            )
        return {"task": task, "weight": value.get("weight", 1.0)}

    @model_serializer
    def _as_a_mapping(self) -> dict[str, Any]:
        return {**registry.spec_of(self.task), "weight": self.weight}


class Joint(PretextTask):
    """Several pretext tasks at once, each with a head of its own, on one encoder.

    The encoder sees the views of each task in a pass of their own, and the losses are added up,
    each times its weight. `metrics.csv` shows every task's loss and metrics behind its name, and
    the closing verdict speaks of each. Of several decoders that of the first task that has one is
    kept.

    Reference: Doersch and Zisserman 2017, "Multi-task self-supervised visual learning"
    (arXiv:1708.07860); Tang et al. 2022 (arXiv:2111.14791) for volumes.
    """

    example_fields: ClassVar[Mapping[str, Any]] = {"tasks": ["rotation3d", "rpl3d"]}

    tasks: tuple[WeightedTask, ...] = Field(
        description="the pretext tasks, two or more: names, or mappings with a name, fields and a "
        "weight",
    )

    @property
    def spatial_dims(self) -> Literal[2, 3]:  # type: ignore[override]
        """2 for images, 3 for volumes: what its tasks work in."""
        return self.tasks[0].task.spatial_dims

    @model_validator(mode="before")
    @classmethod
    def _tasks_are_a_list_with_weights(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        if "weights" in value:
            raise ConfigError(f"a joint has no field 'weights': {_EXAMPLE}")
        tasks = value.get("tasks", ())
        if not isinstance(tasks, (list, tuple)) or ("tasks" in value and len(tasks) < 2):
            raise ConfigError(f"tasks={tasks!r} are not the tasks of a joint: {_EXAMPLE}")
        return value

    @model_validator(mode="after")
    def _tasks_belong_together(self) -> Self:
        dims = {part.task.spatial_dims for part in self.tasks}
        if len(dims) > 1:
            spelt = ", ".join(
                f"{registry.entry_of(part.task).name} in {part.task.spatial_dims}D"
                for part in self.tasks
            )
            raise ConfigError(f"the tasks of a joint work on the same images, but: {spelt}")
        if any(isinstance(part.task, Joint) for part in self.tasks):
            raise ConfigError("a joint within a joint: name all tasks in one")
        if self.levels:
            raise ConfigError(
                "levels are a matter of each task of a joint: {name: rotation3d, levels: [1, 2]}"
            )
        return self

    def judged_tasks(self) -> Mapping[str, PretextTask]:
        """Return each task by its name, with a number where one name comes twice."""
        named: dict[str, PretextTask] = {}
        for part in self.tasks:
            name = registry.entry_of(part.task).name
            alike = sum(key.startswith(f"{name}_") for key in named)
            named[f"{name}_{alike + 1}_" if alike else f"{name}_"] = part.task
        return named

    def smallest_batch(self) -> int:
        """Return how many images the most demanding of its tasks needs."""
        return max(part.task.smallest_batch() for part in self.tasks)

    def view_channels(self, image_channels: int) -> int:
        """Return the channels that all tasks show the encoder.

        Raises:
            ConfigError: they differ.
        """
        channels = {
            prefix.rstrip("_"): task.view_channels(image_channels)
            for prefix, task in self.judged_tasks().items()
        }
        if len(set(channels.values())) > 1:
            spelt = ", ".join(f"{count} for {name}" for name, count in channels.items())
            raise ConfigError(
                f"one encoder takes views of one number of channels, but it would be {spelt}: let "
                "all tasks show single views (fusion=late)"
            )
        return next(iter(channels.values()))

    def view_shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the images, once every task is seen to work on it."""
        for part in self.tasks:
            part.task.view_shape(image_shape)
        return image_shape

    def build_model(self, encoder: Encoder, image_shape: tuple[int, ...]) -> "JointModel":
        """Return the models of all tasks, on one encoder."""
        check_pieces(self, encoder, image_shape)
        return JointModel(self, encoder, image_shape)


class JointModel(PretextModel):
    """The models of several tasks that share an encoder."""

    def __init__(self, joint: Joint, encoder: Encoder, image_shape: tuple[int, ...]) -> None:
        super().__init__(encoder)
        self.tasks = joint.judged_tasks()
        self.weights = [part.weight for part in joint.tasks]
        self.models = nn.ModuleList()
        for task in self.tasks.values():
            with blame(task, "build_model"):
                model = task.build_model(encoder, image_shape)
            with blame(task, "the model's parts"):
                self.models.append(check_model(model, spell_component(task)))

    def forward(
        self, images: Tensor, generator: torch.Generator, moment: Moment | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum of the tasks' losses, and each one's loss and metrics.

        Raises:
            ConfigError: the generator is none.
            PluginError: a task answers with something else than a loss and metrics, or, in
                training, with a loss that has no gradient, which the others' would hide.
        """
        check_called(images, generator)
        losses: list[Tensor] = []
        metrics: dict[str, Tensor] = {}
        parts = zip(self.tasks.items(), self.models, self.weights, strict=True)
        for (prefix, task), model, weight in parts:
            with blame(task, "the model's forward"):
                answer = model(images, generator, moment)
            loss, own = check_answer(answer, spell_component(task))
            if self.training and torch.is_grad_enabled() and not loss.requires_grad:
                raise PluginError(
                    f"{spell_component(task)}: the loss has no gradient, so this task of the joint "
                    "teaches nothing: it was detached, or computed under no_grad or from a "
                    f"teacher alone; see {PAGE}"
                )
            losses.append(weight * loss)
            metrics[f"{prefix}loss"] = loss.detach()
            metrics |= {f"{prefix}{name}": value for name, value in own.items()}
        return torch.stack(losses).sum(), metrics

    def after_step(self, moment: Moment) -> None:
        """Let each task's model do what it does after a step."""
        for model in self.models:
            assert isinstance(model, PretextModel)
            model.after_step(moment)

    def parts(self) -> dict[str, nn.Module]:
        """Return the encoder, and the decoder of the first task that has one."""
        kept: dict[str, nn.Module] = {}
        for model in self.models:
            assert isinstance(model, PretextModel)
            for name, module in model.parts().items():
                kept.setdefault(name, module)
        return kept
