"""Fields are judged by a class's source as the class itself judges them, or not at all."""

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssl_registry import registry
from ssl_registry.entry import Entry
from ssl_registry.errors import ConfigError
from ssl_registry.parsed_module import UnclearSourceError
from ssl_registry.sketched_fields import check_fields, sketch

ENTRIES = registry.entries()
ODD: list[Any] = [-7, 0, 10**9, 0.5, "odd", None, True, [0], [[1]], {}, {"noize": 1}, {"noise": -1}]
"""Values, few of which any field takes."""

PLUGIN = """
from typing import Annotated, ClassVar, Literal
from pydantic import ConfigDict, Field, field_validator, model_validator
from ssl_registry import PretextTask as Base

Side = Annotated[int, Field(ge=2)]
MOST = 9

class Shared(Base):
    spatial_dims = 3
    known: ClassVar[int] = 1
    side: Side | tuple[Side, ...] = 4
    most: int = Field(4, le=MOST)
    due: Literal["a", "b"]

"""


def refusal(judge: Callable[[], object]) -> str | None:
    """Return the words in which something is refused, or None."""
    try:
        judge()
    except ConfigError as error:
        return str(error)
    return None


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_what_the_source_refuses_the_class_refuses_in_the_same_words(entry: Entry) -> None:
    example = registry.get(entry.name).example_fields
    fields = registry.get(entry.name).listed_fields()
    tried = [{f"{field}x": 1} for field in fields] + [{f: value} for f in fields for value in ODD]
    refused, source = 0, sketch(entry)
    for said in ({**example, **one} for one in tried):
        early = refusal(lambda said=said: source.check(entry.name, said))  # type: ignore[misc]
        late = refusal(lambda said=said: registry.create(entry.name, **said))  # type: ignore[misc]
        assert early in (None, late)
        refused += early is not None
    assert refused >= len(fields)  # each misspelt one


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_source_takes_what_the_class_made(entry: Entry) -> None:
    made = registry.create(entry.name, **registry.get(entry.name).example_fields)
    check_fields(entry, entry.name, made.model_dump(mode="json"))
    assert set(sketch(entry).model.model_fields) == set(type(made).model_fields)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Entry]:
    """Write a package whose module fails when it is imported, and return the entry of a class."""
    package = tmp_path / "sketched"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('the package was imported')")
    monkeypatch.syspath_prepend(tmp_path)

    def written(lines: str) -> Entry:
        text = PLUGIN + textwrap.dedent(lines)
        (package / "tasks.py").write_text(f"{text}\nraise AssertionError('it was imported')\n")
        return Entry("mine", "sketched.tasks:Mine", 3)

    return written


def test_a_package_is_read_and_not_imported(write: Callable[[str], Entry]) -> None:
    entry = write("class Mine(Shared):\n    own: float = Field(gt=0)")

    def said(**fields: Any) -> str | None:
        return refusal(lambda: check_fields(entry, "mine", fields))

    assert said(due="a", own=1, side=[2, 3], levels=1) is None
    assert said(due="a", own=1, sid=3) == "mine has no field 'sid'; did you mean side?"
    assert said(due="a") == "mine needs the field 'own'"
    assert "less than or equal to 9" in (said(due="a", own=1, most=10) or "")
    assert "'a' or 'b'" in (said(due="c", own=1) or "")
    assert "greater than 0" in (said(due="a", own=0) or "")
    assert "greater than or equal to 2" in (said(due="a", own=1, side=[1]) or "")
    assert "sketched" not in sys.modules


@pytest.mark.parametrize(
    "lines",
    [
        "class Mine(Shared):\n    model_config = ConfigDict(extra='allow')",
        "class Mine(Shared, extra='allow'):\n    pass",
        "@changed\nclass Mine(Shared):\n    pass",
        "class Mine(made_of(Shared)):\n    pass",
        "class Mine(Elsewhere):\n    pass",
        "class Mine(Shared):\n    for name in range(3): pass",
        "def Mine(): pass",
        "class Mine(Shared):\n    def __init__(self, **said): super().__init__(due='a')",
        "class Mine(Shared):\n    model_validate = classmethod(lambda cls, said: cls(due='a'))",
        "class Mine(Shared):\n    _one = field_validator('side', mode='before')(changed)",
    ],
)
def test_a_class_that_may_have_other_fields_is_left_alone(
    lines: str, write: Callable[[str], Entry]
) -> None:
    entry = write(lines)
    check_fields(entry, "mine", {"anything": 1})
    with pytest.raises(UnclearSourceError):
        sketch(entry)


@pytest.mark.parametrize(
    ("lines", "free"),
    [
        ('former_fields: ClassVar[dict] = {"old": RenamedField("side")}', "old"),
        ("side: int = Field(3, alias='old')", "old"),
        ("side: Annotated[int, Spelt()] = 3", "side"),
        ("side: numbers.Real = 3", "side"),
        ("side: int = pick(3)", "due"),
        ('@field_validator("side", mode="before")\ndef one(cls, value): return 4', "side"),
        (
            '@model_validator(mode="before")\ndef one(cls, said): return {**said, "side": 4}',
            "side",
        ),
        ('@field_validator("*", mode="before")\ndef one(cls, value): return 4', "side"),
        ('@model_validator(mode="before")\ndef one(cls, said): return helped(said)', "side"),
        ('@model_validator(mode="before")\ndef one(cls, said): return helped(said)', "due"),
    ],
)
def test_a_field_that_the_class_may_take_is_left_to_it(
    lines: str, free: str, write: Callable[[str], Entry]
) -> None:
    entry = write("class Mine(Shared):\n" + textwrap.indent(lines, "    "))
    allowed = {"due": "a"} | {free: "b" if free == "due" else object()}
    check_fields(entry, "mine", allowed)
    with pytest.raises(ConfigError, match="has no field 'odd'"):
        check_fields(entry, "mine", allowed | {"odd": 1})
