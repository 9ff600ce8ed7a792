"""Who may know whom, as the architecture page says it."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

import ssl_registry

CORE: Final = Path(ssl_registry.__file__).parent
PLUGINS: Final = Path(__file__).parents[1] / "plugins"

PAGE: Final = Path(__file__).parents[1] / "docs" / "explanation" / "architecture.md"
"""The rule is the page's own tables, so that what people read is what holds."""


def table(*columns: str) -> list[list[str]]:
    """Return the rows of the page's table with these headings."""
    text = PAGE.read_text(encoding="utf-8")
    lines = text.partition(f"| {' | '.join(columns)} |\n")[2].split("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def quoted(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


RULE: Final = table("room", "modules", "may import")
ROOMS: Final = {room.strip("`"): quoted(modules) for room, modules, _ in RULE}
MAY_KNOW: Final = {room.strip("`"): quoted(known) for room, _, known in RULE}
"""A room also knows itself, and everybody may ask for the version."""

ALLOWED: Final = {
    (module.strip("`"), known.strip("`")) for module, known, _ in table("module", "imports", "for")
}


def modules() -> list[Path]:
    return sorted(CORE.rglob("*.py"))


def dotted(path: Path) -> str:
    parts = path.relative_to(CORE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Return the full name of everything that a file imports, at the top or in a function."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
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


def test_the_page_lists_every_room_once_and_knows_what_is_in_it() -> None:
    assert len(ROOMS) == len(RULE) > 0
    parts = [part for room in ROOMS.values() for part in room]
    assert len(parts) == len(set(parts))
    assert [p for p in parts if not (CORE / f"{p}.py").is_file() and not (CORE / p).is_dir()] == []
    assert all(known <= set(ROOMS) for known in MAY_KNOW.values())


def test_the_arrows_that_the_page_draws_are_those_of_its_table() -> None:
    (drawn,) = re.findall(r"^cli → .*$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    steps = [set(re.findall(r"\w+", step)) for step in drawn.split("→")]
    assert len(steps) == 5
    for step, (left, right) in enumerate(pairwise(steps)):
        assert all(right <= MAY_KNOW[room] for room in left)
        forbidden = set().union(*steps[: step + 2]) - {"registry"}
        assert all(not forbidden & MAY_KNOW[room] for room in right)


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


def inside(part: str) -> dict[str, set[str]]:
    """Return what each room of a part imports of the others, those in functions too."""
    known: dict[str, set[str]] = {}
    for path in sorted((CORE / part).rglob("*.py")):
        own = dotted(path).split(".")[2:]
        others = {name.split(".")[2] for name in inner(path) if name.split(".")[1] == part}
        if own:
            known.setdefault(own[0], set()).update(others - {own[0]})
    return known


def circle(known: dict[str, set[str]]) -> list[str]:
    """Return the rooms that remain when each that imports none of them is taken away."""
    left = dict(known)
    while free := [room for room in left if not left[room] & set(left)]:
        for room in free:
            del left[room]
    return sorted(left)


@pytest.mark.parametrize("part", ["data", "training", "experiments"])
def test_the_rooms_within_a_part_import_each_other_in_no_circle(part: str) -> None:
    known = inside(part)
    assert len(known) > 3
    left = circle(known)
    assert left == [], {room: sorted(known[room] & set(left)) for room in left}


def test_a_circle_is_found_wherever_it_lies() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


SHARED_NAMES: Final = {
    "main": "each program has one: the command line, and the process of a cell",
    "read_array": "a module of a format is a reader, whose functions `volumes` calls by name",
    "read_header": "likewise",
    "ssl_registry_backbones": "a hook: its specification, and the core's own implementation",
    "ssl_registry_downstream_tasks": "likewise",
    "ssl_registry_pretext_tasks": "likewise",
}
"""Public names that several modules may define, and why."""


def test_no_two_public_classes_or_functions_share_a_name() -> None:
    homes: dict[str, list[str]] = {}
    for path in modules():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(dotted(path))
    shared = {name: found for name, found in homes.items() if len(found) > 1}
    assert {name: found for name, found in shared.items() if name not in SHARED_NAMES} == {}
    assert set(SHARED_NAMES) <= set(shared), "an exception that is needed no more"


def plugin_modules() -> list[Path]:
    return sorted(PLUGINS.glob("*/ssl_registry_*/**/*.py"))


def third_party_modules() -> list[Path]:
    return sorted(Path(__file__).with_name("third_party").rglob("*.py"))


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


@pytest.mark.parametrize("path", third_party_modules(), ids=lambda path: path.stem)
def test_a_third_partys_module_is_short_and_knows_public_names_alone(path: Path) -> None:
    """A masked autoencoder, a teacher, crops of two sizes, patients: 80 lines do."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 80
    for name in imports(path):
        top, *inside = name.split(".")
        if top == "ssl_registry":
            assert inside[0] in ssl_registry.__all__, name
            assert not any(part.startswith("_") for part in inside), name
    hidden = [
        node.attr
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute) and re.fullmatch(r"_\w*[^_]|_", node.attr)
    ]
    assert hidden == []


def test_the_third_party_has_a_task_of_each_kind() -> None:
    assert {path.stem for path in third_party_modules()} >= {
        "cutout", "masked", "teacher", "multicrop", "patients", "tiny",
    }  # fmt: skip
