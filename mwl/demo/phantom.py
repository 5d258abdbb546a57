"""A head to be recognised: Shepp and Logan's ellipsoids as CT, MR and radiograph, and a fan.

Ten ellipsoids (Kak and Slaney, Principles of Computerized Tomographic Imaging, 3.1, in their
three-dimensional form) stand for skull, brain, ventricles and small lesions. Each adds its
value to whatever it lies in, so a modality is ten numbers. Lengths count from the middle of
a cube whose half edge is 1; x goes to the patient's left, y to the front, z to the head.

Arrays are images as DICOM wants them: row by row, the patient's front at the top.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE = 256  # rows and columns
HALF_EDGE_MM = 115.0
PIXEL_MM = 2 * HALF_EDGE_MM / SIZE
AIR = 1024  # CT: what is added to Hounsfield units, so that none is negative
_LOWEST, _HIGHEST = -0.25, 0.7  # z of slices: the first one shows what tells it is a head
_NOISE = 6.0

Image = NDArray[np.uint16]
_Plane = NDArray[Any]

# Half axes, centre, and the angle in degrees by which it is turned about z.
_ELLIPSOIDS = (
    (0.69, 0.92, 0.81, 0.0, 0.0, 0.0, 0),  # skull
    (0.6624, 0.874, 0.78, 0.0, -0.0184, 0.0, 0),  # brain
    (0.11, 0.31, 0.22, 0.22, 0.0, 0.0, -18),  # ventricles
    (0.16, 0.41, 0.28, -0.22, 0.0, 0.0, 18),
    (0.21, 0.25, 0.41, 0.0, 0.35, -0.15, 0),
    (0.046, 0.046, 0.05, 0.0, 0.1, 0.25, 0),  # lesions
    (0.046, 0.046, 0.05, 0.0, -0.1, 0.25, 0),
    (0.046, 0.023, 0.05, -0.08, -0.605, 0.0, 0),
    (0.023, 0.023, 0.02, 0.0, -0.606, 0.0, 0),
    (0.023, 0.046, 0.02, 0.06, -0.605, 0.0, 0),
)
CT_LOOK = (AIR + 900, -865, -30, -30, 14, 24, 24, 24, 24, 24)  # from air: bone, brain, fluid
MR_LOOK = (2200, -1000, -800, -800, 300, 900, 900, 900, 900, 900)  # T1: fat bright, fluid dark
_DENSITY = (3.0, -2.2, -0.2, -0.2, 0.3, 0.6, 0.6, 0.6, 0.6, 0.6)  # for the radiograph


def positions(count: int) -> list[float]:
    """Give where `count` slices lie, feet first, in millimetres from the middle."""
    if count == 1:
        return [0.0]
    return [float(z) for z in np.linspace(_LOWEST, _HIGHEST, count) * HALF_EDGE_MM]


def head(count: int, look: Sequence[float] = CT_LOOK, seed: int = 0) -> list[Image]:
    """Draw `count` axial slices, 12 bits in 16, with a little noise."""
    noise = np.random.default_rng(seed)
    x, y = _grid()
    slices = []
    for z_mm in positions(count):
        drawn = _axial(x, y, z_mm / HALF_EDGE_MM, look)
        slices.append(_stored(drawn + noise.normal(0, _NOISE, drawn.shape)))
    return slices


def radiograph() -> Image:
    """Draw the head from the side: how much each ray meets, bone bright."""
    # Rays run along x: columns go from the face to the back of the head, rows down z.
    across, down = _grid()
    y, z = -across, down
    met = np.zeros_like(y)
    for ellipsoid, density in zip(_ELLIPSOIDS, _DENSITY, strict=True):
        met += density * _chord(ellipsoid, y, z)
    return _stored(3900 * (1 - np.exp(-0.9 * met)))


def fan(seed: int = 0) -> Image:
    """Draw what an ultrasound probe shows: a fan of speckle with a cyst in it, 8 bits."""
    noise = np.random.default_rng(seed)
    x, y = _grid()
    depth, angle = np.hypot(x, 1.1 - y), np.arctan2(x, 1.1 - y)
    speckle = noise.rayleigh(60, x.shape) * np.exp(-0.5 * depth)
    cyst = (x + 0.15) ** 2 / 0.09 + (y + 0.05) ** 2 / 0.05 < 1
    behind = (np.abs(x + 0.15) < 0.2) & (y < -0.25)  # fluid weakens the sound less
    drawn = np.where(cyst, 6, speckle * np.where(behind, 1.8, 1.2))
    inside = (np.abs(angle) < 0.62) & (depth > 0.25) & (depth < 1.9)
    return np.clip(np.where(inside, drawn, 0), 0, 255).astype(np.uint16)


def _grid() -> tuple[_Plane, _Plane]:
    """Give each pixel's x and y: rows go from the front to the back."""
    middle = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    x, down = np.meshgrid(middle, middle)
    return x, -down


def _axial(x: _Plane, y: _Plane, z: float, look: Sequence[float]) -> _Plane:
    drawn = np.zeros_like(x)
    for ellipsoid, value in zip(_ELLIPSOIDS, look, strict=True):
        a, b, c, x0, y0, z0, degrees = ellipsoid
        turn = np.deg2rad(degrees)
        along = (x - x0) * np.cos(turn) + (y - y0) * np.sin(turn)
        over = (y - y0) * np.cos(turn) - (x - x0) * np.sin(turn)
        is_inside = (along / a) ** 2 + (over / b) ** 2 + ((z - z0) / c) ** 2 <= 1
        drawn[is_inside] += value
    return drawn


def _chord(ellipsoid: Sequence[float], y: _Plane, z: _Plane) -> _Plane:
    """Tell how far a ray along x runs within an ellipsoid: where its quadratic has roots."""
    a, b, c, _, y0, z0, degrees = ellipsoid
    turn = np.deg2rad(degrees)
    sine, cosine = np.sin(turn), np.cos(turn)
    dy, dz = y - y0, z - z0
    square = (cosine / a) ** 2 + (sine / b) ** 2
    linear = 2 * dy * sine * cosine * (1 / a**2 - 1 / b**2)
    rest = (dy * sine / a) ** 2 + (dy * cosine / b) ** 2 + (dz / c) ** 2 - 1
    under_root = np.clip(linear**2 - 4 * square * rest, 0, None)
    length: _Plane = np.sqrt(under_root) / square
    return length


def _stored(drawn: _Plane) -> Image:
    return np.clip(drawn, 0, 4095).astype(np.uint16)
