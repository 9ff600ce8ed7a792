"""Label maps and channels: they lie on their scan's grid, and labels are those named."""

import itertools
from pathlib import Path

import numpy as np
from torch import Tensor

from ssl_registry.data.formats.headers import Header
from ssl_registry.errors import BadFileError, spell

SHIFT = 0.5
"""Voxels by which a label map may lie beside its scan, at the corner where it is worst."""


def check_grid(label: Header, image: Header) -> None:
    """See that a label map lies on its scan's grid.

    Where a file does not state its affine, that of the other holds.

    Raises:
        BadFileError: it has another shape or several channels, or lies half a voxel or more
            beside the scan, as it does where an axis is turned round.
    """
    if label.shape != image.shape or label.channels != 1:
        raise BadFileError(
            label.file,
            f"has shape {label.spell_shape()}, but its scan {spell(image.file.name)} has "
            f"{image.spell_shape()}",
            "draw the labels on the scan's own grid",
        )
    shift = shift_of(label, image) if label.placed and image.placed else 0.0
    if shift >= SHIFT:
        raise BadFileError(
            label.file,
            f"lies up to {shift:.3g} voxels beside its scan {spell(image.file.name)}: its affine "
            f"is another ({label.orientation}, the scan {image.orientation})",
            "resample it onto the scan's grid, or, if only its header is wrong, copy the scan's",
        )


def check_channel(channel: Header, first: Header) -> None:
    """See that a channel in a file of its own lies on the grid of the first one.

    Raises:
        BadFileError: it has another shape or several channels itself, or lies half a voxel or
            more beside the first.
    """
    if first.channels != 1:
        raise BadFileError(
            first.file,
            f"has {first.channels} channels itself, but is the first of several files of one scan",
            "keep one channel a file, or all in one",
        )
    if channel.shape != first.shape or channel.channels != 1:
        raise BadFileError(
            channel.file,
            f"has shape {channel.spell_shape()}, but the first channel of its scan, "
            f"{spell(first.file.name)}, has {first.spell_shape()}",
            "resample the channels of a scan onto one grid",
        )
    shift = shift_of(channel, first) if channel.placed and first.placed else 0.0
    if shift >= SHIFT:
        raise BadFileError(
            channel.file,
            f"lies up to {shift:.3g} voxels beside the first channel of its scan, "
            f"{spell(first.file.name)}: its affine is another",
            "resample the channels of a scan onto one grid",
        )


def shift_of(label: Header, image: Header) -> float:
    """Return how many voxels, at the worst corner, a label map lies beside its scan."""
    ends = ((0, side - 1) for side in image.shape)
    corners = np.array([[*corner, 1] for corner in itertools.product(*ends)])
    there = np.linalg.solve(image.affine, label.affine @ corners.T).T
    return float(np.abs(there - corners).max())


def as_black_and_white(marks: Tensor, known: frozenset[int]) -> Tensor:
    """Return a map of black and white with the number that the other ones have for white.

    It is 1 or 255, by the program that drew them.
    """
    white = {1: 255, 255: 1}.get(max(known, default=0))
    if len(known) != 2 or white is None or not set(np.unique(marks.numpy())) <= {0, white}:
        return marks
    return (marks > 0).to(marks.dtype) * max(known)


def check_values(marks: Tensor, file: Path, known: frozenset[int]) -> None:
    """See that a label map holds whole numbers that the data names.

    Raises:
        BadFileError: it does not.
    """
    values = {float(value) for value in np.unique(marks.numpy())}
    strange = sorted(values - set(known))
    if not strange:
        return
    shown = ", ".join(f"{value:g}" for value in strange[:5])
    if not all(value.is_integer() for value in strange):
        raise BadFileError(
            file,
            f"holds the label {shown}: labels are whole numbers",
            "resample label maps by nearest neighbour",
        )
    raise BadFileError(
        file,
        f"holds the label {shown}, which 'labels' in dataset.json lacks (it has "
        f"{', '.join(str(value) for value in sorted(known))})",
        "add it there, or correct the file",
    )
