"""Phantoms: drawn pictures that pass for crude chest X-rays, with patients, studies and findings.

They need no download and no permission: the demo trains on them, tests and benchmarks read them.
Everything is a pure function of the seed; what a study shows is the same in all its views.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cxr_engine.shards.errors import UsageError
from cxr_engine.shards.phantom_anatomy import (
    AIR,
    SPAN,
    Build,
    Chest,
    Patch,
    Plane,
    frontal_chest,
    lateral_chest,
)
from cxr_engine.shards.phantom_chest import paint_chest
from cxr_engine.shards.phantom_findings import PAINTED, plan, reshape
from cxr_engine.shards.phantom_patients import FINDINGS, PhantomView, draw_patients
from cxr_engine.shards.publish import published

__all__ = ["FINDINGS", "PhantomView", "boxes", "draw_patients", "render", "write_phantoms"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pose:
    """How the chest stands in the frame: pixel = size / 2 + scale · rotation · place + shift."""

    angle: float  # radians
    scale: float
    shift: tuple[float, float]  # in units of the chest

    def matrix(self, size: int) -> NDArray[np.float64]:
        """(2, 3) float64, chest to picture, both in pixels of a picture of that size."""
        c, s = self.scale * np.cos(self.angle), self.scale * np.sin(self.angle)
        turn = np.array([[c, -s], [s, c]])
        middle = np.full(2, size / 2)
        offset = middle - turn @ middle + np.array(self.shift) * size / (2 * SPAN)
        return np.column_stack([turn, offset])


def _stream(view: PhantomView, *names: str) -> np.random.Generator:
    return np.random.default_rng([view.seed, *"/".join(names).encode()])


def _plan(view: PhantomView) -> tuple[Chest, dict[str, list[Patch]], _Pose, np.random.Generator]:
    """Geometry first: the chest, the patches of each finding, the pose, and the picture's stream."""
    body = _stream(view, view.patient)
    build = Build(
        width=body.uniform(0.93, 1.04),
        fat=body.uniform(-0.03, 0.10),
        breast=body.uniform(0.12, 0.3) if body.random() < 0.5 else 0.0,
        heart=body.uniform(0.88, 1.08),
        diaphragm=body.uniform(0.40, 0.52),
        curve=body.uniform(0.85, 1.1),
    )
    rng = _stream(view, view.study, view.view)
    build = replace(build, turn=rng.normal(0, 0.015), vessels=rng.uniform(0.8, 1.2))
    angle, scale = rng.normal(0, 0.02), rng.uniform(0.96, 1.08)
    shift = (rng.normal(0, 0.02), rng.normal(0, 0.02))
    if view.view_position == "AP":  # in bed: shallow breath, magnified heart, crooked
        build = replace(build, heart=build.heart * 1.07, diaphragm=build.diaphragm - 0.08)
        angle *= 2
    planned = [name for name in PAINTED if name in view.findings]
    for name in planned:
        build = reshape(build, name, _stream(view, view.study, name))
    chest = frontal_chest(build) if view.view == "frontal" else lateral_chest(build)
    patches = {name: plan(chest, name, _stream(view, view.study, name)) for name in planned}
    return chest, patches, _Pose(angle=angle, scale=scale, shift=shift), rng


def boxes(view: PhantomView, size: int = 256) -> dict[str, list[tuple[int, int, int, int]]]:
    """Where each finding is, as half-open pixel boxes x0, y0, x1, y1; "Normal" has none.

    An empty list where the frame cuts all of a finding off.
    """
    _, planned, pose, _ = _plan(view)
    matrix, unit = pose.matrix(size), size / (2 * SPAN)
    found: dict[str, list[tuple[int, int, int, int]]] = {}
    for name, patches in planned.items():
        found[name] = []
        for patch in patches:
            x0, y0, x1, y1 = ((edge + SPAN) * unit for edge in patch.box)
            corners = matrix @ np.array([[x0, x1, x0, x1], [y0, y0, y1, y1], [1, 1, 1, 1]])
            low = np.clip(np.floor(corners.min(1)), 0, size).astype(int).tolist()
            high = np.clip(np.ceil(corners.max(1)), 0, size).astype(int).tolist()
            if low[0] < high[0] and low[1] < high[1]:
                found[name].append((low[0], low[1], high[0], high[1]))
    return found


def render(view: PhantomView, size: int = 256) -> NDArray[np.uint8]:
    """(size, size) uint8, white bones on black air."""
    if size < 16:
        raise ValueError(f"size must be at least 16 pixels, got {size}")
    chest, planned, pose, rng = _plan(view)
    dose, gamma, grain = rng.uniform(0.7, 0.9), rng.uniform(0.85, 1.2), rng.uniform(0.008, 0.022)
    top, fog = rng.uniform(0.92, 1.0), rng.uniform(0.06, 0.16)
    if view.view_position != "AP":
        fog = 0.0  # scatter without a grid
    layers = paint_chest(chest, size, rng)
    for patches in planned.values():
        for patch in patches:
            patch.paint(layers.window(patch.box))
    attenuation = np.maximum(layers.tissue - AIR * layers.lungs + layers.markings, 0)
    gray = np.minimum(1.1 * (1 - np.exp(-dose * attenuation)), 1) ** gamma
    gray = top * (fog + (0.96 - fog) * gray)
    # A stream of its own: how many draws it takes depends on the size, the rest must not.
    noise = _stream(view, view.study, view.view, "grain").standard_normal((size, size), np.float32)
    gray = _posed(gray, pose) + grain * noise
    picture = Image.fromarray((255 * np.clip(gray, 0, 1)).astype(np.uint8))
    _burn_marker(picture, rng)
    return np.asarray(picture)


def _posed(gray: Plane, pose: _Pose) -> Plane:
    """The plane in its pose, black where the frame ends: the shutters of the tube."""
    size = len(gray)
    inverse = np.linalg.inv(np.vstack([pose.matrix(size), (0, 0, 1)]))
    moved = Image.fromarray(gray).transform(
        (size, size),
        Image.Transform.AFFINE,
        inverse[:2].ravel().tolist(),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(moved)


# Strokes of the letters that technicians lay on the detector, in a box 0.7 wide and 1 high.
_LETTERS = {
    "L": ((0, 0), (0, 1), (0.6, 1)),
    "R": ((0, 1), (0, 0), (0.5, 0), (0.65, 0.25), (0.5, 0.5), (0, 0.5), (0.3, 0.5), (0.7, 1)),
}


def _burn_marker(picture: Image.Image, rng: np.random.Generator) -> None:
    letter = "L" if rng.random() < 0.6 else "R"
    height = picture.width * rng.uniform(0.045, 0.065)
    x = picture.width * ((0.88 if letter == "L" else 0.05) + rng.uniform(0, 0.04))
    y = picture.width * rng.uniform(0.04, 0.10)
    points = [(x + height * a, y + height * b) for a, b in _LETTERS[letter]]
    ImageDraw.Draw(picture).line(points, fill=245, width=max(1, round(height / 6)))


def write_phantoms(
    folder: Path,
    n_images: int,
    seed: int,
    size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw a data set into a new or empty folder and return its table, which is written last.

    images/<patient>_<study>_<view>.jpg, and labels.csv with the columns image, patient, study, view
    (PA, AP or LATERAL) and 0 or 1 per finding. progress gets the number drawn and n_images.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(
            "the folder for the drawn pictures is not empty",
            str(folder),
            "name a new one, or delete it",
        )
    views = draw_patients(n_images, seed)
    images = folder / "images"
    images.mkdir(parents=True)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("image", "patient", "study", "view", *FINDINGS))
    for n_drawn, view in enumerate(views, start=1):
        name = f"{view.patient}_{view.study}_{view.view}.jpg"
        partial = images / f"{name}.partial"
        Image.fromarray(render(view, size)).save(partial, "JPEG", quality=95)
        partial.replace(images / name)
        labels = (int(finding in view.findings) for finding in FINDINGS)
        table.writerow((name, view.patient, view.study, view.view_position, *labels))
        if progress:
            progress(n_drawn, n_images)
    path = folder / "labels.csv"
    with published(path) as file:
        file.write(text.getvalue().encode())
    return path
