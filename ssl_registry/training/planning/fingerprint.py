"""The fingerprint of a data set: spacings, sizes, intensities and labels, after nnU-Net's.

Headers are read of all cases, voxels of a few.

Reference: Isensee et al. 2021 (doi:10.1038/s41592-020-01008-z), for what is looked at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ssl_registry.data.checks.report import channels_of, check_headers
from ssl_registry.data.formats.headers import Header
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.preparing.slice_axes import SliceAxis, slice_axis
from ssl_registry.data.preparing.slice_order import Placed
from ssl_registry.data.sources.cases import Case, Source
from ssl_registry.errors import DataError, spell

Numbers = npt.NDArray[np.float64]

SAMPLED: Final = 20
"""Cases whose voxels are read, spread evenly over all."""

SHOWN: Final = 5
"""Problems that are listed one by one."""

AIR_HU: Final = (-1100.0, -500.0)
"""Between which the lowest percentile of a CT lies, in Hounsfield units."""

BONE_HU: Final = 150.0
"""What the highest percentile of a CT exceeds."""


@dataclass(frozen=True)
class DatasetFingerprint:
    """What is known of the images of a data set, along the axes that the network sees.

    Attributes:
        cases: how many there are.
        labelled: how many of them have labels.
        target_kind: `"mask"` or `"class"`; None without labels.
        classes: number of label values or classes, background included.
        dims: of what the network sees.
        across: how slices lie; None where images are seen whole.
        depth: median number of slices of a volume; 1 for images seen whole.
        channels: of each image.
        shapes: `[N, dims]` in voxels, once air is cropped.
        spacings: `[N, dims]` in mm; None for pictures.
        hounsfield: whether the intensities are Hounsfield units.
        labelled_range: the 0.5 and 99.5 percentiles of the intensities of labelled voxels.
        notes: what was found and is worth a word.
    """

    cases: int
    labelled: int
    target_kind: Literal["mask", "class"] | None
    classes: int
    dims: Literal[2, 3]
    across: SliceAxis | None
    depth: float
    channels: int
    shapes: Numbers
    spacings: Numbers | None
    hounsfield: bool
    labelled_range: tuple[float, float] | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Looked:
    """What was seen of one case: its shape before and after the crop, and its intensities."""

    shape: tuple[int, ...]
    cropped: tuple[int, ...]
    spacing: tuple[float, ...]
    channels: int
    ends: tuple[float, float]
    marked: Numbers


def _usable_headers(source: Source) -> Mapping[str, Header]:
    """Return the headers of all images.

    Raises:
        DataError: some files cannot be used.
    """
    problems, headers = check_headers(source)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        lines = [f"{spell(problem.file)} {problem.reason}" for problem in errors[:SHOWN]]
        more = [f"and {len(errors) - SHOWN} more"] if len(errors) > SHOWN else []
        remedy = "correct the data, or take such files out: a plan is made for all of them"
        raise DataError("\n".join([*lines, *more, remedy]))
    return headers


def take_fingerprint(source: Source, across: SliceAxis | None = None) -> DatasetFingerprint:
    """Look at a data set.

    Args:
        source: opened.
        across: across which axis its volumes are to be seen by their slices.

    Raises:
        DataError: files cannot be used, or the images differ in their number of channels.
    """
    headers = _usable_headers(source)
    places = np.linspace(0, len(source.cases) - 1, min(SAMPLED, len(source.cases)))
    sample = [source.cases[round(place)] for place in places]
    looked = [_look_at(case, across) for case in sample]
    channels = {one.channels for one in looked}
    if len(channels) > 1:
        raise DataError(
            f"the images of {spell(source.name)} differ in their number of channels "
            f"({', '.join(map(str, sorted(channels)))}): keep those of one, or set channels=..."
        )
    shapes, spacings = _grids(headers, looked, across)
    kept = np.median([np.divide(one.cropped, one.shape) for one in looked], axis=0)
    shapes = np.maximum(1, shapes * kept)
    depth = float(np.median(shapes[:, 0])) if across else 1.0
    flat = source.dims == 2
    first = 1 if across else 0
    marked = np.concatenate([one.marked for one in looked])
    kind: Literal["mask", "class"] | None = None
    if source.labelled:
        kind = "class" if source.graded else "mask"
    return DatasetFingerprint(
        cases=len(source.cases),
        labelled=len(source.labelled),
        target_kind=kind,
        classes=len(source.labels),
        dims=2 if flat or across else 3,
        across=across,
        depth=depth,
        channels=channels_of(source) or looked[0].channels,
        shapes=shapes[:, first:],
        spacings=None if flat else spacings[:, first:],
        hounsfield=not flat and _is_ct(source, looked),
        labelled_range=_range_of(marked) if len(marked) else None,
        notes=source.notes,
    )


def _look_at(case: Case, across: SliceAxis | None) -> _Looked:
    scan = case.read()
    whole = Preprocessing(crop=False).place(scan, None, case.name, across)
    placed = Preprocessing().place(scan, None, case.name, across)
    image: Tensor = scan["image"].data
    values = image.numpy()
    marked = np.zeros(0)
    if "label" in scan:
        inside = scan["label"].data[0].numpy() > 0
        marked = values[:, inside].ravel()[:: max(1, int(inside.sum()) // 1000)].astype(np.float64)
    low, high = np.percentile(values, (0.5, 99.5))
    return _Looked(
        shape=tuple(whole.image.shape[1:]),
        cropped=tuple(placed.image.shape[1:]),
        spacing=_spacing_of(placed, len(placed.image.shape) - 1),
        channels=len(image),
        ends=(float(low), float(high)),
        marked=marked,
    )


def _spacing_of(placed: Placed, dims: int) -> tuple[float, ...]:
    return tuple(np.linalg.norm(placed.affine[:3, :3], axis=0)[:dims].tolist())


def _grids(
    headers: Mapping[str, Header], looked: Sequence[_Looked], across: SliceAxis | None
) -> tuple[Numbers, Numbers]:
    """Return shapes and spacings of all volumes by their headers, or of what was looked at."""
    if not headers:
        return (
            np.array([one.shape for one in looked], np.float64),
            np.array([one.spacing for one in looked], np.float64),
        )
    rows: list[tuple[Any, Any]] = []
    for header in headers.values():
        sides, spacing = header.upright()
        order = [0, 1, 2]
        if across is not None:
            axis = slice_axis(across, spacing)
            order = [axis, *(other for other in order if other != axis)]
        rows.append(([sides[axis] for axis in order], [spacing[axis] for axis in order]))
    shapes, spacings = zip(*rows, strict=True)
    return np.array(shapes, np.float64), np.array(spacings, np.float64)


def _is_ct(source: Source, looked: Sequence[_Looked]) -> bool:
    """Whether the data say that they are CTs, or their intensities look like Hounsfield units."""
    if source.channel_names:
        return all(name.lower() == "ct" for name in source.channel_names)
    lows, highs = zip(*(one.ends for one in looked), strict=True)
    air = AIR_HU[0] <= min(lows) and max(lows) <= AIR_HU[1]
    return air and bool(min(highs) > BONE_HU)


def _range_of(values: Numbers) -> tuple[float, float]:
    low, high = np.percentile(values, (0.5, 99.5))
    return float(low), float(high)
