"""The files of a new plugin, made from templates and written all at once."""

import datetime
import tempfile
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from ssl_registry import __version__
from ssl_registry.entry import API_VERSION, Kind
from ssl_registry.errors import ConfigError
from ssl_registry.scaffold.names import Names
from ssl_registry.scaffold.styles import SUMMARIES, Style

MODULES: Final[dict[Kind, str]] = {
    "pretext": "task",
    "backbone": "backbone",
    "downstream": "task",
}
"""The module that holds the component."""


def write_plugin(
    folder: Path, names: Names, kind: Kind, dims: int, style: Style = "question"
) -> list[Path]:
    """Write a package with one component into a new folder; return its files.

    Args:
        folder: of the package; must not exist, or be empty.
        names: of the package and the component.
        kind: which interface the component implements.
        dims: 2 or 3.
        style: of a pretext task: what it begins as.

    Raises:
        ConfigError: there is something in the folder, or it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already: name another plugin, or another --out")
    texts = render_plugin(names, kind, dims, style)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-plugin-", dir=folder.parent) as beside:
            whole = Path(beside) / folder.name
            for path, text in texts.items():
                (whole / path).parent.mkdir(parents=True, exist_ok=True)
                (whole / path).write_text(text, encoding="utf-8")
            whole.rename(folder)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror or error}") from error
    return [folder / path for path in texts]


def render_plugin(names: Names, kind: Kind, dims: int, style: Style = "question") -> dict[str, str]:
    """Return the text of every file of a plugin, by its path in the package's folder."""
    module = MODULES[kind]
    templates = {
        "pyproject.toml": "pyproject.toml.jinja",
        "README.md": "readme.md.jinja",
        "LICENSE": "license.jinja",
        ".gitignore": "gitignore.jinja",
        ".github/workflows/test.yml": "workflow.yml.jinja",
        f"{names.package}/__init__.py": "package.py.jinja",
        f"{names.package}/py.typed": "typed.jinja",
        f"{names.package}/hooks.py": "hooks.py.jinja",
        f"{names.package}/{module}.py": f"{style if kind == 'pretext' else kind}.py.jinja",
        f"tests/test_{names.package}.py": f"{kind}_checks.py.jinja",
    }
    environment = Environment(
        loader=PackageLoader("ssl_registry", "scaffold/templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701, these are no web pages
    )
    values = _values(names, kind, dims, module, style)
    return {
        path: environment.get_template(template).render(values)
        for path, template in templates.items()
    }


def _values(names: Names, kind: Kind, dims: int, module: str, style: Style) -> dict[str, Any]:
    major, minor, *_ = (int(part) for part in __version__.split("."))
    image = "image" if dims == 2 else "volume"
    return {
        "api_version": API_VERSION,
        "cls": names.cls,
        "component": names.component,
        "core": f">={major}.{minor},<{major}.{minor + 1}",
        "dims": dims,
        "distribution": names.distribution,
        "image": image,
        "kind": kind,
        "module": module,
        "package": names.package,
        "side": 64 if dims == 2 else 32,
        "style": style,
        "summary": {
            "pretext": SUMMARIES[style].format(image=image),
            "backbone": "A few convolutions, most of them with a stride",
            "downstream": "A label for every voxel; cross-entropy, scored by the Jaccard index",
        }[kind],
        "what": {
            "pretext": "pretext task",
            "backbone": "backbone",
            "downstream": "downstream task",
        }[kind],
        "year": datetime.datetime.now(tz=datetime.UTC).year,
    }
