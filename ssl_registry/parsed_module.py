"""The source of a module, parsed: what its names mean, though nothing of it is imported."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, resolve_name
from typing import Final

from ssl_registry.errors import SslRegistryError

FARTHEST: Final = 20
"""Imports that are followed one after the other until a name is found."""


class UnclearSourceError(SslRegistryError):
    """The source does not say for certain what is asked."""


@dataclass(frozen=True)
class ParsedModule:
    """A module as its source shows it.

    Attributes:
        name: by which it would be imported.
        package: what its relative imports start from.
        bindings: the statement that binds each name at its top, within `if` as well.
        strings: all strings in it.
    """

    name: str
    package: str
    bindings: Mapping[str, ast.stmt]
    strings: frozenset[str]

    def origin(self, name: str) -> tuple[str, str] | None:
        """Return the module and the name that a name was imported from, if it was."""
        node = self.bindings.get(name)
        if not isinstance(node, ast.ImportFrom):
            return None
        source = "." * node.level + (node.module or "")
        original = next(one.name for one in node.names if (one.asname or one.name) == name)
        return (resolve_name(source, self.package) if node.level else source), original

    def find(self, name: str, far: int = FARTHEST) -> "tuple[ParsedModule, ast.stmt]":
        """Return the module that defines a name, and the statement that does.

        Raises:
            UnclearSourceError: it cannot be told.
        """
        origin = self.origin(name)
        if far and origin is not None:
            return parse_module(origin[0]).find(origin[1], far - 1)
        if origin is not None or name not in self.bindings:
            raise UnclearSourceError(f"{self.name} does not say what {name} is")
        return self, self.bindings[name]

    def within(self, node: ast.expr) -> "tuple[ParsedModule, str]":
        """Return where to look for `name` or `module.name`, and the name to look for.

        Raises:
            UnclearSourceError: it is something else.
        """
        match node:
            case ast.Name(id=name):
                return self, name
            case ast.Attribute(value=ast.Name(id=outer), attr=name):
                origin = self.origin(outer)
                if origin is not None:
                    return parse_module(".".join(origin)), name
        raise UnclearSourceError(f"{self.name} does not say what {ast.unparse(node)} is")


def parse_module(name: str) -> ParsedModule:
    """Return the parsed source of a module; neither it nor its package is imported.

    Raises:
        UnclearSourceError: there is no such module, or no source of it that can be parsed.
    """
    spec = _locate(name)
    read = getattr(spec.loader, "get_source", None)
    try:
        source = read(name) if read else None
        tree = ast.parse(source) if source is not None else None
    except (ImportError, OSError, SyntaxError, ValueError) as error:
        raise UnclearSourceError(f"{name} cannot be parsed: {error}") from error
    if tree is None:
        raise UnclearSourceError(f"{name} has no source")
    package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
    return ParsedModule(name, package, dict(_bindings(tree.body)), frozenset(strings_in(tree)))


def _locate(name: str) -> ModuleSpec:
    """Find a module through its packages, none of which is imported."""
    first, *rest = name.split(".")
    try:
        spec = find_spec(first)
        for depth in range(len(rest)):
            places = spec.submodule_search_locations if spec else None
            whole = ".".join([first, *rest[: depth + 1]])
            spec = PathFinder.find_spec(whole, list(places)) if places else None
    except (ImportError, ValueError) as error:
        raise UnclearSourceError(f"{name} is not found: {error}") from error
    if spec is None:
        raise UnclearSourceError(f"{name} is not found")
    return spec


def _bindings(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """Yield the names that statements bind, and the statement of each."""
    for node in body:
        match node:
            case ast.If():
                yield from _bindings([*node.orelse, *node.body])
            case ast.ImportFrom():
                yield from ((one.asname or one.name, node) for one in node.names)
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield name, node
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name, node
            case ast.Assign(targets=targets):
                yield from ((one.id, node) for one in targets if isinstance(one, ast.Name))


def strings_in(tree: ast.AST) -> set[str]:
    """Return all strings within a piece of source."""
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {value for value in constants if isinstance(value, str)}
