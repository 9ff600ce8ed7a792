"""Who may know whom: `cli -> experiments -> training -> {interfaces, data} -> registry`."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import ssl_registry

CORE: Final = Path(ssl_registry.__file__).parent
PLUGINS: Final = Path(__file__).parents[1] / "plugins"

ROOMS: Final[dict[str, set[str]]] = {
    "registry": {
        "documents",
        "entry",
        "errors",
        "hookspecs",
        "loading",
        "plugins",
        "registry",
        "wording",
    },
    "randomness": {"randomness"},
    "distributed": {"distributed"},
    "interfaces": {
        "backbone",
        "component",
        "deprecation",
        "description",
        "downstream",
        "heads",
        "patches",
        "pretext",
    },
    "testing": {"testing"},
    "scaffold": {"scaffold"},
    "builtin": {"builtin"},
    "data": {"data"},
    "training": {"training"},
    "experiments": {"experiments"},
    "cli": {"cli"},
}

MAY_KNOW: Final[dict[str, set[str]]] = {
    "registry": set(),
    "randomness": set(),
    "distributed": set(),
    "interfaces": {"randomness", "registry"},
    "testing": {"interfaces", "randomness", "registry"},
    "builtin": {"interfaces", "randomness", "registry"},
    "scaffold": {"registry"},
    "data": {"randomness", "registry"},
    "training": {"data", "distributed", "interfaces", "randomness", "registry"},
    "experiments": {"training", "data", "interfaces", "randomness", "registry"},
    "cli": {
        "experiments",
        "training",
        "data",
        "distributed",
        "interfaces",
        "randomness",
        "registry",
        "scaffold",
        "testing",
    },
}
"""A room also knows itself, and everybody may ask for the version."""

ALLOWED: Final[dict[tuple[str, str], str]] = {
    ("loading", "component"): "type checkers are told what a loaded class is",
    ("registry", "component"): "create() puts pydantic's complaint in words, when asked to create",
}


def modules() -> list[Path]:
    return sorted(CORE.rglob("*.py"))


def dotted(path: Path) -> str:
    parts = path.relative_to(CORE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Yield the full name of everything that a file imports, at the top or in a function."""
    package = dotted(path).split(".") if path.is_relative_to(CORE) else []
    if package and path.name != "__init__.py":
        package.pop()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def room_of(name: str) -> str:
    """Return the room of a full name within the core, by the names that `_HOMES` gives."""
    part = name.split(".")[1]
    home = ssl_registry._HOMES.get(part, part).partition(".")[0]
    rooms = [room for room, parts in ROOMS.items() if home in parts]
    assert rooms, f"{name} is in no room: say in ROOMS where it belongs"
    return rooms[0]


def inner(path: Path) -> list[str]:
    names = [name for name in imports(path) if name.partition(".")[0] == "ssl_registry"]
    return [name for name in names if name not in ("ssl_registry", "ssl_registry.__version__")]


def test_every_module_is_in_a_room() -> None:
    found = {room_of(dotted(path)) for path in modules() if path != CORE / "__init__.py"}
    assert found <= set(ROOMS)
    assert {"registry", "interfaces", "builtin", "data", "training"} <= found


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_the_arrows_hold(path: Path) -> None:
    if path == CORE / "__init__.py":
        assert all(room_of(name) in {*MAY_KNOW["cli"], "cli", "testing"} for name in inner(path))
        return
    room = room_of(dotted(path))
    strangers = [
        name
        for name in inner(path)
        if room_of(name) not in {room, *MAY_KNOW[room]}
        and (dotted(path).split(".")[1], name.split(".")[1]) not in ALLOWED
    ]
    assert strangers == [], f"{dotted(path)} may know {sorted(MAY_KNOW[room])}"


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_the_core_imports_no_plugin(path: Path) -> None:
    plugins = [name for name in imports(path) if name.startswith("ssl_registry_")]
    assert plugins == []


def test_what_is_allowed_is_imported_late() -> None:
    """The exceptions stand inside functions: importing the one does not import the other."""
    for module, stranger in ALLOWED:
        tree = ast.parse((CORE / f"{module}.py").read_text())
        top = [
            node
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and node.module == f"ssl_registry.{stranger}"
        ]
        assert top == []


def plugin_modules() -> list[Path]:
    return sorted(PLUGINS.glob("*/ssl_registry_*/**/*.py"))


def test_there_are_plugins_to_look_at() -> None:
    assert {path.parent.name for path in plugin_modules()} >= {"ssl_registry_rotation"}


@pytest.mark.parametrize("path", plugin_modules(), ids=lambda path: path.parent.name + path.stem)
def test_a_plugin_imports_only_what_the_core_exports(path: Path) -> None:
    own = path.relative_to(PLUGINS).parts[1]
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "ssl_registry":
            assert rest.partition(".")[0] in ssl_registry.__all__, name
        else:
            assert top == own or not top.startswith("ssl_registry_"), name
