"""Source values -> 8- or 16-bit levels, and the words that record how."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cxr_engine.shards.errors import UsageError
from cxr_engine.shards.fit import Levels
from cxr_engine.shards.plane import Plane

_PERCENTILE = re.compile(r"percentile:(\d{1,3}(?:\.\d+)?)-(\d{1,3}(?:\.\d+)?)")
_ROWS = 256  # at a time


@dataclass(frozen=True, slots=True)
class Window:
    """Which source values become black and white."""

    kind: Literal["full", "bits", "percentile", "dicom"]
    low: float = 0.0  # per cent of the pixels, of a percentile window
    high: float = 100.0


def parse_window(text: str) -> Window:
    """`full`, `bits`, `percentile:LOW-HIGH` or `dicom`; else a UsageError.

    full        the whole range: of the type, or of BitsStored in a DICOM file
    bits        the depth that the source's table states, else the smallest that holds all values
    percentile  what lies below LOW or above HIGH per cent of the pixels is clipped
    dicom       the VOI LUT or window that a DICOM file brings along; `full` where there is none
    """
    if text in ("full", "bits", "dicom"):
        return Window(text)  # type: ignore[arg-type]  # mypy does not narrow str by `in`
    if match := _PERCENTILE.fullmatch(text):
        low, high = float(match[1]), float(match[2])
        if low < high <= 100.0:
            return Window("percentile", low, high)
    raise UsageError(
        f"window {text!r}",
        "--window",
        "use full, bits, dicom, or percentile:LOW-HIGH such as percentile:0.5-99.5",
    )


def apply_window(
    plane: Plane, window: Window, bits_stored: int | None, depth: Literal[8, 16]
) -> tuple[Levels, str, str | None]:
    """Levels of `depth` bits; what was done, for the manifest; a warning or None.

    bits_stored  significant bits according to the source's table, None if it says nothing

    Eight-bit values that need no change are handed back as they are, not copied.
    """
    low, high, record, warning = 0, plane.white, "full", None
    if plane.voi is not None:
        record = f"dicom {plane.voi}"
    elif window.kind == "bits" and plane.white > 255:
        bits, warning = _significant_bits(plane, bits_stored)
        high, record = (1 << bits) - 1, f"bits:{bits}"
    elif window.kind == "bits":
        record = "bits:8"
    elif window.kind == "percentile" and plane.bits > 1:
        low, high = _percentiles(plane.values, window)
        record = f"percentile:{window.low:g}-{window.high:g} [{low}, {high}]"
    warning = warning or _warning(plane, high)
    top = (1 << depth) - 1
    if (low, high) == (0, top) and plane.values.dtype.itemsize * 8 == depth:
        return plane.values, record, warning
    if low == high:  # one value only: it keeps its share of white
        low, high = 0, plane.white
    return _look_up(_table(low, high, plane.values.dtype, top), plane.values), record, warning


def _table(low: int, high: int, kind: np.dtype[np.generic], top: int) -> Levels:
    """Level of each value that the type can hold, rounded."""
    n_values = 1 << (8 * kind.itemsize)
    values = np.arange(n_values, dtype=np.int64).clip(low, high) - low
    span = high - low
    levels = (2 * values * top + span) // (2 * span)
    return levels.astype(np.uint8) if top == 255 else levels.astype(np.uint16)


def _look_up(table: Levels, values: Levels) -> Levels:
    # In parts: NumPy makes 64-bit indices of the values, eight times the picture.
    levels = np.empty(values.shape, table.dtype)
    for top in range(0, len(values), _ROWS):
        levels[top : top + _ROWS] = table[values[top : top + _ROWS]]
    return levels


def _significant_bits(plane: Plane, stated: int | None) -> tuple[int, str | None]:
    needed = max(8, int(plane.values.max()).bit_length())
    if stated is None:
        return needed, None
    if needed > stated:
        return needed, f"values need {needed} bits, the table says {stated}"
    return min(max(stated, 8), plane.white.bit_length()), None


def _percentiles(values: Levels, window: Window) -> tuple[int, int]:
    """The smallest values that at least `low` and `high` per cent of the pixels do not exceed."""
    counts = np.zeros(1 << (8 * values.dtype.itemsize), np.int64)
    for top in range(0, len(values), _ROWS):
        counts += np.bincount(values[top : top + _ROWS].ravel(), minlength=counts.size)
    below = counts.cumsum()
    wanted = np.array([window.low, window.high]) / 100.0 * values.size
    # One pixel at least: 0 per cent is the smallest value there is, not zero.
    low, high = np.searchsorted(below, np.maximum(wanted, 1))
    return int(low), int(high)


def _warning(plane: Plane, high: int) -> str | None:
    most = plane.white
    darkest, brightest = int(plane.values.min()), int(plane.values.max())
    if brightest - darkest < most / 100:
        return f"values from {darkest} to {brightest} use less than 1 % of {most:,}"
    # Twelve bits in sixteen: the brightest pixel would be level 15 of 255.
    if plane.voi is None and most > 255 and high == most and brightest < most / 8:
        return (
            f"nearly black: the brightest value is {brightest:,} of {most:,}; --window bits helps"
        )
    return None
