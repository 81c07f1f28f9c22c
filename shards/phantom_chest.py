"""The healthy chest painted in layers: body, bones, heart, vessels; frontal and lateral."""

from __future__ import annotations

import numpy as np

from cxr_engine.shards.phantom_anatomy import (
    Chest,
    Ellipse,
    Knots,
    Layers,
    Line,
    Plane,
    cloud,
    spline,
    step,
)

# Half width of the frontal body by y; x of the front, the back and the spine of the lateral by y.
_BODY: Knots = ((-0.98, 0.27), (-0.86, 0.42), (-0.74, 0.86), (-0.6, 1.0), (-0.4, 0.93), (0.1, 0.86))
_FRONT: Knots = (
    (-1.0, -0.5),
    (-0.9, -0.44),
    (-0.6, -0.47),
    (-0.2, -0.66),
    (0.2, -0.8),
    (0.6, -0.76),
)
_BACK: Knots = ((-1.1, 0.28), (-0.9, 0.42), (-0.6, 0.66), (-0.1, 0.84), (0.4, 0.80), (1.0, 0.72))
_SPINE: Knots = ((-1.0, 0.18), (-0.7, 0.32), (0.0, 0.47), (0.6, 0.42), (1.0, 0.34))
_CLAVICLE: Knots = ((0.07, -0.60), (0.22, -0.61), (0.42, -0.68), (0.62, -0.74), (0.82, -0.73))


def paint_chest(chest: Chest, size: int, rng: np.random.Generator) -> Layers:
    """All layers of the healthy chest at size × size pixels."""
    layers = Layers.empty(size)
    for lung in chest.lungs:
        inside = lung.inside(layers.x, layers.y)
        air = step(inside, 0.035) * (0.8 + 0.2 * step(inside - 0.12, 0.3))  # thinner at its rim
        np.maximum(layers.lungs, air, out=layers.lungs)
    if chest.frontal:
        _paint_frontal(layers, chest, rng)
    else:
        _paint_lateral(layers, chest, rng)
    layers.tissue[...] *= 1 + 0.05 * cloud(rng, (size, size), 20)
    layers.lungs[...] *= chest.build.air * (1 + 0.05 * cloud(rng, (size, size), 48))
    layers.markings[...] = _vessels(layers, chest, rng) * layers.lungs * chest.build.vessels
    return layers


def _paint_frontal(layers: Layers, chest: Chest, rng: np.random.Generator) -> None:
    x, y, build, tissue = layers.x, layers.y, chest.build, layers.tissue
    u, middle, outline = np.abs(x), np.abs(x - build.turn), build.width + build.fat
    tissue += 1.6 * _slab(u / (spline(y, _BODY) * outline))
    arm = u - outline * 0.99 - 0.14 * (y + 0.2)
    tissue += (0.9 * _slab(arm / 0.15) + 0.4 * _slab(arm / 0.045)) * step(y + 0.45, 0.4)

    # One phase draws all the ribs of a family: those of the back, then those of the front.
    wall = spline(y, chest.lungs[0].wall)
    r = np.minimum(u / wall, 1.08)
    r4 = np.square(r * r)
    ribs = 0.24 * _bars(y + 0.14 * r - 0.40 * r4, 0.158) * step(u - 0.10, 0.08)
    ribs += 0.15 * _bars(y + 0.42 * r - 0.48 * r4, 0.192) * step(u - 0.26, 0.2) * step(0.4 - y, 0.3)
    tissue += ribs * step(wall * 1.05 - u, 0.06) * (step(y + 0.86, 0.1) * step(0.62 - y, 0.7))
    tissue += 0.16 * _slab((u - wall * 1.02) / 0.03) * (step(y + 0.66, 0.15) * step(0.8 - y, 0.3))

    column = step(0.11 - middle - 0.03 * np.square(y), 0.12) * (
        step(y + 0.95, 0.3) * step(0.7 - y, 0.5)
    )
    vertebrae = 0.11 + 0.03 * np.cos(y * (2 * np.pi / 0.135))
    windpipe = 0.30 * step(-0.26 - y, 0.15)
    tissue += vertebrae * step(0.085 - middle, 0.04) - windpipe * step(0.035 - middle, 0.04)
    turn, (main, atrium) = build.turn, chest.heart
    knob, root = Ellipse(0.10 + turn, -0.30, 0.085, 0.10), Ellipse(0.09 + turn, -0.06, 0.13, 0.27)
    heart = _union(layers, (main, 0.09), (atrium, 0.15), (knob, 0.3), (root, 0.6))
    right, left = (spline(u, lung.base) for lung in chest.lungs)
    inside = np.minimum(np.where(x < 0, right, left) - y, wall - u)
    solid = np.maximum(heart * step(inside, 0.035), 0.9 * column)
    tissue += 0.38 * solid
    layers.lungs[...] *= 1 - 0.66 * solid

    tilt, along = rng.uniform(-0.02, 0.06), np.linspace(0.07, 0.82, 12, dtype=np.float32)
    arch = list(
        zip(along.tolist(), (spline(along, _CLAVICLE) - tilt * along).tolist(), strict=True)
    )
    lines: list[Line] = []
    for side in (-1, 1):
        points = [(side * a + turn, b) for a, b in arch]
        lines += [(points, 0.058, 0.75), (points, 0.030, 0.5)]
        _add(layers, Ellipse(side * 0.89, -0.60, 0.11, 0.13), 0.3, 0.5)
        _add(layers, Ellipse(side * 0.42, 0.22, 0.38, 0.36), build.breast, 0.35)
    tissue += 0.34 * layers.strokes(lines) * (tissue > 0)
    _stomach_gas(layers, rng.uniform(0.25, 0.45), build.diaphragm + 0.02, rng)


def _paint_lateral(layers: Layers, chest: Chest, rng: np.random.Generator) -> None:
    x, y, build, tissue = layers.x, layers.y, chest.build, layers.tissue
    breast = build.breast * np.exp(-np.square((y - 0.15) / 0.28))
    front, back = spline(y, _FRONT) - build.fat - breast, spline(y, _BACK) + build.fat / 2
    tissue += 1.6 * _slab((x - (front + back) / 2) / ((back - front) / 2))
    # The raised arms leave the picture at the top; the shoulders lie over the apices.
    tissue += 0.9 * _slab((y + 0.80 - 0.45 * (x + 0.3)) / 0.17) * step(0.1 - x, 0.5)
    tissue += 0.45 * step(-0.58 - y, 0.4) * step(np.minimum(x - front, back - x), 0.3)

    # Ribs run down and forward; those of the two sides cross.
    (lung,) = chest.lungs
    sternum, wall = spline(y, lung.medial), spline(y, lung.wall)
    cage = step(np.minimum(x - sternum, wall + 0.04 - x), 0.12)
    ribs = 0.12 * _bars(y + 0.55 * x, 0.170) + 0.09 * _bars(y + 0.40 * x, 0.185)
    tissue += ribs * cage * (step(y + 0.75, 0.2) * step(0.7 - y, 0.6))
    tissue += (
        0.35 * step(0.03 - np.abs(x - sternum), 0.04) * (step(y + 0.62, 0.2) * step(0.3 - y, 0.2))
    )

    spine = x - spline(y, _SPINE)
    cycle = (y + 0.25 * spine) / 0.15
    bodies = step(np.abs(cycle - np.floor(cycle) - 0.5) - 0.125, 0.2)
    tissue += step(0.10 - np.abs(spine), 0.05) * (0.20 + 0.18 * bodies)
    tissue += 0.2 * step(0.05 - np.abs(spine - 0.19), 0.06)
    tissue -= 0.35 * step(0.03 - np.abs(x - 0.28 * y - 0.16), 0.03) * step(-0.1 - y, 0.2)

    above = step(spline(x, lung.base) - y, 0.035)
    tissue += 0.65 * _union(layers, (chest.heart[0], 0.45)) * above
    arch, hilum = Ellipse(0.02, -0.30, 0.16, 0.16), Ellipse(0.02, -0.03, 0.11, 0.15)
    tissue += 0.35 * _union(layers, (arch, 0.5), (hilum, 1.2))
    _stomach_gas(layers, rng.uniform(-0.3, -0.1), build.diaphragm - 0.06, rng)
    # The higher dome is seen through the lung over the lower one.
    higher = spline(x, lung.base) - 0.02 - abs(build.domes[1] - build.domes[0])
    layers.lungs[...] *= 1 - 0.25 * step(y - higher, 0.02)


def _stomach_gas(layers: Layers, x: float, dome: float, rng: np.random.Generator) -> None:
    y, rx, ry = dome + rng.uniform(0.14, 0.2), rng.uniform(0.05, 0.15), rng.uniform(0.03, 0.07)
    _add(layers, Ellipse(x, y, rx, ry, 0.2), -0.5, 0.4)


def _vessels(layers: Layers, chest: Chest, rng: np.random.Generator) -> Plane:
    """(H, W) float32: trees that leave the hila, thinner and paler outwards."""
    lines: list[Line] = []
    for lung in chest.lungs:
        for trunk in range(9):
            turn = (trunk + rng.uniform()) / 9
            x, y = (0.13 * lung.side, -0.1 + 0.1 * turn) if chest.frontal else (0.02, -0.05)
            start = (x + chest.build.turn + rng.normal(0, 0.015), y + rng.normal(0, 0.04))
            angle = 2.9 * turn - 1.4 if chest.frontal else 2 * np.pi * turn
            _branch(lines, rng, start, angle, side=lung.side)
    lines.sort(key=lambda line: line[2])
    return (0.36 if chest.frontal else 0.24) * layers.strokes(lines)


def _branch(
    lines: list[Line],
    rng: np.random.Generator,
    start: tuple[float, float],
    angle: float,
    *,
    side: int,
    depth: int = 0,
) -> None:
    points, length = [start], 0.055 * 0.9**depth
    for wobble in rng.normal(0, 0.16, 3).tolist():
        angle += wobble
        x, y = points[-1]
        points.append((x + side * length * np.cos(angle), y + length * np.sin(angle)))
    lines.append((points, 0.026 * 0.62**depth, 0.9 * 0.62**depth))
    if depth < 3:
        for turn in (-rng.normal(0.28, 0.12), rng.normal(0.28, 0.12)):
            _branch(lines, rng, points[-1], angle + turn, side=side, depth=depth + 1)


def _union(layers: Layers, *parts: tuple[Ellipse, float]) -> Plane:
    """(H, W) float32, 0 to 1: ellipses, each with the width of its soft edge as a share of it."""
    union = np.zeros_like(layers.tissue)
    for ellipse, soft in parts:
        np.maximum(union, step(ellipse.depth(layers.x, layers.y), soft), out=union)
    return union


def _add(layers: Layers, ellipse: Ellipse, attenuation: float, soft: float) -> None:
    window = layers.window(ellipse.box)
    window.tissue[...] += attenuation * step(ellipse.depth(window.x, window.y) - soft / 2, soft)


def _slab(r: Plane) -> Plane:
    """Thickness of a round body: 1 in the middle, 0 at |r| = 1 and beyond."""
    square = np.maximum(1 - r * r, 0)
    return 0.6 * np.sqrt(np.sqrt(square)) + 0.4 * square


def _bars(phase: Plane, pitch: float) -> Plane:
    """Flat bars with brighter edges, one in each `pitch`, about half of it thick."""
    cycle = phase * (1 / pitch)
    d = np.abs(cycle - np.floor(cycle) - 0.5)
    return step(0.27 - d, 0.12) * (0.5 + 1.8 * d)
