"""Documents that a user may have been handed: JSON and YAML, read within bounds.

They are untrusted: none of them runs code, none takes more memory than its size warrants,
and each is either a value or one message that names it.
"""

import json
import reprlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ssl_registry.errors import SslRegistryError, spell

if TYPE_CHECKING:
    from yaml import Node

MOST_JSON: Final = 64 * 2**20
"""Bytes that a JSON file may have: a list of a million cases."""

MOST_YAML: Final = 2**18
"""Bytes that a YAML text may have; settings need a hundredth of it."""

MOST_DEPTH: Final = 64
"""Levels of lists and mappings within each other."""

MOST_NODES: Final = 100_000
"""Values that a YAML file may stand for, once every alias is replaced by what it names."""


_UNDONE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What PyYAML raises, besides its own errors, for tags that do not fit their value."""

_TAGS = {"str", "int", "float", "bool", "null", "timestamp", "seq", "map", "merge"}


def brief(value: object) -> str:
    """Return a value as it is written in Python, cut short where it is long or deep."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 120
    return spell(short.repr(value))


def read_text(path: Path, error: type[SslRegistryError], most: int) -> str:
    """Return the text of a UTF-8 file, with or without a byte order mark.

    Raises:
        error: there is none, it has more than `most` bytes, or it is not UTF-8.
    """
    try:
        if not path.is_file():
            raise error(f"{spell(path)}: there is no such file")
        size = path.stat().st_size
        if size > most:
            raise error(f"{spell(path)} has {size:,} bytes; at most {most:,} are read")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as cause:
        raise error(
            f"{spell(path)} is not UTF-8 text (byte {cause.start}): save it as UTF-8"
        ) from cause
    except (OSError, ValueError) as cause:  # ValueError: the path holds a NUL
        raise error(f"{spell(path)} cannot be read: {cause}") from cause


def read_json(path: Path, error: type[SslRegistryError]) -> Any:
    """Return what a JSON file says.

    Raises:
        error: it cannot be read, is not JSON, or is so by Python's licence alone: NaN,
            infinity, or one key twice in an object.
    """
    text = read_text(path, error, MOST_JSON)
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
        _check_depth(value)
    except (ValueError, RecursionError) as cause:
        raise error(f"{spell(path)} cannot be read as JSON: {_reason(cause)}") from cause
    return value


def read_yaml(path: Path, error: type[SslRegistryError]) -> Any:
    """Return what a YAML file says: numbers, text, lists and mappings, never objects.

    Raises:
        error: it cannot be read, or `parse_yaml` refuses it.
    """
    return parse_yaml(read_text(path, error, MOST_YAML), spell(path), error)


def parse_yaml(text: str, what: str, error: type[SslRegistryError]) -> Any:
    """Return what a YAML text says.

    Aliases are counted before anything is made of them, so a few lines cannot stand for
    a billion values.

    Raises:
        error: it is not valid YAML, names a key twice, or is too deep or too large. The
            message begins with `what`.
    """
    import yaml

    if len(text) > MOST_YAML:
        raise error(f"{what} has {len(text):,} characters; at most {MOST_YAML:,} are read")
    try:
        return _construct(text)
    except (yaml.YAMLError, *_UNDONE) as cause:
        raise error(f"{what} is not valid YAML: {_reason(cause)}") from cause


def _construct(text: str) -> Any:
    import yaml

    # libyaml reads the same ten times as fast; some builds of PyYAML come without it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        _extent(root, {})
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _reason(cause: BaseException) -> str:
    too_deep = isinstance(cause, RecursionError) or "maximum nesting depth" in str(cause)
    return "it is nested too deeply" if too_deep else str(cause)[:500]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {brief(twice)} stands twice in one object")
    return value


def _constant(word: str) -> Any:
    raise ValueError(f"{word} is not a JSON number")


def _check_depth(value: Any) -> None:
    level: Iterable[Any] = [value]
    for _ in range(MOST_DEPTH + 1):
        level = [inner for outer in level for inner in _within(outer)]
        if not level:
            return
    raise ValueError(f"it is nested more than {MOST_DEPTH} levels deep")


def _within(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


class _Extent(NamedTuple):
    """What a YAML node stands for with every alias written out: values, and levels of them."""

    values: int
    levels: int


_ENDLESS = _Extent(MOST_NODES + 1, 0)


def _extent(node: "Node", known: dict[int, _Extent]) -> _Extent:
    """Return how much a YAML node stands for.

    Raises:
        ValueError: it is too much, too deep or endless, or a mapping has a key twice.
    """
    if id(node) not in known:
        known[id(node)] = _ENDLESS  # what stands there if the node holds itself
        known[id(node)] = _measure(node, known)
    extent = known[id(node)]
    if extent.values > MOST_NODES:
        raise ValueError(f"its aliases stand for more than {MOST_NODES:,} values")
    if extent.levels > MOST_DEPTH:
        raise ValueError(f"it is nested more than {MOST_DEPTH} levels deep")
    return extent


def _measure(node: "Node", known: dict[int, _Extent]) -> _Extent:
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    if kind not in _TAGS:
        raise ValueError(f"{brief(kind)} is not a kind of value that settings have")
    if isinstance(node.value, str):
        return _Extent(1 + len(node.value) // 64, 1)
    inner = [_extent(one, known) for one in _inner_nodes(node)]
    return _Extent(
        1 + sum(one.values for one in inner), 1 + max((one.levels for one in inner), default=0)
    )


def _inner_nodes(node: "Node") -> "Iterator[Node]":
    """Yield the nodes within a list or mapping; the keys of a mapping are seen to differ."""
    keys = set()
    for inner in node.value:
        if not isinstance(inner, tuple):
            yield inner
            continue
        key, value = inner
        name = (key.tag, str(key.value))
        if name in keys:
            raise ValueError(f"the key {brief(key.value)} stands twice{key.start_mark}")
        keys.add(name)
        yield key
        yield value
