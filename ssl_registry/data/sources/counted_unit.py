"""What labels are counted by; nothing heavy is imported here, for settings say it."""

from typing import Literal, TypeAlias

CountedUnit: TypeAlias = Literal["patients", "cases"]
"""Of what labels are counted, and shares of them are taken."""
