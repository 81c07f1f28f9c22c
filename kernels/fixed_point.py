"""Weights as whole numbers: their sums are exact, so no order of adding can change a result.

This is what makes the metrics bit-identical for any order of rows, any number of threads, and on
CPU and GPU alike, where parallel sums of floats would differ in the last bits from run to run.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

# All weights of a class sum up to less than 2**61: two such sums still fit a signed 64-bit integer.
TOTAL_BITS = 61


def unit(n_rows: int) -> float:
    """How many units the weight 1 is worth where all rows weigh the same; a power of two."""
    return float(2 ** (TOTAL_BITS - n_rows.bit_length()))


def weight_units(weights_N: Any, xp: ModuleType) -> Any:
    """Non-negative weights in units of (largest weight) · (number of rows) · 2**-61, rounded.

    weights  (N,) float64, N > 0
    returns  (N,) int64; at 1e6 rows a weight below 1e-13 of the largest counts as nothing
    """
    _, exponent = xp.frexp(weights_N.max())
    shift = TOTAL_BITS - len(weights_N).bit_length() - exponent
    return xp.rint(xp.ldexp(weights_N, shift)).astype(xp.int64)
