"""Documents from strangers: any bytes are a value or one message that names the file."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ssl_registry.cli.overrides import read_words
from ssl_registry.documents import (
    MOST_DEPTH,
    MOST_YAML,
    brief,
    parse_yaml,
    read_json,
    read_text,
    read_yaml,
)
from ssl_registry.errors import ConfigError, DataError, SslRegistryError, spell

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)

SCRAPS = st.lists(
    st.sampled_from(
        [
            *[
                "a",
                "b: ",
                "- ",
                "[",
                "]",
                "{",
                "}",
                ", ",
                ": ",
                "\n",
                "  ",
                "? ",
                "| ",
                "> ",
                "'",
                '"',
            ],
            *["&x ", "*x", "<<: ", "#", "%YAML 1.1", "---", "...", "=", "~", "null", "\t", "\x00"],
            *["!!", "!!int ", "!!bool ", "!!python/object:os.system ", "é", "\ud800", "9" * 50],
            *["1e9", "0x", "1:2:3", "2001-02-30", ".nan"],
        ]
    ),
    max_size=30,
).map("".join)
"""Texts made of what YAML is made of."""


@given(content=st.binary(max_size=200))
def test_any_bytes_are_json_or_one_message(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(content)
    try:
        read_json(path, DataError)
    except DataError as error:
        assert "any.json" in str(error)  # noqa: PT017


@given(value=PLAIN)
def test_json_says_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    assert read_json(path, DataError) == value


@given(text=SCRAPS | st.text(max_size=60))
def test_any_text_is_yaml_or_one_message(text: str) -> None:
    try:
        said = parse_yaml(text, "the text", ConfigError)
    except ConfigError as error:
        assert str(error).startswith("the text")  # noqa: PT017
    else:
        assert len(brief(said)) < 5000


@given(value=PLAIN)
def test_yaml_says_what_was_written(value: object) -> None:
    assert parse_yaml(yaml.safe_dump(value), "the text", ConfigError) == value


@given(words=st.lists(st.tuples(st.text(max_size=12), SCRAPS).map("=".join) | SCRAPS, max_size=4))
def test_any_words_are_settings_or_one_message(words: list[str]) -> None:
    try:
        assert isinstance(read_words(words), dict)
    except SslRegistryError as error:
        assert str(error)  # noqa: PT017


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]"]
    lines += [
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, levels)
    ]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (bomb(30), "aliases stand for more than"),
        ("a: &a [*a]", "aliases stand for more than"),
        ("a: &a {b: *a}", "aliases stand for more than"),
        ("[" * 3000, "nested too deeply"),
        ("- " * 200 + "1", "more than 64 levels"),
        ("a: 1\nb: 2\na: 3", "'a' stands twice"),
        ("a: {b: 1, b: 2}", "'b' stands twice"),
        ("!!python/object/apply:os.system [ls]", "is not a kind of value"),
        ("!!set {a, b}", "'set' is not a kind of value"),
        ("!!timestamp x", "not valid YAML"),
        ("!!int ''", "not valid YAML"),
        ("a: 2001-02-30", "not valid YAML"),
        ("a: " + "9" * 10_000, "not valid YAML"),
        ("a: 1\n---\na: 1", "not valid YAML"),
        ("a" * (MOST_YAML + 1), "characters; at most"),
    ],
)
def test_what_yaml_should_not_say_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_yaml(text, "the text", ConfigError)


def test_anchors_may_be_used_as_they_are_meant() -> None:
    text = "base: &base {size: 48, epochs: 3}\nrun:\n  <<: *base\n  epochs: 5\nagain: *base"
    assert parse_yaml(text, "the text", ConfigError) == {
        "base": {"size": 48, "epochs": 3},
        "run": {"size": 48, "epochs": 5},
        "again": {"size": 48, "epochs": 3},
    }


def test_depth_is_counted_through_aliases() -> None:
    deep = "[" * 40 + "1" + "]" * 40
    parse_yaml(f"a: {deep}", "the text", ConfigError)
    twice = "[" * 40 + "*a" + "]" * 40
    with pytest.raises(ConfigError, match=f"more than {MOST_DEPTH} levels"):
        parse_yaml(f"a: &a {deep}\nb: {twice}", "the text", ConfigError)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 70 + b"]" * 70, "more than 64 levels"),
        (b"9" * 10_000, "cannot be read as JSON"),
        (b'"\xff"', "not UTF-8"),
        (b"", "cannot be read as JSON"),
    ],
)
def test_what_json_should_not_say_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_json(tmp_path / "a.json", DataError)


def test_files_are_read_up_to_a_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("12345")
    assert read_text(tmp_path / "a", DataError, most=5) == "12345"
    with pytest.raises(DataError, match="has 5 bytes; at most 4"):
        read_text(tmp_path / "a", DataError, most=4)


def test_what_is_no_file_is_said_to_be_none(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path, tmp_path / ("a" * 5000), Path("a\x00b")):
        with pytest.raises(DataError):
            read_yaml(path, DataError)


@given(name=st.text())
def test_a_name_is_shown_on_one_line(name: str) -> None:
    assert spell(name).isprintable()
    if name.isprintable() and len(name) < 1000:
        assert spell(name) == name


def test_letters_of_all_languages_are_shown() -> None:
    assert spell("скан 扫描 Röntgen.nii") == "скан 扫描 Röntgen.nii"
    assert spell("a\nb\x1b[2J\udcff") == r"a\nb\x1b[2J\udcff"
    assert len(spell("a" * 10_000)) < 1010
