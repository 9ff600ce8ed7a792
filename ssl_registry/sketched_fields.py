"""A component's fields as its source says them, read without importing it.

A misspelt field would else be refused only after the component's module was imported, and with
it torch, which takes seconds. The source is parsed and never run. What it does not say for certain
is left to the class itself, which has the last word.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, NamedTuple, Union

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from ssl_registry.augmentation import Augmentation
from ssl_registry.component import explain
from ssl_registry.entry import Entry
from ssl_registry.errors import ConfigError
from ssl_registry.parsed_module import (
    FARTHEST,
    ParsedModule,
    UnclearSourceError,
    parse_module,
    strings_in,
)

_ROOT: Final = ("ssl_registry.component", "Component")
"""The class that has no fields yet, and where looking for bases ends."""

_PLAIN: Final[Mapping[str, Any]] = {
    kind.__name__: kind for kind in (bool, dict, float, frozenset, int, list, set, str, tuple)
}
"""Types that stand for themselves."""

_SPECIAL: Final[Mapping[tuple[str, str], Any]] = {
    ("typing", "Annotated"): Annotated,
    ("typing", "Any"): Any,
    ("typing", "Literal"): Literal,
    ("ssl_registry.augmentation", "Augmentation"): Augmentation,
}
"""Names of other modules that are understood."""

_FIELD: Final = ("pydantic", "Field")
_IN_WORDS: Final = ("ssl_registry.field_descriptions", "InWords")

_BOUNDS: Final = {"ge", "gt", "le", "lt", "max_length", "min_length", "multiple_of"}
"""Arguments of `Field` that bound a value."""

_SILENT: Final = {
    "default", "default_factory", "description", "examples", "exclude", "exclude_if", "repr",
    "title",
}  # fmt: skip
"""Arguments of `Field` that say nothing of which values are taken."""

_OWN_WAYS: Final = {"__get_pydantic_core_schema__", "__init__", "__new__", "model_validate"}
"""Methods by which a class may take what is no field of it."""

_HARMLESS: Final = {"isinstance", "len", "list", "max", "min", "tuple"}
"""Functions by which a validator cannot change a field that it does not name."""


class _Field(NamedTuple):
    """A field, and the module of the class that has it."""

    annotation: Any
    required: bool
    home: str


def check_fields(entry: Entry, name: str, fields: Mapping[str, Any]) -> None:
    """Refuse fields that a component does not have, or that its source shows to be impossible.

    Args:
        entry: of the component, whose class may not be imported yet.
        name: what the user calls it.
        fields: what the user says, without the name.

    Raises:
        ConfigError: a field is unknown or out of bounds, in the words of `registry.create`.
    """
    if not isinstance(entry.target, str):  # the class itself, which is at hand
        return
    try:
        found = sketch(entry)
    except UnclearSourceError:
        return
    found.check(name, fields)


@dataclass(frozen=True)
class Sketch:
    """What the source of a component says of its fields.

    Attributes:
        model: has the fields, with their types and bounds where these are certain.
        strings: all strings in the source of the class and its bases.
    """

    model: type[BaseModel]
    strings: frozenset[str]

    def check(self, name: str, fields: Mapping[str, Any]) -> None:
        """Refuse fields as `check_fields` does.

        Raises:
            ConfigError: a field is unknown or out of bounds.
        """
        # A class that takes what is no field of it, such as a former name, names it somewhere.
        judged = {
            field: value
            for field, value in fields.items()
            if field in self.model.model_fields or field not in self.strings
        }
        try:
            self.model.model_validate(judged)
        except ValidationError as error:
            raise ConfigError(explain(error, name, self.model)) from error
        except TypeError:  # bounds that do not suit the type: for the class to say
            return


def sketch(entry: Entry) -> Sketch:
    """Read what the source of a component's class says of its fields.

    Raises:
        UnclearSourceError: it does not say for certain which they are.
    """
    module, _, name = str(entry.target).partition(":")
    source = _Source()
    source.read(parse_module(module), name)
    found, changed = source.fields, source.changed
    for each in found if changed is None else {*changed, entry.argument} & set(found):
        found[each] = found[each]._replace(annotation=Any, required=False)
    # Listed as `PretextTask.listed_fields` lists them: what all tasks have comes last.
    ordered = sorted(found.items(), key=lambda item: item[1].home == "ssl_registry.pretext")
    fields: dict[str, Any] = {
        each: (said.annotation, ... if said.required else None) for each, said in ordered
    }
    config = ConfigDict(extra="forbid", protected_namespaces=())
    try:
        model = create_model(entry.name, __config__=config, **fields)
    except (NameError, RuntimeError, TypeError, ValueError) as error:
        raise UnclearSourceError(f"{entry.target}: {error}") from error
    return Sketch(model, frozenset(source.strings))


@dataclass
class _Source:
    """What the source of a class and its bases says.

    Attributes:
        fields: by their names, those of bases first.
        strings: all strings in the modules of these classes.
        changed: what validators may change before the types are looked at; None for anything.
    """

    fields: dict[str, _Field] = field(default_factory=dict)
    strings: set[str] = field(default_factory=set)
    changed: set[str] | None = field(default_factory=set)

    def read(self, module: ParsedModule, name: str, far: int = FARTHEST) -> None:
        """Add what a class and its bases say.

        Raises:
            UnclearSourceError: it may have other fields than it shows.
        """
        home, node = module.find(name)
        if not far or not isinstance(node, ast.ClassDef):
            raise UnclearSourceError(f"{home.name}:{name} is no class that can be followed")
        if (home.name, node.name) == _ROOT:
            return
        if node.keywords or node.decorator_list:
            raise UnclearSourceError(f"{home.name}:{name} may have other fields than it shows")
        bases = [home.within(base) for base in node.bases]
        bases = [(there, base) for there, base in bases if there.origin(base) != ("abc", "ABC")]
        if not bases:
            raise UnclearSourceError(f"{home.name}:{name} is no component that can be followed")
        for there, base in reversed(bases):
            self.read(there, base, far - 1)
        self.strings |= home.strings
        self.fields |= {field: _field(home, line) for field, line in _annotated(home, node)}
        changed = _changed_before(node)
        self.changed = None if changed is None or self.changed is None else self.changed | changed


def _annotated(module: ParsedModule, node: ast.ClassDef) -> Iterator[tuple[str, ast.AnnAssign]]:
    """Yield the name and the line of each field of a class.

    Raises:
        UnclearSourceError: the class has a configuration of its own, or lines that are run.
    """
    for line in node.body:
        match line:
            case ast.AnnAssign(target=ast.Name(id=name)):
                if not name.startswith("_") and "ClassVar" not in ast.unparse(line.annotation):
                    yield name, line
            case ast.Assign(targets=[ast.Name(id=name)]) if (
                name != "model_config" and not isinstance(line.value, ast.Call)
            ):  # a call may make a validator
                pass
            case ast.FunctionDef(name=name) if name not in _OWN_WAYS:
                pass
            case ast.ClassDef() | ast.Expr() | ast.Pass():
                pass
            case _:
                raise UnclearSourceError(f"{module.name}:{node.name}, line {line.lineno}")


def _changed_before(node: ast.ClassDef) -> set[str] | None:
    """Return the names that validators of a class may change before the types are looked at.

    A validator that calls another function may change anything: None.
    """
    named: set[str] = set()
    for line in node.body:
        if isinstance(line, ast.FunctionDef) and any(map(_comes_before, line.decorator_list)):
            named |= strings_in(line)
            if "*" in named or any(map(_is_foreign, _calls_in(line.body))):
                return None
    return named


def _calls_in(body: Sequence[ast.AST]) -> Iterator[ast.Call]:
    """Yield the calls in a function, but for those that make what is raised."""
    for node in body:
        if isinstance(node, ast.Call):
            yield node
        if not isinstance(node, ast.Raise):
            yield from _calls_in(list(ast.iter_child_nodes(node)))


def _is_foreign(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id not in _HARMLESS


def _comes_before(decorator: ast.expr) -> bool:
    """Return whether a decorator makes a validator that gets what the user said."""
    return isinstance(decorator, ast.Call) and any(
        isinstance(one.value, ast.Constant) and one.value.value in ("before", "plain", "wrap")
        for one in decorator.keywords
    )


def _field(module: ParsedModule, line: ast.AnnAssign) -> _Field:
    """Return a field as its line says it; of any type where that is not certain."""
    call = line.value if isinstance(line.value, ast.Call) else None
    try:
        meant = _meaning(module, line.annotation, FARTHEST)
        bounds = _bounds(module, call) if call else None
    except UnclearSourceError:
        return _Field(Any, False, module.name)
    required = line.value is None or (bounds is not None and call is not None and _is_due(call))
    return _Field(meant if bounds is None else Annotated[meant, bounds], required, module.name)


def _is_due(call: ast.Call) -> bool:
    """Return whether a call of `Field` names no default."""
    named = {"default", "default_factory"} & {one.arg for one in call.keywords}
    first = call.args[0] if call.args else None
    return (first is None and not named) or (isinstance(first, ast.Constant) and first.value is ...)


def _bounds(module: ParsedModule, call: ast.Call) -> Any:
    """Return the bounds that a call of `Field` sets, or None where something else is called."""
    if not isinstance(call.func, ast.Name) or module.origin(call.func.id) != _FIELD:
        return None
    said: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg in _BOUNDS:
            said[keyword.arg] = _meaning(module, keyword.value, FARTHEST)
        elif keyword.arg not in _SILENT:
            raise UnclearSourceError(f"{module.name}: {ast.unparse(call)}")
    return Field(**said)


def _meaning(module: ParsedModule, node: ast.expr, far: int) -> Any:
    """Return what an annotation, or the number of a bound, means.

    Raises:
        UnclearSourceError: more than what is understood here.
    """
    match node:
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Union[_meaning(module, left, far), _meaning(module, right, far)]  # noqa: UP007
        case ast.Subscript(value=outer, slice=inner):
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return _subscribed(module, _meaning(module, outer, far), parts, far)
        case ast.Name() | ast.Attribute() if far:
            return _named(*module.within(node), far)
    raise UnclearSourceError(f"{module.name}: {ast.unparse(node)}")


def _named(module: ParsedModule, name: str, far: int) -> Any:
    """Return what a name in an annotation means."""
    if name in _PLAIN and name not in module.bindings:
        return _PLAIN[name]
    origin = module.origin(name)
    if origin is not None and origin in _SPECIAL:
        return _SPECIAL[origin]
    home, line = module.find(name)
    if isinstance(line, (ast.AnnAssign, ast.Assign)) and line.value is not None:
        return _meaning(home, line.value, far - 1)
    raise UnclearSourceError(f"{home.name}: {name}")


def _subscribed(module: ParsedModule, outer: Any, parts: list[ast.expr], far: int) -> Any:
    """Return what `outer[parts]` means."""
    if outer is Literal:
        return Literal[tuple(_meaning(module, part, far) for part in parts)]
    if outer is Annotated:
        meant = _meaning(module, parts[0], far)
        for part in parts[1:]:
            called = part.func if isinstance(part, ast.Call) else None
            name = called.id if isinstance(called, ast.Name) else ""
            bounds = _bounds(module, part) if isinstance(part, ast.Call) else None
            if bounds is None and module.origin(name) != _IN_WORDS:
                raise UnclearSourceError(f"{module.name}: {ast.unparse(part)}")
            meant = meant if bounds is None else Annotated[meant, bounds]
        return meant
    inner = tuple(_meaning(module, part, far) for part in parts)
    if outer not in _PLAIN.values() or any(isinstance(part, str) for part in inner):
        raise UnclearSourceError(f"{module.name}: {outer}")
    return outer[inner if len(inner) > 1 else inner[0]]
