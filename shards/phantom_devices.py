"""Lines, tubes and pacemakers in a phantom's chest: paths as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxr_engine.shards.phantom_anatomy import Chest, Layers, Line, Patch, random_side, spline

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Device:
    frontal: Points
    lateral: Points
    width: float
    head: float = 0.0  # thickness of what sits at the first point
    either_side: bool = False  # frontal paths are of the left of the picture unless mirrored


_DEVICES = (
    _Device(  # central venous line
        frontal=((-0.26, -0.98), (-0.17, -0.70), (-0.11, -0.45), (-0.09, -0.15), (-0.07, 0.02)),
        lateral=((0.02, -0.98), (0.00, -0.65), (-0.04, -0.35), (-0.06, 0.0)),
        width=0.018,
    ),
    _Device(  # airway tube
        frontal=((0.01, -0.98), (0.0, -0.65), (0.0, -0.36)),
        lateral=((-0.12, -0.98), (-0.02, -0.62), (0.06, -0.38)),
        width=0.036,
    ),
    _Device(  # feeding tube
        frontal=(
            (0.02, -0.98),
            (0.01, -0.4),
            (0.04, 0.1),
            (0.08, 0.42),
            (0.22, 0.62),
            (0.36, 0.64),
        ),
        lateral=((0.03, -0.98), (0.10, -0.5), (0.18, 0.0), (0.14, 0.40), (0.0, 0.60)),
        width=0.022,
    ),
    _Device(  # chest tube
        frontal=((-0.90, 0.34), (-0.72, 0.18), (-0.60, -0.12), (-0.50, -0.42), (-0.38, -0.60)),
        lateral=((0.10, 0.40), (0.12, 0.10), (0.06, -0.25), (0.04, -0.52)),
        width=0.030,
        either_side=True,
    ),
    _Device(  # pacemaker
        frontal=(
            (0.52, -0.50),
            (0.30, -0.58),
            (0.02, -0.42),
            (-0.06, -0.05),
            (0.06, 0.22),
            (0.24, 0.36),
        ),
        lateral=((-0.46, -0.34), (-0.20, -0.52), (-0.02, -0.30), (-0.10, 0.05), (-0.28, 0.26)),
        width=0.020,
        head=0.13,
    ),
    _Device(  # wires on the skin
        frontal=(
            (-0.50, -0.42),
            (-0.20, -0.20),
            (0.10, -0.05),
            (0.45, 0.05),
            (0.60, 0.45),
            (0.55, 0.9),
        ),
        lateral=((-0.60, -0.20), (-0.25, -0.05), (0.10, 0.20), (0.20, 0.55), (0.10, 0.95)),
        width=0.018,
        head=0.06,
        either_side=True,
    ),
)


def plan_devices(chest: Chest, rng: np.random.Generator) -> list[Patch]:
    """One to three devices, the same in both views."""
    kinds = rng.permutation(len(_DEVICES))[: rng.integers(1, 4)]
    mirror = random_side(rng)
    return [_plan_device(_DEVICES[kind], chest.frontal, mirror, rng) for kind in kinds]


def _plan_device(device: _Device, frontal: bool, mirror: int, rng: np.random.Generator) -> Patch:
    points = np.array(device.frontal if frontal else device.lateral)
    if frontal and device.either_side:
        points *= (mirror, 1)
    points += rng.normal(0, 0.015, points.shape)
    along = np.linspace(0, len(points) - 1, 8 * len(points), dtype=np.float32)
    xs, ys = (spline(along, list(enumerate(axis))).tolist() for axis in points.T.tolist())
    lines: list[Line] = [(list(zip(xs, ys, strict=True)), device.width, 0.8)]
    if device.head:
        half = device.head / 3
        lines.append((((xs[0] - half, ys[0]), (xs[0] + half, ys[0] + 0.02)), device.head, 1.0))

    def paint(layers: Layers) -> None:
        layers.tissue[...] += 0.8 * layers.strokes(lines)

    margin = max(device.width, 1.5 * device.head) / 2 + 0.01
    return Patch((min(xs) - margin, min(ys) - margin, max(xs) + margin, max(ys) + margin), paint)
