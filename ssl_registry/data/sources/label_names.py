"""Label maps among images: what their names mean, and which values they hold."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

_LABEL: Final = re.compile(
    r"(.+?)[-_. ](seg|segs|segm|segmentation|mask|masks|label|labels|labelmap|dseg|gt|roi)",
    re.IGNORECASE,
)


def label_maps_among(files: Mapping[str, Path]) -> dict[str, Path]:
    """Return the images that are label maps of others beside them, by their names.

    A label map is called as its image is, and something like `_seg` or `_mask`: `p1_seg` beside
    `p1_t1` or `p1`.

    Args:
        files: images by their paths without suffix.
    """
    marked = {name: found.group(1) for name in files if (found := _LABEL.fullmatch(name))}
    scans: dict[str, list[str]] = {}
    for name in files:
        if name not in marked:
            path = PurePosixPath(name)
            scans.setdefault(path.parent.as_posix(), []).append(path.name)
    maps: dict[str, Path] = {}
    for name, base in marked.items():
        path = PurePosixPath(base)
        if any(scan.startswith(path.name) for scan in scans.get(path.parent.as_posix(), ())):
            maps[name] = files[name]
    return maps
