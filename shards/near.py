"""Pairs of pictures that look alike: difference hashes within a few bits of each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEAR_BITS = 4  # of 64
# Two hashes that differ in at most four bits agree in one of five bands. Bands of every fifth
# bit: neighbours in a hash agree too often in chest X-rays, which all look alike. Contiguous
# bands leave 37 % of the pairs of NIH images to compare, these 13 %.
_BANDS = tuple(tuple(range(first, 64, NEAR_BITS + 1)) for first in range(NEAR_BITS + 1))
_MAX_CANDIDATES = 1_000_000_000  # pairs that share a band; 5 to 10 ns each
_BLOCK = 1 << 20  # pairs compared at once: 8 MB


@dataclass(frozen=True, slots=True)
class NearPairs:
    """Pairs of rows of different patients within `NEAR_BITS`."""

    count: int
    first: tuple[tuple[int, int, int], ...]  # row, later row, bits that differ; in row order


def near_pairs(
    hashes: NDArray[np.uint64], patients: NDArray[np.int64], shown: int
) -> NearPairs | None:
    """Count near pairs over patients and keep the first `shown`; None if it would take too long.

    hashes    (N,) uint64 difference hashes
    patients  (N,) int64, a number per patient
    """
    bands = [_band(hashes, bits) for bits in _BANDS]
    buckets = [_buckets(band) for band in bands]
    n_candidates = sum(len(rows) * (len(rows) - 1) // 2 for band in buckets for rows in band)
    if n_candidates > _MAX_CANDIDATES:
        return None
    count = 0
    first = np.empty((0, 2), np.int64)
    for number, band_buckets in enumerate(buckets):
        for rows in band_buckets:
            for pairs in _close(hashes, rows):
                left, right = pairs.T
                # A pair that an earlier band has found is not counted again.
                is_new = patients[left] != patients[right]
                for earlier in bands[:number]:
                    is_new &= earlier[left] != earlier[right]
                found = pairs[is_new]
                count += len(found)
                first = _first(np.concatenate([first, found]), shown)
    bits = np.bitwise_count(hashes[first[:, 0]] ^ hashes[first[:, 1]])
    listed = zip(first[:, 0].tolist(), first[:, 1].tolist(), bits.tolist(), strict=True)
    return NearPairs(count, tuple(listed))


def _band(hashes: NDArray[np.uint64], bits: tuple[int, ...]) -> NDArray[np.uint64]:
    mask = np.uint64(sum(1 << bit for bit in bits))
    return hashes & mask


def _buckets(band: NDArray[np.uint64]) -> list[NDArray[np.int64]]:
    """Rows that agree in a band, two or more together, each in ascending order."""
    order = np.argsort(band, kind="stable")
    starts = np.flatnonzero(np.diff(band[order])) + 1
    return [rows for rows in np.split(order, starts) if len(rows) > 1]


def _close(hashes: NDArray[np.uint64], rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Pairs (P, 2) of a bucket within `NEAR_BITS`, block by block; the smaller row first."""
    own = hashes[rows]
    height = max(1, _BLOCK // len(rows))
    found = []
    for start in range(0, len(rows), height):
        differing = np.bitwise_count(own[start : start + height, None] ^ own[None, start:])
        left, right = np.nonzero(differing <= NEAR_BITS)
        later = right > left
        if later.any():
            left, right = left[later] + start, right[later] + start
            found.append(np.stack([rows[left], rows[right]], axis=1))
    return found


def _first(pairs: NDArray[np.int64], shown: int) -> NDArray[np.int64]:
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))[:shown]]
