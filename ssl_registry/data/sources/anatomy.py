"""The body behind a phantom: organs as shapes in millimetres, painted back to front.

An organ is an ellipsoid or an elliptic column of the average body; a patient's strays
from it in place, size and tilt, and follows the breath. No intensity names an organ:
spleen, kidneys and bowel share a range, and the kidneys are mirror images of each other.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor, maximum, minimum

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class _Organ:
    """An ellipsoid of the average body, and how far a patient's may stray from it."""

    centre: Vector  # mm from the middle of the body
    radii: Vector  # mm
    tilt: float = 0  # degrees by which the top leans to the right
    breath: float = 0  # share of the diaphragm's movement that it follows
    shift: float = 5  # mm, at most, along each axis
    swell: float = 0.12  # relative, at most, of each radius


_RIGHT_DOME = _Organ((46, 4, 4), (77, 80, 76), breath=1, shift=3, swell=0.06)
_LEFT_DOME = _Organ((-58, 0, -2), (66, 80, 66), breath=1, shift=3, swell=0.06)
_RIGHT_LUNG = _Organ((66, -4, 95), (52, 78, 125), tilt=-5, shift=3, swell=0.07)
_LEFT_LUNG = _Organ((-66, -4, 95), (52, 78, 125), tilt=5, shift=3, swell=0.07)
_HEART = _Organ((-24, 30, 92), (44, 40, 36), tilt=35, breath=0.8)
_LEFT_LOBE = _Organ((-6, 40, 42), (52, 36, 26), tilt=-15, breath=1)
_GALLBLADDER = _Organ((44, 54, -6), (13, 17, 20), tilt=20, breath=1, swell=0.3)
_STOMACH = _Organ((-46, 30, 18), (34, 40, 50), tilt=-25, breath=1, shift=8, swell=0.2)
_SPLEEN = _Organ((-82, -34, 24), (38, 44, 52), tilt=12, breath=1, swell=0.2)
_RIGHT_KIDNEY = _Organ((60, -44, -30), (27, 25, 53), tilt=-12, breath=0.5, swell=0.14)
_ASCENDING_COLON = _Organ((90, 0, -85), (21, 23, 72), shift=7, swell=0.25)
_DESCENDING_COLON = _Organ((-92, -4, -80), (21, 23, 72), shift=7, swell=0.25)
_BOWEL_LOOP = _Organ((0, 28, -95), (24, 22, 30), shift=12, swell=0.35)
_BOWEL_REACH: Vector = (70, 40, 58)

# Lowest and highest intensity before the contrast curve, and the share that is texture.
_TISSUES: Mapping[str, Vector] = MappingProxyType(
    {
        "air": (0.02, 0.04, 0),
        "lung": (0.03, 0.12, 0.35),
        "dark fat": (0.06, 0.22, 0.05),
        "bright fat": (0.85, 1.0, 0.05),
        "muscle": (0.28, 0.46, 0.05),
        "bone": (0.15, 0.95, 0.1),
        "disc": (0.15, 0.75, 0.05),
        "blood": (0.15, 1.0, 0.05),
        "fluid": (0.1, 1.0, 0.02),
        "stomach": (0.2, 0.9, 0.15),
        "liver": (0.42, 0.78, 0.08),
        "spleen": (0.42, 0.82, 0.08),
        "kidney": (0.42, 0.82, 0.08),
    }
)
_EXTENT: Vector = (340, 315, 355)  # mm from edge to edge of the average volume


class Body:
    """One patient, painted back to front.

    A shape is its signed distance `[X, Y, Z]` in mm, negative inside and only near its
    surface to scale: union is the minimum, intersection the maximum, complement the
    negative, and adding a number shrinks it. No operation depends on how the voxels are
    shared between threads. Most work in place: fresh memory costs more than arithmetic.
    """

    def __init__(self, generator: torch.Generator, side: int) -> None:
        self.generator = generator
        x, y, z = (extent * self.between(0.94, 1.06) / side for extent in _EXTENT)
        self.spacing = (x, y, z)
        self.axes = [(torch.arange(side) - (side - 1) / 2) * step for step in self.spacing]
        self.x, self.y, self.z = self._place_voxels()
        self.texture = self.waves(40, 22)
        self.image = torch.zeros(side, side, side)
        self.label = torch.zeros(side, side, side, dtype=torch.uint8)
        gamma = 2 ** self.between(-0.7, 0.7)
        self.tissue = {name: self.between(*ends) ** gamma for name, (*ends, _) in _TISSUES.items()}
        self.fat = "dark fat" if self.between(0, 1) < 0.5 else "bright fat"
        self.breath = self.between(-14, 14)
        waist = 1 + 0.12 * (1 - ((self.z + 70) / 75).square()).clamp_(min=0)
        shoulders = 1 + 0.004 * (self.z - 110).clamp_(min=0)
        self.muscle = self.column((0, 0), (131, 97), narrow=waist * shoulders)
        self.inside = self.muscle + self.between(9, 16)
        self.right_dome = self.organ(_RIGHT_DOME)
        self.left_dome = self.organ(_LEFT_DOME)

    def between(self, low: float, high: float) -> float:
        """Return a number drawn uniformly."""
        share = torch.rand((), generator=self.generator, dtype=torch.float64)
        return low + (high - low) * float(share)

    def around(self, centre: Vector, reach: Vector) -> Vector:
        """Return a point drawn uniformly from the box of half-sides `reach`."""
        x, y, z = (c + self.between(-r, r) for c, r in zip(centre, reach, strict=True))
        return x, y, z

    def waves(self, count: int, shortest: float) -> Tensor:
        """Return a smooth `[X, Y, Z]` field of about unit variance, no wave under `shortest` mm.

        A sum of separable standing waves needs no resampling, and is the same function of
        place at every resolution.
        """
        pace, phase = 2 * math.pi * torch.rand(2, 3, count, 1, generator=self.generator)
        curves = [
            torch.cos(k / shortest * x + p) for k, x, p in zip(pace, self.axes, phase, strict=True)
        ]
        field = torch.zeros([len(x) for x in self.axes])
        for a, b, c in zip(*curves, strict=True):
            field += (a[:, None, None] * b[:, None]) * c
        return field * math.sqrt(8 / count)

    def _place_voxels(self) -> list[Tensor]:
        """Return where in the average body each voxel lies: pose, size and a smooth warp."""
        turn, lean, roll = (math.radians(self.between(-8, 8)) for _ in range(3))
        skew = torch.tensor([[0, -turn, lean], [turn, 0, -roll], [-lean, roll, 0]])
        rotation, size = torch.matrix_exp(skew), self.between(0.9, 1.08)
        x, y, z = (axis - self.between(-9, 9) for axis in self.axes)
        places = []
        for a, b, c in (rotation / size).tolist():
            straight = (a * x[:, None, None] + b * y[:, None]) + c * z
            places.append(straight * self.between(0.95, 1.05) + 4.5 * self.waves(8, 200))
        return places

    def stray(self, mean: _Organ) -> _Organ:
        """Return this patient's version of an average organ."""
        x, y, z = self.around(mean.centre, (mean.shift, mean.shift, mean.shift))
        a, b, c = (radius * self.between(1 - mean.swell, 1 + mean.swell) for radius in mean.radii)
        tilt = mean.tilt + self.between(-8, 8)
        return _Organ((x, y, z + mean.breath * self.breath), (a, b, c), tilt)

    def organ(self, mean: _Organ) -> Tensor:
        """Return the shape of this patient's version, kept inside the muscular wall."""
        return maximum(self.ellipsoid(self.stray(mean)), self.inside)

    def ellipsoid(self, organ: _Organ) -> Tensor:
        """Return the shape of an organ, wherever in the body it lies."""
        (x, y, z), (a, b, c) = organ.centre, organ.radii
        cos, sin = math.cos(math.radians(organ.tilt)), math.sin(math.radians(organ.tilt))
        across = (self.x * (cos / a)).sub_(self.z * (sin / a)).sub_((x * cos - z * sin) / a)
        along = (self.x * (sin / c)).add_(self.z * (cos / c)).sub_((x * sin + z * cos) / c)
        deep = (self.y - y).div_(b)
        norm = across.square_().add_(deep.square_()).add_(along.square_()).sqrt_()
        return norm.sub_(1).mul_(min(a, b, c))

    def column(
        self, centre: tuple[float, float], radii: tuple[float, float], narrow: Tensor | float = 1
    ) -> Tensor:
        """Return an upright elliptic column, its width divided by `narrow`."""
        across = (self.x - centre[0]).mul_(narrow).div_(radii[0])
        deep = (self.y - centre[1]).div_(radii[1])
        return across.square_().add_(deep.square_()).sqrt_().sub_(1).mul_(min(radii))

    def paint(self, shape: Tensor, tissue: str, label: int = 0, gain: float = 1) -> None:
        """Cover what lies inside `shape`; voxels on its surface are mixed."""
        value = self.tissue[tissue] * gain
        cover = (shape / -max(self.spacing)).add_(0.5).clamp_(0, 1)
        change = (self.texture * (value * _TISSUES[tissue][2])).add_(value).sub_(self.image)
        self.image.add_(change.mul_(cover))
        covered = (cover > 0.5).view(torch.uint8)
        self.label.mul_(1 - covered).add_(covered * label)


def _bands(along: Tensor, period: float, width: float) -> Tensor:
    """Return slabs of `width` mm, one every `period` mm of the field `along`."""
    turns = along / period
    return (turns - turns.floor() - 0.5).abs() * period - width / 2


def _paint_trunk(body: Body) -> None:
    """Paint the fat rim, the muscular wall, the ribs, and the cavity under the diaphragm."""
    body.paint(body.muscle - body.between(6, 30), body.fat)
    body.paint(body.muscle, "muscle")
    ribs = _bands(body.z + 0.5 * body.y, period=body.between(24, 30), width=10)
    costal_arch = 0.7 * body.y.clamp(min=0) - 35 - body.z
    body.paint(maximum((body.muscle + 6).abs() - 4, maximum(ribs, costal_arch)), "bone")
    under_domes = minimum(minimum(body.right_dome, body.left_dome), body.z)
    body.paint(maximum(body.inside, under_domes), body.fat)


def _paint_chest(body: Body) -> None:
    """Paint the lungs down to the diaphragm, and the heart between them."""
    diaphragm = minimum(body.right_dome, body.left_dome) - 5
    for lung in (_RIGHT_LUNG, _LEFT_LUNG):
        body.paint(maximum(body.organ(lung), -diaphragm), "lung")
    heart = body.organ(_HEART)
    body.paint(heart - 5, body.fat)
    body.paint(heart, "muscle")
    body.paint(heart + 14, "blood")


def _paint_bowel(body: Body) -> None:
    """Paint the colon and a random number of loops, as bright as a spleen may be."""
    loops = [_ASCENDING_COLON, _DESCENDING_COLON]
    for _ in range(int(body.between(10, 19))):
        centre = body.around(_BOWEL_LOOP.centre, _BOWEL_REACH)
        loops.append(replace(_BOWEL_LOOP, centre=centre, tilt=body.between(-90, 90)))
    for loop in loops:
        shape = body.organ(loop)
        body.paint(shape, "kidney", gain=body.between(0.75, 1.3))
        if body.between(0, 1) < 0.3:
            body.paint(shape + 9, "air")


def _paint_stomach_and_spleen(body: Body) -> None:
    """Paint the stomach, with air in front, and the spleen moulded to it."""
    stomach = body.organ(_STOMACH)
    body.paint(stomach, "muscle")
    body.paint(stomach + 6, "stomach")
    body.paint(maximum(stomach + 6, body.between(15, 55) - body.y), "air")
    body.paint(maximum(body.organ(_SPLEEN), 4 - stomach), "spleen", label=2)


def _paint_liver(body: Body) -> None:
    """Paint a wedge that hangs from the right dome, its left lobe, and the gallbladder."""
    slope = body.between(0.45, 0.75)
    lowest = body.breath + body.between(-85, -50)
    under = (lowest + slope * (118 - body.x) - body.z) / math.hypot(1, slope)
    right_lobe = maximum(body.right_dome + 5, under)
    body.paint(minimum(right_lobe, body.organ(_LEFT_LOBE)), "liver", label=1)
    body.paint(body.organ(_GALLBLADDER), "fluid")


def _paint_kidneys(body: Body) -> None:
    """Paint two kidneys of one making, mirrored, the left one higher."""
    right = body.stray(_RIGHT_KIDNEY)
    (x, y, z), (a, b, c) = right.centre, right.radii
    left_x, left_y, left_z = body.around((-x, y, z + 17), (5, 5, 9))
    left = replace(right, centre=(left_x, left_y, left_z), tilt=-right.tilt)
    for label, kidney, medial in ((3, right, -0.6 * a), (4, left, 0.6 * a)):
        x, y, z = kidney.centre
        sinus = _Organ((x + medial, y + 0.2 * b, z), (0.5 * a, 0.45 * b, 0.4 * c))
        shape = maximum(body.ellipsoid(kidney), body.inside)
        body.paint(shape - 7, body.fat)
        body.paint(maximum(shape, -body.ellipsoid(sinus)), "kidney", label=label)


def _paint_spine(body: Body) -> None:
    """Paint hips, the muscles beside the spine, vertebrae, discs and the great vessels."""
    for side in (-1, 1):
        hip = _Organ((side * 78, -30, -165), (34, 40, 52), tilt=side * 25)
        body.paint(body.ellipsoid(hip).abs() - 6, "bone")
        body.paint(body.column((side * 34, -73), (25, 18)), "muscle")
        body.paint(maximum(body.column((side * 32, -44), (13, 14)), body.z + 40), "muscle")
    front = body.column((0, -48), (22, 17))
    discs = _bands(body.z + body.between(0, 34), period=34, width=9)
    body.paint(minimum(front, body.column((0, -80), (7, 15))), "bone")
    body.paint(maximum(front, discs), "disc")
    body.paint(body.column((0, -71), (9, 7)), "fluid")
    body.paint(body.column((-14, -23), (11, 11)), "blood")
    body.paint(maximum(body.column((19, -24), (11, 9)), body.z - 80), "blood")


def paint_patient(generator: torch.Generator, side: int) -> Body:
    """Return a new patient with all organs painted, on a grid of `side` voxels a side."""
    body = Body(generator, side)
    _paint_trunk(body)
    _paint_chest(body)
    _paint_bowel(body)
    _paint_stomach_and_spleen(body)
    _paint_liver(body)
    _paint_kidneys(body)
    _paint_spine(body)
    return body
