"""The line that every experiment has; nothing heavy is imported here, for settings name it."""

from typing import Final

SCRATCH: Final = "scratch"
"""The line of training from random weights."""
