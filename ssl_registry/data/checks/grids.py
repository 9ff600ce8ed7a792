"""Grids of a source's volumes: affines, orientations, spacings and channels, side by side."""

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from ssl_registry.data.formats.headers import Header
from ssl_registry.data.problems import Problem

SHEAR: float = 0.01
"""Cosine between two axes of an affine from which they count as askew."""

SPACINGS: tuple[float, float] = (0.01, 20.0)
"""Millimetres between which the spacing of a body's scan lies; beyond, the unit is doubtful."""

SAME: float = 0.01
"""Share by which spacings may differ and still count as one."""


def channel_problems(headers: Mapping[str, Header], stated: int | None) -> Iterator[Problem]:
    """Yield an error for each volume with other channels than most, for a network has one number.

    Args:
        headers: of the volumes, by the names of the cases.
        stated: channels that the data themselves announce.
    """
    counts = Counter(header.channels for header in headers.values())
    if not counts:
        return
    most = max(counts, key=lambda channels: (counts[channels], channels == stated))
    for name, header in headers.items():
        if header.channels != most:
            yield Problem(
                "error",
                header.file,
                f"has {header.channels} channels ({header.spell_shape()}), unlike most, which "
                f"have {most}",
                "take it out, or split it into one file for each channel",
                (name,),
            )
    first = next(header for header in headers.values() if header.channels == most)
    if stated is not None and stated != most:
        yield Problem(
            "note",
            first.file,
            f"and others have {most} channels, but 'modality' in dataset.json names {stated}",
            "correct dataset.json if the scans are right",
        )
    elif stated is None and most > 1:
        yield Problem(
            "note",
            first.file,
            f"and others have a fourth axis of {most}, which is taken for channels",
            "split them if these are points in time",
        )


def grid_notes(headers: Mapping[str, Header]) -> Iterator[Problem]:
    """Yield notes on affines that are absent or odd, and on grids that differ."""
    for header in headers.values():
        yield from _affine_notes(header)
    yield from _orientation_note(list(headers.values()))
    yield from _spacing_note(list(headers.values()))


def _affine_notes(header: Header) -> Iterator[Problem]:
    if not header.placed:
        yield Problem(
            "note",
            header.file,
            "states no affine (NIfTI: sform and qform are 0; NRRD: no space): its axes are taken "
            f"to be {header.orientation}",
            "convert it again from DICOM if left and right matter",
        )
    axes = header.affine[:3, :3] / np.linalg.norm(header.affine[:3, :3], axis=0)
    askew = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if askew > SHEAR:
        yield Problem(
            "note",
            header.file,
            f"has axes that are {90 - np.degrees(np.arccos(askew)):.0f} degrees off a right angle",
            "undo the shear of a tilted gantry when converting from DICOM",
        )
    low, high = SPACINGS
    if not all(low <= step <= high for step in header.spacing):
        yield Problem(
            "note",
            header.file,
            f"has voxels of {_spell(header.spacing)} mm, which are not a body's",
            "correct its affine if its unit was not mm",
        )


def _orientation_note(headers: list[Header]) -> Iterator[Problem]:
    counts = Counter(header.orientation for header in headers)
    if len(counts) > 1:
        rare = counts.most_common()[-1][0]
        shown = ", ".join(f"{times} {code}" for code, times in counts.most_common())
        yield Problem(
            "note",
            next(header.file for header in headers if header.orientation == rare),
            f"and others are oriented differently: {shown}",
            "nothing: all are brought to RAS+",
        )


def _spacing_note(headers: list[Header]) -> Iterator[Problem]:
    """Tell the range of the spacings along the body's own axes, where they differ."""
    if not headers:
        return
    spacings = np.array([_along_the_body(header) for header in headers])
    low, high = spacings.min(axis=0), spacings.max(axis=0)
    if (high > low * (1 + SAME)).any():
        coarsest = headers[int(spacings.prod(axis=1).argmax())]
        yield Problem(
            "note",
            coarsest.file,
            f"and others differ in their spacing: {_spell(low)} to {_spell(high)} mm",
            "set preprocessing.spacing to bring all to one, in mm",
        )


def _along_the_body(header: Header) -> tuple[float, ...]:
    """Return the spacing along left-right, back-front and foot-head, whatever the file's order."""
    places = {"L": 0, "R": 0, "P": 1, "A": 1, "I": 2, "S": 2}
    along = dict(zip((places[axis] for axis in header.orientation), header.spacing, strict=True))
    return tuple(along[axis] for axis in range(3))


def _spell(spacing: "np.ndarray | tuple[float, ...]") -> str:
    return "x".join(f"{step:.3g}" for step in spacing)
