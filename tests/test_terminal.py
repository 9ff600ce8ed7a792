r"""The terminal is not steered by what is printed: `\x1b` in a name comes out as four letters."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from ssl_registry.terminal import SafeConsole, harmless

HOSTILE = [
    "\x1b[2J",  # clears the screen
    "\x1b]0;owned\x07",  # names the window
    "\x1b]8;;http://evil\x1b\\click",  # a link
    "\x9b31m",  # a colour, in one byte
    "\rerror: none",  # writes over what stands there
    "\b\b\bsafe",
    "\u202egnp.exe",  # turns the direction of writing
    "\x00\x0e\x7f",
    "\udc80",  # a byte of a file name that is no text
]


def printed(*things: object) -> str:
    file = io.StringIO()
    SafeConsole(file=file, width=200).print(*things)
    return file.getvalue()


def shows(text: str) -> bool:
    return all(char.isprintable() or char in "\n\t" for char in text)


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_whatever_way_a_text_comes_it_steers_nothing(text: str) -> None:
    table = Table(text)
    table.add_row(text)
    for thing in (text, Text(text), table):
        said = printed(thing)
        assert shows(said)
    assert harmless(text) in printed(text)
    assert harmless(text) in printed(table)


@given(st.text(st.characters(), max_size=40))
def test_any_text_is_shown_and_stays_shown(text: str) -> None:
    once = harmless(text)
    assert shows(once)
    assert harmless(once) == once
    once.encode("utf-8")


def test_letters_of_all_languages_stay() -> None:
    text = "Lebergefäß, 肝臓, печень\n\tジグソー"
    assert harmless(text) == text


def test_markup_and_emoji_codes_are_no_codes_here() -> None:
    assert printed("[bold]liver[/bold] :bomb:") == "[bold]liver[/bold] :bomb:\n"
