"""Scans in memory: reading volumes, and the checks that stop a bad one early."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
import torchio as tio

from ssl_registry.data.formats.headers import REPLACE, Header
from ssl_registry.data.formats.label_maps import (
    as_black_and_white,
    check_channel,
    check_grid,
    check_values,
)
from ssl_registry.data.formats.volumes import read_volume
from ssl_registry.errors import BadFileError

Scan: TypeAlias = tio.Subject
"""`image`, `[C, X, Y, Z]` float32, and, where there are labels, `label`, `[1, X, Y, Z]`: the values
that its file has, uint8 or, where the data set has some above 255, int32."""


def read_scan(
    image: Path,
    label: Path | None,
    label_values: frozenset[int],
    further: Sequence[Path] = (),
) -> Scan:
    """Read a scan and its labels, checked.

    Args:
        image: the file of the scan, or of its first channel.
        label: the file of the label map.
        label_values: what may stand in it.
        further: the files of its other channels, in order.

    Raises:
        BadFileError: a file cannot be read; is not a volume; holds NaN or infinite voxels,
            or the same value everywhere; or a channel or the labels lie on another grid than
            the first channel, or the labels hold a value that `label_values` lacks.
    """
    header, voxels = read_volume(image)
    check_voxels(voxels, image)
    if further:
        voxels = torch.cat([voxels, *(_read_channel(file, header) for file in further)])
    scan = tio.Subject(image=tio.ScalarImage(tensor=voxels, affine=header.affine))
    if label is not None:
        label_header, marks = read_volume(label)
        check_grid(label_header, header)
        if 255 in label_values:
            marks = as_black_and_white(marks, label_values)
        check_values(marks, label, label_values)
        kind = torch.uint8 if max(label_values) < 256 else torch.int32
        # The label map lies on the scan's own grid, to within rounding.
        scan.add_image(tio.LabelMap(tensor=marks.to(kind), affine=header.affine), "label")
    return scan


def _read_channel(file: Path, first: Header) -> torch.Tensor:
    """Read one more channel, `[1, X, Y, Z]`, of a scan whose first one has that header."""
    header, voxels = read_volume(file)
    check_channel(header, first)
    check_voxels(voxels, file)
    return voxels


def scan_of_array(voxels: torch.Tensor, what: str) -> Scan:
    """Return voxels `[C, X, Y, Z]` (Z = 1 for a picture) as a scan of 1 mm voxels.

    Raises:
        BadFileError: they show nothing; `what` names them.
    """
    check_voxels(voxels, what)
    return tio.Subject(image=tio.ScalarImage(tensor=voxels.float(), affine=np.eye(4)))


def check_voxels(voxels: torch.Tensor, path: Path | str) -> None:
    """See that an image shows something.

    Raises:
        BadFileError: it holds NaN or infinite voxels, or the same value everywhere.
    """
    bad = int((~torch.isfinite(voxels)).sum())
    if bad:
        raise BadFileError(
            path, f"holds {bad} voxels that are NaN or infinite, of {voxels.numel()}", REPLACE
        )
    if float(voxels.min()) == float(voxels.max()):
        raise BadFileError(
            path,
            f"has the value {float(voxels.min()):g} in every voxel, so it shows nothing",
            REPLACE,
        )
