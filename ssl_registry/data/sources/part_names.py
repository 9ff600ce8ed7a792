"""What tables call the parts of a split."""

from collections.abc import Mapping
from typing import Final

from ssl_registry.data.sources.cases import Part

PARTS: Final[Mapping[str, Part]] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""The parts by what they may be called, in lower case."""
