"""A page for each component of this project, from its docstring, fields and shapes."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from ssl_registry import registry
from ssl_registry.description import Description, describe

OURS: Final = "ssl-registry"
FOLDER: Final = "reference/components"
SIGNS: Final = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "multiple_of": "multiple of"}
KINDS: Final = {
    "pretext": "Pretext tasks",
    "backbone": "Backbones",
    "downstream": "Downstream tasks",
}


@cache
def component_pages() -> dict[str, str]:
    """Return the text of each page by its address, the list of all among them."""
    found = [
        entry
        for entry in registry.entries()
        if entry.distribution == OURS or entry.distribution.startswith(f"{OURS}-")
    ]
    pages = {f"{FOLDER}/{entry.name}.md": page_of(describe(entry.name)) for entry in found}
    lines = ["# Components", ""]
    for kind, heading in KINDS.items():
        lines += [
            f"## {heading}",
            "",
            "| name | | what it is | from |",
            "| --- | --- | --- | --- |",
        ]
        lines += [
            f"| [`{entry.name}`]({entry.name}.md) | {entry.spelt_dims} | {entry.summary} | "
            f"`{entry.distribution}` |"
            for entry in found
            if entry.kind == kind
        ]
        lines.append("")
    return {f"{FOLDER}/index.md": "\n".join(lines), **pages}


def page_of(described: Description) -> str:
    """Return a component's page."""
    entry = described.entry
    lines = [f"# {entry.name}", "", f"*{entry.summary}*", "", described.text, ""]
    lines += [f"{entry.spelt_dims}, from `{entry.distribution}`.", ""]
    if described.fields:
        lines += ["## Fields", "", "| field | type | default | bounds | |", "| --- " * 5 + "|"]
        for field in described.fields:
            default = "required" if field.required else f"`{field.default!r}`"
            bounds = ", ".join(
                f"{SIGNS.get(name, name)} {value}" for name, value in field.bounds.items()
            )
            kind = field.type.replace(" | ", " or ")
            lines.append(
                f"| `{field.name}` | `{kind}` | {default} | {bounds} | {field.description} |"
            )
        lines.append("")
    if entry.kind == "pretext":
        lines += [f"![What {entry.name} asks](../../pictures/{entry.name}.png)", ""]
    lines += ["## Shapes", "", *_shapes(described.shapes), ""]
    if described.reference:
        lines += ["## Reference", "", described.reference, ""]
        lines += [f"- <{link}>" for link in described.links]
        lines.append("")
    lines += ["## Example", "", "```python", described.python, "```", ""]
    lines += ["```bash", described.command, "```", ""]
    return "\n".join(lines)


def _shapes(shapes: Mapping[str, Any]) -> list[str]:
    """Return a line for what goes in and each thing that comes out, with the default fields."""
    lines = []
    for name, value in shapes.items():
        if name == "levels":
            lines += [f"- level {number}: `{level}`" for number, level in enumerate(value, start=1)]
        elif value is not None:
            lines.append(f"- {name.replace('_', ' ')}: `{value}`")
    return lines
