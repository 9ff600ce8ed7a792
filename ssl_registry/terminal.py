"""The terminal, which nothing that is printed may steer.

Names of cases, classes, files and plugins, cells of tables and texts of errors come from the data's
authors, whoever they are. On their way to the terminal all of them pass here.
"""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from ssl_registry.errors import printable

_LAYOUT = str.maketrans("", "", "\n\t")
"""Characters that cannot be shown, but are no danger."""


def harmless(text: str) -> str:
    r"""Return a text whose control characters are written as in Python (`\x1b`).

    Line ends and tabs stay.
    """
    if text.translate(_LAYOUT).isprintable():
        return text
    lines = ("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))
    return "\n".join(lines)


class SafeConsole(Console):
    """A console that prints text as it stands: no markup, no emoji codes, no control characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as text; it is made harmless first, so that its width is known."""
        return super().render_str(harmless(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield what is printed; what rich itself says to the terminal passes."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=harmless(segment.text))
