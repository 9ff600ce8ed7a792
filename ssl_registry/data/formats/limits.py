"""How large an image may be: what a header announces is compared before memory is taken."""

import math
import os
from pathlib import Path
from typing import Final

from ssl_registry.errors import BadFileError, ConfigError

MOST_VOXELS: Final = 2**30
"""Voxels, all channels together, that one image may have: 4 GiB as float32."""

VARIABLE: Final = "SSL_REGISTRY_MAX_VOXELS"
"""Environment variable that names another number."""

AGAIN: Final = "copy it again from where it came"

DEFLATE_RATIO: Final = 1032
"""Most bytes that one byte of a deflate stream can stand for (gzip, zip, zlib).

Reference: M. Adler, zlib technical details (zlib.net/zlib_tech.html).
"""


def most_voxels() -> int:
    """Return the voxels that one image may have.

    Raises:
        ConfigError: `SSL_REGISTRY_MAX_VOXELS` is not a positive whole number.
    """
    said = os.environ.get(VARIABLE)
    if not said:
        return MOST_VOXELS
    if not (said.isascii() and said.isdecimal() and int(said[:30]) > 0):
        raise ConfigError(f"{VARIABLE}={said!r}: expected a whole number of voxels, 1 or more")
    return int(said[:30])


def check_voxel_count(file: Path | str, shape: tuple[int, ...]) -> None:
    """See that an image of this shape, channels included, may be taken into memory.

    Raises:
        BadFileError: it may not.
    """
    count = math.prod(shape)
    if count > most_voxels():
        raise BadFileError(
            file,
            f"announces {count:,} voxels ({'x'.join(map(str, shape))}), more than the "
            f"{most_voxels():,} that one image may have",
            f"replace it, or, if it is right, set {VARIABLE} to a higher number",
        )


def check_bytes(file: Path | str, announced: int, held: int, *, packed: bool) -> None:
    """See that a file of `held` bytes can hold the `announced` ones.

    Args:
        file: what to name in the error.
        announced: bytes of header and voxels together.
        held: bytes of the file.
        packed: whether they are compressed, so that each may stand for many.

    Raises:
        BadFileError: it cannot.
    """
    if announced > held * (DEFLATE_RATIO if packed else 1):
        most = f"at most {held * DEFLATE_RATIO:,}" if packed else f"{held:,}"
        raise BadFileError(
            file,
            f"is cut short, or its header is wrong: it announces {announced:,} bytes and holds "
            f"{most}",
            AGAIN,
        )
