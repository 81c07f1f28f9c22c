"""Augmentation parameters per sample; no pixels here.

Every number comes from a counter-based generator keyed by (seed, epoch, key, repeat): a sample looks
the same in any batch, on any rank and device, and can be drawn again. All geometry of a sample is one
crop box in whole pixels and one 3×3 matrix from output to crop, so that pixels are resampled once.

Coordinates are continuous: (0, 0) is the corner of the first pixel, x runs right, y down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xxhash
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

_CROP_TRIES = 10  # albumentations 1.3.1 and torchvision alike
_DRAWS_BEFORE_HOLES = (
    4 * _CROP_TRIES + 8
)  # fixed places, so that one field never shifts another's draws


class Augment(BaseModel):
    """Distribution of the augmentation; the order is crop, affine, flips, holes.

    Meaning of the fields as in albumentations 1.3.1 (RandomResizedCrop, ShiftScaleRotate, Cutout):
    exactly `holes` holes of fixed size are punched, centres may fall on the edge.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    crop_scale: tuple[float, float] | None = (
        None  # share of the area kept; None keeps the whole plane
    )
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width over height of the crop
    affine_p: float = Field(default=0.0, ge=0.0, le=1.0)
    rotate: float = 15.0  # degrees, both ways
    shift: float = 0.0625  # share of the side, both ways
    scale: float = Field(default=0.1, ge=0.0, lt=1.0)  # 1 ± scale
    hflip_p: float = Field(default=0.0, ge=0.0, le=1.0)
    vflip_p: float = Field(default=0.0, ge=0.0, le=1.0)
    holes_p: float = Field(default=0.0, ge=0.0, le=1.0)
    holes: int = Field(default=5, ge=1, le=64)
    hole_size: float = Field(default=0.05, gt=0.0, le=1.0)  # share of the side, rounded down
    border: Literal["reflect_101", "constant", "replicate"] = (
        "reflect_101"  # at the edge of the crop
    )


PRESETS: dict[str, Augment] = {
    "none": Augment(),
    # Stage training, CXR-LT 2023: plain resize, both flips, up to 5 holes of 5 %.
    "cxr-lt-2023": Augment(hflip_p=0.5, vflip_p=0.5, holes_p=0.5),
    # Ensemble with view aggregation, CXR-LT 2024.
    "cxr-lt-2024": Augment(crop_scale=(0.85, 1.0), affine_p=0.5, hflip_p=0.5, holes_p=0.1),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """What happens to each of B samples.

    start   (B, 2) int32, y and x of the crop box in the decoded plane
    shape   (B, 2) int32, its height and width
    matrix  (B, 3, 3) float32, output point -> point in the crop box
    anchor  B arrays (2·holes,) float32, y and x of each hole in the output; empty without holes
    hole    B arrays (2·holes,) float32, height and width of each hole
    """

    start: NDArray[np.int32]
    shape: NDArray[np.int32]
    matrix: NDArray[np.float32]
    anchor: Sequence[NDArray[np.float32]]
    hole: Sequence[NDArray[np.float32]]


def sample_seeds(
    seed: int, epoch: int, keys: Sequence[str], repeats: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """One 64-bit seed per sample from (seed, epoch, key, repeat)."""
    stream = np.uint64(xxhash.xxh3_64_intdigest(f"{seed}/{epoch}".encode()))
    keyed = np.fromiter((xxhash.xxh3_64_intdigest(k.encode()) for k in keys), np.uint64, len(keys))
    return _mix(_mix(keyed ^ stream) + repeats.astype(np.uint64))


def uniforms(seeds: NDArray[np.uint64], n: int) -> NDArray[np.float64]:
    """(B, n) uniform numbers in [0, 1): SplitMix64 (Steele, Lea and Flood, 2014) from each seed."""
    steps = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits = _mix(seeds[:, None] + steps[None, :])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def draw(
    augment: Augment,
    seeds: NDArray[np.uint64],
    plane_size: NDArray[np.int64],
    image_size: int,
) -> Parameters:
    """Parameters of B samples.

    seeds       (B,) uint64 of `sample_seeds`
    plane_size  (B, 2) height and width of each decoded plane
    image_size  side of the output in pixels
    """
    holes = augment.holes if augment.holes_p > 0 else 0
    u = uniforms(seeds, _DRAWS_BEFORE_HOLES + 2 * holes)
    start, shape = _crop(augment, u[:, : 4 * _CROP_TRIES], plane_size)
    matrix = _matrix(augment, u[:, 4 * _CROP_TRIES : _DRAWS_BEFORE_HOLES], shape, image_size)
    anchor, hole = _holes(augment, u[:, _DRAWS_BEFORE_HOLES - 1 :], holes, image_size)
    return Parameters(start=start, shape=shape, matrix=matrix, anchor=anchor, hole=hole)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: a bijection of 64 bits in which each bit depends on every other."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _crop(
    augment: Augment, u: NDArray[np.float64], plane_size: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """RandomResizedCrop's box: the first of ten tries that fits, else the largest centred one."""
    height, width = plane_size[:, 0], plane_size[:, 1]
    if augment.crop_scale is None:
        return np.zeros((len(u), 2), np.int32), plane_size.astype(np.int32)
    tries = u.reshape(len(u), _CROP_TRIES, 4)
    area_low, area_high = augment.crop_scale
    ratio_low, ratio_high = augment.crop_ratio
    area = (height * width)[:, None] * (area_low + (area_high - area_low) * tries[..., 0])
    log_low, log_high = math.log(ratio_low), math.log(ratio_high)
    ratio = np.exp(log_low + (log_high - log_low) * tries[..., 1])
    box_w = np.rint(np.sqrt(area * ratio)).astype(np.int64)
    box_h = np.rint(np.sqrt(area / ratio)).astype(np.int64)
    fits = (box_w > 0) & (box_h > 0) & (box_w <= width[:, None]) & (box_h <= height[:, None])
    first = fits.argmax(axis=1)
    pick = np.arange(len(u))
    found = fits[pick, first]

    # Where none fits: the whole plane, narrowed to the nearest allowed ratio, in the middle.
    plane_ratio = width / height
    fallback_w = np.where(plane_ratio > ratio_high, np.rint(height * ratio_high), width)
    fallback_h = np.where(plane_ratio < ratio_low, np.rint(width / ratio_low), height)
    box_h = np.where(found, box_h[pick, first], fallback_h).astype(np.int64)
    box_w = np.where(found, box_w[pick, first], fallback_w).astype(np.int64)
    y = np.floor(tries[pick, first, 2] * (height - box_h + 1))
    x = np.floor(tries[pick, first, 3] * (width - box_w + 1))
    y = np.where(found, y, (height - box_h) // 2)
    x = np.where(found, x, (width - box_w) // 2)
    return np.stack([y, x], 1).astype(np.int32), np.stack([box_h, box_w], 1).astype(np.int32)


def _matrix(
    augment: Augment, u: NDArray[np.float64], shape: NDArray[np.int32], image_size: int
) -> NDArray[np.float32]:
    """Output -> crop box: undo the flips, undo ShiftScaleRotate about the centre, undo the resize."""
    n = len(u)
    affine = u[:, 0] < augment.affine_p
    angle = np.where(affine, np.deg2rad(augment.rotate) * (2 * u[:, 1] - 1), 0.0)
    scale = np.where(affine, 1 + augment.scale * (2 * u[:, 2] - 1), 1.0)
    move = augment.shift * image_size * (2 * u[:, 3:5] - 1)
    move = np.where(affine[:, None], move, 0.0)  # x, y
    flip_x = np.where(u[:, 5] < augment.hflip_p, -1.0, 1.0)
    flip_y = np.where(u[:, 6] < augment.vflip_p, -1.0, 1.0)

    # Forward, in centred coordinates q: q' = flip(scale · R(angle) q + move), R counter-clockwise on
    # the screen (cv2.getRotationMatrix2D). The inverse is written out, so that no solve can round.
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    inverse = np.empty((n, 2, 2))
    inverse[:, 0, 0], inverse[:, 0, 1] = cos * flip_x, -sin * flip_y
    inverse[:, 1, 0], inverse[:, 1, 1] = sin * flip_x, cos * flip_y
    centre = image_size / 2
    offset = np.empty((n, 2))
    offset[:, 0] = centre - cos * move[:, 0] + sin * move[:, 1]
    offset[:, 1] = centre - sin * move[:, 0] - cos * move[:, 1]
    offset -= inverse.sum(axis=2) * centre

    resize = shape[:, ::-1] / image_size  # x, y
    matrix = np.zeros((n, 3, 3), np.float32)
    matrix[:, :2, :2] = inverse * resize[:, :, None]
    matrix[:, :2, 2] = offset * resize
    matrix[:, 2, 2] = 1.0
    return matrix


def _holes(
    augment: Augment, u: NDArray[np.float64], holes: int, image_size: int
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Cutout's squares: centred anywhere, moved inside at the low edges, cut off at the high ones."""
    none = np.zeros(0, np.float32)
    if holes == 0:
        return [none] * len(u), [none] * len(u)
    side = int(augment.hole_size * image_size)
    centre = np.floor(
        u[:, 1:] * (image_size + 1)
    )  # 0 … image_size, both ends included as published
    low = np.clip(centre - side // 2, 0, image_size)
    length = np.minimum(low + side, image_size) - low
    punched = u[:, 0] < augment.holes_p
    low32, length32 = low.astype(np.float32), length.astype(np.float32)
    anchors = [low32[i] if punched[i] else none for i in range(len(u))]
    lengths = [length32[i] if punched[i] else none for i in range(len(u))]
    return anchors, lengths
