"""How much work something is, counted in lines of the core that run: the turns of its loops."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

import ssl_registry

CORE: Final = str(Path(ssl_registry.__file__).parent)


def lines_run(work: Callable[[], object]) -> int:
    """Return how many lines of the core are run: the turns of its loops, that is."""
    count = 0

    def note(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line"
        return note

    def enter(frame: FrameType, _: str, __: Any) -> Any:
        return note if frame.f_code.co_filename.startswith(CORE) else None

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        work()
    finally:
        sys.settrace(before)
    return count
