"""What goes wrong in a phantom's chest: each finding is planned as patches, then painted.

A patch paints inside its box only, so that boxes are true by construction. A few findings reshape
the chest before it is painted; their patches only claim the place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from cxr_engine.shards.phantom_anatomy import (
    Box,
    Build,
    Chest,
    Ellipse,
    Layers,
    Lung,
    Patch,
    Plane,
    cloud,
    random_side,
    spline,
    step,
)
from cxr_engine.shards.phantom_devices import plan_devices

Point = tuple[float, float]
Range = tuple[float, float]


def reshape(build: Build, finding: str, rng: np.random.Generator) -> Build:
    """The chest with what the finding does to its shape; most do nothing."""
    if finding == "Atelectasis":
        side, rise = random_side(rng), rng.uniform(0.06, 0.18)
        right, left = build.domes
        return replace(build, domes=(right - rise, left) if side < 0 else (right, left - rise))
    if finding == "Cardiomegaly":
        return replace(build, heart=build.heart * rng.uniform(1.28, 1.55))
    if finding == "Emphysema":
        low, curve = rng.uniform(0.08, 0.14), rng.uniform(0.3, 0.55)
        domes, heart = (build.domes[0] + low, build.domes[1] + low), 0.88 * build.heart
        return replace(build, domes=domes, curve=curve, heart=heart, air=1.14, vessels=0.4)
    return build


def plan(chest: Chest, finding: str, rng: np.random.Generator) -> list[Patch]:
    """Where and how the finding is painted; `rng` is the study's, so that both views agree.

    In a lateral picture the two lungs lie over each other and findings of one are weaker.
    """
    return _PLANS[finding](chest, rng)


def _emphysema(chest: Chest, _rng: np.random.Generator) -> list[Patch]:
    return [Patch(_around(*(lung.box for lung in chest.lungs)), _nothing)]


def _cardiomegaly(chest: Chest, _rng: np.random.Generator) -> list[Patch]:
    return [Patch(_around(*(part.box for part in chest.heart)), _nothing)]


def _edema(chest: Chest, rng: np.random.Generator) -> list[Patch]:
    share, tall = rng.uniform(0.35, 0.6), rng.uniform(0.45, 0.6)

    def haze(ellipse: Ellipse) -> Patch:
        def paint(layers: Layers) -> None:
            shape = step(ellipse.depth(layers.x, layers.y) - 0.4, 0.8)
            shape *= 1 + 0.35 * cloud(rng, shape.shape, 14)
            layers.lungs[...] *= 1 - share * shape
            layers.markings[...] *= 1 + 0.5 * shape

        return Patch(ellipse.box, paint)

    if chest.frontal:
        return [haze(Ellipse(side * 0.32, 0.02, 0.36, tall)) for side in (-1, 1)]
    return [haze(Ellipse(0.04, 0.02, 0.48, tall))]


def _consolidation(chest: Chest, rng: np.random.Generator) -> list[Patch]:
    first, both = random_side(rng), rng.random() < 0.25
    patches = []
    for side in (first, -first) if both else (first,):
        share = rng.uniform(0.6, 0.85) * (1 if chest.frontal else 0.65)
        place = _place(chest, side, rng, (0.3, 0.7), (0.25, 0.95))
        rx, ry, angle = rng.uniform(0.2, 0.3), rng.uniform(0.18, 0.28), rng.uniform(0, 3)
        ellipse = Ellipse(*place, rx, ry, angle)
        patches.append(_opacity(ellipse, rng, share=share, soft=0.6, rough=0.22))
    return patches


def _mass(chest: Chest, rng: np.random.Generator) -> list[Patch]:
    place = _place(chest, random_side(rng), rng, (0.25, 0.75), (0.2, 0.85))
    r = rng.uniform(0.11, 0.18)
    ellipse = Ellipse(*place, r * rng.uniform(0.85, 1.15), r, rng.uniform(0, 3))
    return [_opacity(ellipse, rng, share=0.75, soft=0.25)]


def _nodule(chest: Chest, rng: np.random.Generator) -> list[Patch]:
    patches = []
    for _ in range(1 if rng.random() < 0.6 else 2):
        place = _place(chest, random_side(rng), rng, (0.3, 0.85), (0.2, 0.9))
        r, density = rng.uniform(0.045, 0.07), rng.uniform(0.25, 0.45)
        patches.append(_opacity(Ellipse(*place, r, r), rng, share=0.3, soft=0.35, density=density))
    return patches


def _atelectasis(chest: Chest, rng: np.random.Generator) -> list[Patch]:
    side, rise = random_side(rng), rng.uniform(0.06, 0.18)
    lung = chest.lung(side)
    right, left = chest.build.domes
    top = lung.dome - 0.05 - (0 if chest.frontal else abs(right - left))  # of the higher dome
    floor = max(y for _, y in lung.base) + (rise if chest.frontal else 0.04)
    raised = lung.span(lung.base[0][0], top, lung.base[-1][0], floor)
    patches = [Patch(raised, _nothing)]
    for _ in range(int(rng.integers(1, 4))):
        s, t = rng.uniform(0.35, 0.7), rng.uniform(0.72, 0.95)
        length, thick, tilt = rng.uniform(0.16, 0.26), rng.uniform(0.024, 0.04), rng.normal(0, 0.2)
        plate = Ellipse(*lung.point(s, t), length, thick, tilt)
        patches.append(_opacity(plate, rng, share=0.7 if chest.frontal else 0.5, soft=0.6))
    return patches


def _effusion(chest: Chest, rng: np.random.Generator) -> list[Patch]:
    first, both = random_side(rng), rng.random() < 0.4
    heights: list[float] = (rng.uniform(0.0, 0.5, 2) ** 1.3).tolist()

    def fluid(lung: Lung, height: float, share: float) -> Patch:
        u = np.linspace(lung.base[0][0], lung.base[-1][0], 64, dtype=np.float32)
        middle, wall, floor = u[20], u[-1], max(y for _, y in lung.base)

        def surface(u: Plane) -> Plane:
            rise = 0.24 * np.square(np.maximum(u - middle, 0) / (wall - middle))  # the meniscus
            return lung.dome + 0.14 - height - rise

        def paint(layers: Layers) -> None:
            _replace_air(layers, step(layers.y - surface(layers.x * lung.side), 0.06), share)

        wet = u[surface(u) < spline(u, lung.base)]
        top = float(surface(wall)) - 0.03
        return Patch(lung.span(float(wet[0]), top, float(wall) + 0.03, floor + 0.03), paint)

    if not chest.frontal:
        return [fluid(chest.lungs[0], max(heights) if both else heights[0], 0.93 if both else 0.6)]
    sides = (first, -first) if both else (first,)
    return [fluid(chest.lung(side), h, 0.93) for side, h in zip(sides, heights, strict=False)]


def _pneumothorax(chest: Chest, rng: np.random.Generator) -> list[Patch]:
    side, gap = random_side(rng), rng.uniform(0.09, 0.3)
    lung, strength = chest.lung(side), 1.0 if chest.frontal else 0.6
    bottom = lung.dome + 0.1

    def paint(layers: Layers) -> None:
        y = layers.y
        rim = np.minimum(spline(y, lung.wall) - layers.x * side, 1.3 * (y - lung.apex))
        q = rim - gap * (bottom - y) / (bottom - lung.apex)  # above 0 in the collapsed lung
        free = strength * step(-q, 0.02)
        layers.markings[...] *= 1 - free
        pleura = step(0.012 - np.abs(q), 0.014)
        layers.tissue[...] += 0.4 * strength * pleura * np.minimum(layers.lungs, 1)
        collapsed = step(q, 0.02) * np.clip(1 - q / 0.3, 0, 1)
        layers.lungs[...] *= 1 + 0.16 * free - (0.15 + 0.6 * gap) * strength * collapsed

    u1 = max(u for _, u in lung.wall)
    return [Patch(lung.span(lung.base[0][0], lung.apex - 0.02, u1, bottom), paint)]


def _pneumoperitoneum(chest: Chest, rng: np.random.Generator) -> list[Patch]:
    thick, both = rng.uniform(0.05, 0.10), rng.random() < 0.5
    middle, reach = (0.34, 0.27) if chest.frontal else (-0.22, 0.30)

    def crescent(lung: Lung) -> Patch:
        def paint(layers: Layers) -> None:
            u = layers.x * lung.side
            below = layers.y - spline(u, lung.base) - 0.035
            height = thick * (1 - np.square((u - middle) / reach))
            layers.tissue[...] -= 0.95 * step(np.minimum(below, height - below), 0.02)

        low = lung.dome + 0.05 + thick + 0.15 * chest.build.curve
        return Patch(lung.span(middle - reach, lung.dome + 0.02, middle + reach, low), paint)

    return [crescent(lung) for lung in (chest.lungs if both else chest.lungs[:1])]


def _hernia(chest: Chest, rng: np.random.Generator) -> list[Patch]:
    r, filled, shift = rng.uniform(0.14, 0.21), rng.uniform(-0.3, 0.3), rng.uniform(-0.04, 0.08)
    x, gas = (0.02 + chest.build.turn, 1.1) if chest.frontal else (0.22, 0.6)
    sac = Ellipse(x + shift, chest.build.diaphragm - 0.03 - 0.8 * r, r, 0.9 * r)

    def paint(layers: Layers) -> None:
        depth = sac.depth(layers.x, layers.y)
        inner, level = step(depth - 0.18, 0.1), step(layers.y - sac.y - filled * r, 0.015)
        layers.tissue[...] += 0.45 * step(depth - 0.04, 0.08) - inner * gas * (1 - 0.9 * level)

    return [Patch(sac.box, paint)]


def _subcutaneous_emphysema(chest: Chest, rng: np.random.Generator) -> list[Patch]:
    first, both, tall = random_side(rng), rng.random() < 0.5, rng.uniform(0.4, 0.6)
    if chest.frontal:
        sides, x = (first, -first) if both else (first,), 0.78 * chest.build.width
        places = [Ellipse(side * x, -0.15, 0.14, tall, side * -0.08) for side in sides]
        places += [Ellipse(side * 0.30, -0.88, 0.16, 0.09) for side in sides]
    else:
        places = [Ellipse(-0.60, -0.10, 0.14, tall, 0.3), Ellipse(-0.20, -0.86, 0.2, 0.1)]

    def streaks(ellipse: Ellipse) -> Patch:
        def paint(layers: Layers) -> None:
            shape = step(ellipse.depth(layers.x, layers.y) - 0.3, 0.6)
            gas = step(cloud(rng, shape.shape, 13) - 0.1, 0.5) * shape * (layers.tissue > 0)
            layers.tissue[...] -= 0.65 * gas * (1 - np.minimum(layers.lungs, 1))

        return Patch(ellipse.box, paint)

    return [streaks(place) for place in places]


_PLANS: dict[str, Callable[[Chest, np.random.Generator], list[Patch]]] = {
    # in the order of painting: later ones lie over earlier ones
    "Cardiomegaly": _cardiomegaly,
    "Emphysema": _emphysema,
    "Edema": _edema,
    "Consolidation": _consolidation,
    "Mass": _mass,
    "Nodule": _nodule,
    "Atelectasis": _atelectasis,
    "Pneumothorax": _pneumothorax,
    "Pleural Effusion": _effusion,
    "Pneumoperitoneum": _pneumoperitoneum,
    "Hernia": _hernia,
    "Subcutaneous Emphysema": _subcutaneous_emphysema,
    "Support Devices": plan_devices,
}
PAINTED = tuple(_PLANS)


def _opacity(
    ellipse: Ellipse,
    rng: np.random.Generator,
    *,
    share: float,
    soft: float,
    density: float = 0.0,
    rough: float = 0.1,
) -> Patch:
    """A dense place with an irregular edge: it replaces a share of the air and adds density."""

    def paint(layers: Layers) -> None:
        depth = ellipse.depth(layers.x, layers.y)
        edge = rough * cloud(rng, depth.shape, 6) * np.clip(3 * depth, 0, 1)
        shape = step(depth + edge - soft / 2, soft)
        layers.tissue[...] += density * shape * np.minimum(layers.lungs, 1)
        _replace_air(layers, shape, share)

    return Patch(ellipse.box, paint)


def _replace_air(layers: Layers, shape: Plane, share: float) -> None:
    layers.lungs[...] *= 1 - share * shape
    layers.markings[...] *= 1 - share * shape


def _nothing(layers: Layers) -> None:
    """The chest was reshaped before it was painted."""


def _place(chest: Chest, side: int, rng: np.random.Generator, s: Range, t: Range) -> Point:
    """A place in a lung: as high in both views, its depth drawn apart from its distance aside."""
    aside, depth, height = rng.uniform(*s), rng.uniform(0.2, 0.8), rng.uniform(*t)
    return chest.lung(side).point(aside if chest.frontal else depth, height)


def _around(*boxes: Box) -> Box:
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return (min(x0), min(y0), max(x1), max(y1))
