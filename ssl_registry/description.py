"""What there is to say about a component: its text, fields, shapes, reference and an example."""

import inspect
import re
from dataclasses import dataclass
from typing import Any, Final

import torch

from ssl_registry.backbone import Backbone
from ssl_registry.component import Component
from ssl_registry.downstream import DownstreamTask
from ssl_registry.entry import Entry
from ssl_registry.errors import ConfigError, SslRegistryError
from ssl_registry.field_descriptions import FieldDescription, describe_field
from ssl_registry.pretext import PretextTask
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.registry import registry
from ssl_registry.trees import map_shapes

BATCH: Final = 4
SIDES: Final[dict[int, int]] = {2: 128, 3: 64}
"""Side lengths of the images, in pixels or voxels, whose shapes are shown."""

_REFERENCE: Final = re.compile(r"^References?:\s*(.+?)(?:\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)
_DOI: Final = re.compile(r"doi:(10\.\d+/[^\s,;()]*[^\s,;().])")
_ARXIV: Final = re.compile(r"arXiv:(\d{4}\.\d{4,5})")


@dataclass(frozen=True)
class Description:
    """A component, described.

    Attributes:
        entry: its name, summary and distribution.
        text: its docstring, less the reference.
        reference: where the method was published, as the docstring says it.
        links: addresses of everything that the docstring cites by DOI or arXiv number.
        fields: its hyper-parameters.
        shapes: of what goes in and comes out, for `BATCH` images of one channel; with
            `"refused"` in words where the default fields cannot work on them.
        python: lines that use it.
        command: a command that uses it.
    """

    entry: Entry
    text: str
    reference: str
    links: list[str]
    fields: list[FieldDescription]
    shapes: dict[str, Any]
    python: str
    command: str

    def as_json(self) -> dict[str, Any]:
        """Return all of it for scripts; the keys stay the same within a major version."""
        return {
            **self.entry.as_json(),
            "description": self.text,
            "reference": self.reference,
            "links": self.links,
            "fields": [field.as_json() for field in self.fields],
            "shapes": self.shapes,
            "example": {"python": self.python, "command": self.command},
        }


def describe(name: str) -> Description:
    """Return the description of a component by name.

    Raises:
        UnknownComponentError, NameConflictError, PluginError: as for `registry.get`.
    """
    entry = registry.find(name)
    cls = registry.get(name)
    doc = inspect.cleandoc(cls.__doc__ or "")
    python, command = _example(entry)
    return Description(
        entry,
        text=_REFERENCE.sub("", doc).strip(),
        reference=cited_in(doc),
        links=links_in(doc),
        fields=[describe_field(name, cls.model_fields[name]) for name in cls.listed_fields()],
        shapes=_shapes(entry),
        python=python,
        command=command,
    )


def cited_in(docstring: str) -> str:
    """Return where a component's method was published, as its docstring says it; else nothing."""
    found = _REFERENCE.search(inspect.cleandoc(docstring))
    return " ".join(found.group(1).split()) if found else ""


def links_in(docstring: str) -> list[str]:
    """Return addresses of everything that a docstring cites by DOI or arXiv number."""
    found = _DOI.findall(docstring)
    found += [f"10.48550/arXiv.{number}" for number in _ARXIV.findall(docstring)]
    return [f"https://doi.org/{doi}" for doi in dict.fromkeys(found)]


def _shapes(entry: Entry) -> dict[str, Any]:
    """Return the shapes of what goes in and comes out, with the default fields."""
    dims = entry.dims or 3
    images = torch.zeros(BATCH, 1, *[SIDES[dims]] * dims)
    shapes: dict[str, Any] = {"images": list(images.shape)}
    try:
        fields = registry.get(entry.qualified_name).example_fields
        component = registry.create(entry.qualified_name, **fields)
        return shapes | _shapes_of(component, images)
    except ConfigError as error:
        return shapes | {"refused": f"it cannot be made without fields: {error}"}
    except SslRegistryError as error:
        return shapes | {"refused": str(error)}


def _shapes_of(component: Component, images: torch.Tensor) -> dict[str, Any]:
    stream = derive_generator(0, "describe")
    if isinstance(component, PretextTask):
        if not component.asks():
            return {}
        images = torch.rand(images.shape, generator=stream)
        views, target, _ = component.make_batch(images, stream)
        return {
            "views": list(views.shape),
            "target": map_shapes(target),
        }
    if isinstance(component, Backbone):
        with lend_to_torch(stream):
            encoder = component.build(images.shape[1])
        sides = [
            [-(-side // step) for side, step in zip(images.shape[2:], level, strict=True)]
            for level in encoder.strides
        ]
        levels = zip(encoder.channels, sides, strict=True)
        return {
            "levels": [[BATCH, channels, *level] for channels, level in levels],
            "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        }
    assert isinstance(component, DownstreamTask)
    mask = component.target_kind == "mask"
    return {
        "target": [BATCH, *images.shape[2:]] if mask else [BATCH],
        "target_kind": component.target_kind,
        "headline": component.headline,
    }


def _example(entry: Entry) -> tuple[str, str]:
    """Return lines of Python, which run as they stand, and a command that use a component."""
    name, dims = entry.name, entry.dims or 3
    out = f"out=runs/{name}"
    if entry.kind == "pretext":
        lines, said = _pretext_example(entry, dims)
        command = f"pretrain {said} data=phantoms:20 {out}"
    elif entry.kind == "backbone":
        lines = [f'encoder = registry.create("{name}").build(in_channels=1)']
        downstream = f"downstream=segmentation{dims}d"
        command = f"finetune {downstream} backbone={name} data=phantoms:20 {out}"
    else:
        lines = [
            f'encoder = registry.create("unet{dims}d").build(in_channels=1)',
            f'head = registry.create("{name}").build_head(encoder, num_classes=3)',
        ]
        command = f"finetune downstream={name} data=FOLDER {out}"
    imports = ["import torch"] if entry.kind == "pretext" else []
    imports += ["from ssl_registry import registry", ""]
    return "\n".join([*imports, *lines]), f"ssl-registry {command}"


def _pretext_example(entry: Entry, dims: int) -> tuple[list[str], str]:
    """Return lines of Python for a pretext task, and what names it in a command."""
    name, fields = entry.name, {}
    shape = ", ".join(map(str, (BATCH, 1, *[SIDES[dims]] * dims)))
    asks = True
    try:
        task = registry.get(entry.qualified_name)
    except SslRegistryError:
        pass
    else:
        fields = dict(task.example_fields)
        asks = issubclass(task, PretextTask) and task.asks()
    given = "".join(f", {field}={value!r}" for field, value in fields.items())
    lines = [
        f'task = registry.pretext_task("{name}"{given})',
        f"images = torch.rand({shape})",
    ]
    if asks:
        lines.append("views, target, drawn = task.make_batch(images, torch.Generator())")
    else:
        sides = ", ".join([str(SIDES[dims])] * dims)
        lines += [
            f'encoder = registry.backbone("unet{dims}d", base_filters=4).build(in_channels=1)',
            f"model = task.build_model(encoder, image_shape=({sides}))",
            "loss, metrics = model(images, torch.Generator())",
        ]
    if not fields:
        return lines, f"task={name}"
    inside = ", ".join(f"{k}: {_plain(v)}" for k, v in {"name": name, **fields}.items())
    return lines, f"'task={{{inside}}}'"


def _plain(value: Any) -> str:
    """Return a value as YAML has it on one line."""
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)
