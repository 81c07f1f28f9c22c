"""The chest that phantoms are drawn from: outlines as tables, planes of attenuation to paint on.

x runs to the right of the picture and y down, in units of about half a chest; the frame shows
-SPAN to SPAN. The patient's right is on the left of a frontal picture; a lateral one faces left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SPAN = 0.98  # half the side of the frame
AIR = 1.32  # attenuation that a lung full of air takes away

Plane = NDArray[np.floating]  # float32 all along
Knots = Sequence[tuple[float, float]]  # (at, value), joined by `spline`
Box = tuple[float, float, float, float]  # x0, y0, x1, y1
Line = tuple[Sequence[tuple[float, float]], float, float]  # points, width, strength 0 to 1

# Frontal: distance of a border from the midline by y; depth below the top of the dome by |x|.
_MEDIAL: Knots = ((-0.82, 0.11), (-0.6, 0.06), (-0.3, 0.05), (0.1, 0.04), (0.7, 0.05))
_WALL: Knots = ((-0.82, 0.14), (-0.79, 0.28), (-0.7, 0.41), (-0.5, 0.54), (-0.1, 0.66), (0.6, 0.73))
_DOME: Knots = ((0.0, 0.12), (0.2, 0.02), (0.34, 0.0), (0.5, 0.05), (0.62, 0.15), (0.74, 0.34))
# Lateral: x of a border by y; depth of the diaphragm below its top by x.
_STERNUM: Knots = ((-0.78, 0.02), (-0.7, -0.16), (-0.5, -0.35), (-0.1, -0.53), (0.3, -0.63))
_BACK: Knots = ((-0.78, 0.10), (-0.7, 0.30), (-0.4, 0.51), (0.0, 0.64), (0.4, 0.63), (0.8, 0.55))
_SLOPE: Knots = ((-0.7, 0.10), (-0.4, 0.01), (-0.2, 0.0), (0.1, 0.09), (0.4, 0.28), (0.7, 0.56))


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """How one chest differs from the tables; findings that reshape it replace fields."""

    width: float = 1.0  # of the rib cage
    fat: float = 0.0  # added to the body outline
    breast: float = 0.0  # attenuation over the lower lungs
    heart: float = 1.0  # size
    diaphragm: float = 0.46  # y of its top; heart and stomach keep to it
    domes: tuple[float, float] = (-0.02, 0.02)  # lower than that by, right and left
    curve: float = 1.0  # of the diaphragm: 0 is a plane
    air: float = 1.0  # in the lungs
    vessels: float = 1.0  # strength of the markings
    turn: float = 0.0  # shift of the midline of a turned patient


@dataclass(frozen=True, slots=True)
class Ellipse:
    """An ellipse, its first radius tilted by `angle` radians towards +y."""

    x: float
    y: float
    rx: float
    ry: float
    angle: float = 0.0

    def depth(self, x: Plane, y: Plane) -> Plane:
        """1 in the centre, 0 on the outline, negative outside."""
        c, s = float(np.cos(self.angle)), float(np.sin(self.angle))
        dx, dy = x - self.x, y - self.y
        a, b = (dx * c + dy * s) / self.rx, (dy * c - dx * s) / self.ry
        return 1 - np.sqrt(a * a + b * b)

    @property
    def box(self) -> Box:
        c, s = np.cos(self.angle), np.sin(self.angle)
        w, h = float(np.hypot(self.rx * c, self.ry * s)), float(np.hypot(self.rx * s, self.ry * c))
        return (self.x - w, self.y - h, self.x + w, self.y + h)


@dataclass(frozen=True, slots=True)
class Lung:
    """One lung of a frontal picture, or both of a lateral one seen as one.

    u = side * x grows from the medial border (lateral: the sternum) to the chest wall (lateral:
    the ribs of the back).
    """

    side: int  # -1 the patient's right, 1 the left; 1 in a lateral picture
    medial: Knots  # u by y
    wall: Knots  # u by y
    base: Knots  # y of the diaphragm by u

    @property
    def apex(self) -> float:
        return self.wall[0][0]

    @property
    def dome(self) -> float:
        return min(y for _, y in self.base)

    def inside(self, x: Plane, y: Plane) -> Plane:
        """Distance to the nearest border, along x or y; negative outside."""
        u = x * self.side
        across = np.minimum(u - spline(y, self.medial), spline(y, self.wall) - u)
        return np.minimum(across, np.minimum(spline(u, self.base) - y, y - self.apex))

    def point(self, s: float, t: float) -> tuple[float, float]:
        """The place s from 0 (medial) to 1 (wall) and t from 0 (apex) to 1 (top of the dome)."""
        y = self.apex + t * (self.dome - self.apex)
        at = np.full(1, y, np.float32)
        medial, wall = float(spline(at, self.medial)[0]), float(spline(at, self.wall)[0])
        return self.side * (medial + s * (wall - medial)), y

    def span(self, u0: float, y0: float, u1: float, y1: float) -> Box:
        x0, x1 = sorted((self.side * u0, self.side * u1))
        return (x0, y0, x1, y1)

    @property
    def box(self) -> Box:
        """All of the lung; its edges are soft, hence the margin."""
        y1 = max(y for _, y in self.base) + 0.03
        u0, u1 = min(u for _, u in self.medial) - 0.03, max(u for _, u in self.wall) + 0.03
        return self.span(u0, self.apex - 0.03, u1, y1)


@dataclass(frozen=True, slots=True)
class Chest:
    """One view of one chest: what a finding needs to know to take its place."""

    frontal: bool
    build: Build
    lungs: tuple[Lung, ...]
    heart: tuple[Ellipse, ...]

    def lung(self, side: int) -> Lung:
        return self.lungs[0] if side < 0 else self.lungs[-1]


def frontal_chest(build: Build) -> Chest:
    def lung(side: int, dome: float) -> Lung:
        medial, wall = ([(y, u * build.width) for y, u in table] for table in (_MEDIAL, _WALL))
        top = build.diaphragm + dome
        return Lung(
            side, medial, wall, [(u * build.width, top + build.curve * d) for u, d in _DOME]
        )

    lungs = (lung(-1, build.domes[0]), lung(1, build.domes[1]))
    size, turn, y = build.heart, build.turn, build.diaphragm - 0.15
    main = Ellipse(0.02 + 0.11 * size + turn, y, 0.36 * size, 0.25 * size**0.7, 0.7)
    atrium = Ellipse(-0.005 - 0.07 * size + turn, y, 0.15 * size, 0.27 * size**0.7)
    return Chest(True, build, lungs, (main, atrium))


def lateral_chest(build: Build) -> Chest:
    size, top = build.heart, build.diaphragm + max(build.domes) - 0.10
    lung = Lung(1, _STERNUM, _BACK, [(x, top + build.curve * d) for x, d in _SLOPE])
    y = build.diaphragm - 0.24
    main = Ellipse(-0.30 + 0.06 * size, y, 0.34 * size**0.9, 0.23 * size, 0.7)
    return Chest(False, build, (lung,), (main,))


@dataclass(frozen=True, slots=True)
class Layers:
    """A picture under construction, or a window of one; planes are (H, W) float32.

    x (1, W) and y (H, 1) are the places of the pixels, `unit` the number of pixels in one unit.
    """

    unit: float
    x: Plane
    y: Plane
    tissue: Plane  # attenuation of everything but the lungs
    lungs: Plane  # share of air, 0 to about 1
    markings: Plane  # attenuation of the vessels

    @classmethod
    def empty(cls, size: int) -> Layers:
        unit = size / (2 * SPAN)
        at = ((np.arange(size) + 0.5) / unit - SPAN).astype(np.float32)
        tissue, lungs, markings = np.zeros((3, size, size), np.float32)
        return cls(unit, at[None, :], at[:, None], tissue, lungs, markings)

    def window(self, box: Box) -> Layers:
        """The part within the box; what is painted there is painted here."""
        x0, x1 = np.searchsorted(self.x[0], (box[0], box[2]))
        y0, y1 = np.searchsorted(self.y[:, 0], (box[1], box[3]))
        planes = (plane[y0:y1, x0:x1] for plane in (self.tissue, self.lungs, self.markings))
        return Layers(self.unit, self.x[:, x0:x1], self.y[y0:y1], *planes)

    def strokes(self, lines: Iterable[Line]) -> Plane:
        """(H, W) float32: the lines, later over earlier ones, smooth by drawing at twice the size."""
        height, width = self.tissue.shape
        if not height or not width:
            return np.zeros((height, width), np.float32)
        image = Image.new("L", (2 * width, 2 * height))
        draw = ImageDraw.Draw(image)
        x0, y0, scale = float(self.x[0, 0]), float(self.y[0, 0]), 2 * self.unit
        for points, thickness, strength in lines:
            pixels = [((x - x0) * scale + 0.5, (y - y0) * scale + 0.5) for x, y in points]
            thick = max(1, round(thickness * scale))
            joint = "curve" if thick > 2 else None  # slow, and not seen on thin ones
            draw.line(pixels, fill=round(255 * strength), width=thick, joint=joint)
        return np.asarray(image.reduce(2), np.float32) / 255


@dataclass(frozen=True, slots=True)
class Patch:
    """A part of a finding: it paints within its box only."""

    box: Box
    paint: Callable[[Layers], None]  # on the window of the box


def step(distance: Plane, soft: float) -> Plane:
    """0 outside to 1 inside, over an edge `soft` wide around distance 0."""
    t = distance * (1 / soft)
    t += 0.5
    np.clip(t, 0, 1, out=t)
    smooth = 3 - 2 * t
    smooth *= t
    smooth *= t
    return smooth


def spline(at: Plane, knots: Knots) -> Plane:
    """Cubic Hermite curve through the knots, constant beyond them; in the shape of `at`."""
    places, values = np.asarray(knots).T
    slopes = np.gradient(values, places)
    i = np.clip(np.searchsorted(places, at) - 1, 0, len(places) - 2)
    gap, rise = (places[i + 1] - places[i]), (values[i + 1] - values[i])
    t = np.clip((at - places[i]) / gap, 0, 1)
    bend = gap * ((1 - t) * slopes[i] - t * slopes[i + 1]) + (2 * t - 1) * rise
    return (values[i] + t * rise + t * (1 - t) * bend).astype(np.float32)


def cloud(rng: np.random.Generator, shape: tuple[int, ...], cells: int) -> Plane:
    """(H, W) float32 smooth noise of standard deviation about 0.7, `cells` blobs across."""
    height, width = shape
    coarse = Image.fromarray(rng.standard_normal((cells, cells), np.float32))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def random_side(rng: np.random.Generator) -> int:
    return -1 if rng.random() < 0.5 else 1
