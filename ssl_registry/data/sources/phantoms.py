"""The embedded data: torsos that never existed, with labels, for users who have no scans yet.

A phantom is a body in millimetres, made of ellipsoids and elliptic columns and seen
through a random pose, a smooth warp and a random contrast. No intensity names an organ:
spleen, kidneys and bowel share a range, and the kidneys are mirror images of each other,
so that segmenting them takes knowing where in the body they are.

Axes are RAS+: the first grows to the patient's right, then anterior, then superior.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import nibabel as nib
import numpy as np
import torch
import torchio as tio
from torch import Tensor

from ssl_registry.data.formats.scans import Scan
from ssl_registry.data.sources.anatomy import Body, Vector, paint_patient
from ssl_registry.errors import ImageShapeError
from ssl_registry.randomness import derive_generator

LABELS: Mapping[int, str] = MappingProxyType(
    {0: "background", 1: "liver", 2: "spleen", 3: "right kidney", 4: "left kidney"}
)
POPULATION_SEED = 1895
SMALLEST_SIDE = 16


@dataclass(frozen=True)
class Phantom:
    """One synthetic scan.

    Attributes:
        image: `[1, X, Y, Z]` float32, not negative, in units that differ between scans.
        label: `[1, X, Y, Z]` uint8, the keys of `LABELS`.
        spacing: the size of a voxel along each axis, in mm.
    """

    image: Tensor
    label: Tensor
    spacing: Vector

    def scan(self) -> Scan:
        """Return it as a scan that was read."""
        affine = np.diag([*self.spacing, 1.0])
        return tio.Subject(
            image=tio.ScalarImage(tensor=self.image, affine=affine),
            label=tio.LabelMap(tensor=self.label, affine=affine),
        )


def _scan(body: Body) -> Tensor:
    """Return what a scanner makes of the body: shaded, noisy, in units of its own."""
    shading = (1 + 0.2 * body.waves(8, 500)).clamp_(min=0.4)
    unit, sigma = 10 ** body.between(-1, 3.5), 10 ** body.between(-2.1, -1.2)
    # Noise is drawn last, so that one patient looks the same at every resolution.
    noise = sigma * torch.randn(2, *body.image.shape, generator=body.generator)
    return unit * ((body.image * shading + noise[0]).square() + noise[1].square()).sqrt()


def make_phantom(generator: torch.Generator, side: int = 64) -> Phantom:
    """Return a new torso of `side` voxels along each axis.

    Generators in equal states give equal bits, whatever the number of threads. Another
    `side` gives the same patient at another resolution, noise aside.

    Raises:
        ImageShapeError: `side` is below `SMALLEST_SIDE`.
    """
    if side < SMALLEST_SIDE:
        raise ImageShapeError(
            f"a phantom of side {side} cannot hold a kidney: ask for {SMALLEST_SIDE} or more"
        )
    body = paint_patient(generator, side)
    return Phantom(_scan(body)[None], body.label[None], body.spacing)


def phantom(index: int, side: int = 64) -> Phantom:
    """Return member `index` of the embedded population."""
    return make_phantom(derive_generator(POPULATION_SEED, "phantom", index), side)


def phantom_slice(index: int, side: int = 64) -> Phantom:
    """Return a coronal slice of a member of the population, as a picture.

    It is the slice that shows the most organs, head up and the patient's right at the
    left: `image` is `[1, H, W, 1]`.
    """
    made = phantom(index, side)
    organs = torch.stack([made.label[0] == value for value in LABELS if value])
    areas = organs.sum(dim=(1, 3))  # [organs, Y]
    # Every organ counts as soon as it shows; the area decides between equals.
    at = int(((areas > 0).sum(0) + areas.sum(0) / areas.sum()).argmax())
    return Phantom(_upright(made.image, at), _upright(made.label, at), made.spacing)


def _upright(volume: Tensor, at: int) -> Tensor:
    """Return coronal slice `at` of `[1, X, Y, Z]` as `[1, H, W, 1]`."""
    return volume[:, :, at].flip(1, 2).mT[..., None].contiguous()


def write_phantoms(folder: Path, count: int, side: int = 64) -> Path:
    """Write the first `count` phantoms as a Medical Segmentation Decathlon folder.

    Returns:
        `folder`, which now holds `imagesTr`, `labelsTr` and `dataset.json`.
    """
    names = [f"phantom_{index:03}.nii.gz" for index in range(count)]
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        made = phantom(index, side)
        _write_volume(folder / "imagesTr" / name, made.image[0], made.spacing)
        _write_volume(folder / "labelsTr" / name, made.label[0], made.spacing)
    summary = {
        "name": "phantoms",
        "description": "Synthetic torsos with four labelled organs, made by ssl-registry",
        "tensorImageSize": "3D",
        "modality": {"0": "synthetic"},
        "labels": {str(value): name for value, name in LABELS.items()},
        "numTraining": count,
        "numTest": 0,
        "training": [{"image": f"./imagesTr/{n}", "label": f"./labelsTr/{n}"} for n in names],
        "test": [],
    }
    (folder / "dataset.json").write_text(json.dumps(summary, indent=2) + "\n")
    return folder


def _write_volume(path: Path, volume: Tensor, spacing: Vector) -> None:
    """Write `[X, Y, Z]` as NIfTI, RAS+, with the middle of the volume at the origin."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * step for n, step in zip(volume.shape, spacing, strict=True)]
    image = nib.Nifti1Image(volume.numpy(), affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    nib.save(image, path)
