"""Near pairs by bands are those of comparing every pair."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cxr_engine.shards import near
from cxr_engine.shards.near import near_pairs


def clustered(n: int, seed: int) -> NDArray[np.uint64]:
    """Hashes around few centres, up to eight bits away: many pairs at every small distance."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2**63, 12, np.uint64)
    hashes = centres[rng.integers(0, 12, n)]
    for _ in range(8):
        flips = np.uint64(1) << rng.integers(0, 64, n).astype(np.uint64)
        hashes ^= np.where(rng.random(n) < 0.3, flips, np.uint64(0))
    return hashes


def every_pair(
    hashes: NDArray[np.uint64], patients: NDArray[np.int64]
) -> list[tuple[int, int, int]]:
    bits = np.bitwise_count(hashes[:, None] ^ hashes[None])
    wanted = (bits <= 4) & (patients[:, None] != patients[None])
    return [(i, j, int(bits[i, j])) for i, j in np.argwhere(np.triu(wanted, 1)).tolist()]


@pytest.mark.parametrize("seed", range(5))
def test_all_near_pairs_are_found_once(seed: int) -> None:
    hashes = clustered(700, seed)
    patients = np.random.default_rng(seed).integers(0, 200, 700)
    expected = every_pair(hashes, patients)
    found = near_pairs(hashes, patients, shown=20)
    assert found is not None
    assert len(expected) > 500
    assert found.count == len(expected)
    assert list(found.first) == expected[:20]


def test_blocks_do_not_change_the_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes, patients = clustered(400, 9), np.arange(400)
    expected = near_pairs(hashes, patients, shown=50)
    monkeypatch.setattr(near, "_BLOCK", 64)
    assert near_pairs(hashes, patients, shown=50) == expected


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_pictures(n: int) -> None:
    found = near_pairs(np.zeros(n, np.uint64), np.arange(n), shown=20)
    assert found is not None
    assert (found.count, found.first) == ((1, ((0, 1, 0),)) if n == 2 else (0, ()))


def test_too_many_alike_are_not_compared() -> None:
    assert near_pairs(np.zeros(50_000, np.uint64), np.arange(50_000), shown=20) is None
