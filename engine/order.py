"""Which sample stands at which position of an epoch: a pure function of (plan, epoch).

Position n of an epoch is a place in the global order, whatever the number of ranks: global step k
takes positions k·G … k·G + G − 1, and rank r of W the r-th run of ⌈G/W⌉ of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xxhash
from numpy.typing import NDArray

from cxr_engine.engine.config import Sampling
from cxr_engine.shards.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All that fixes the order. N entries: a sample that is sampled twice has two."""

    rows: NDArray[np.int64]  # (N,) row of the split
    repeats: NDArray[np.int64]  # (N,) 0 for the first appearance of a row in an epoch, then 1, 2, …
    identity: str  # what the rows refer to: manifest hash, split, sampling
    seed: int
    shuffled: bool
    drop_last: bool
    global_batch_size: int

    def __post_init__(self) -> None:
        if self.steps == 0:
            raise UsageError(
                f"a global batch of {self.global_batch_size} takes more than the {len(self.rows)} samples there are",
                "global_batch_size with drop_last",
                "lower global_batch_size or do not drop the last batch",
            )

    @property
    def steps(self) -> int:
        """Global steps of one epoch."""
        whole, rest = divmod(len(self.rows), self.global_batch_size)
        return whole + (1 if rest and not self.drop_last else 0)

    @property
    def hash(self) -> str:
        """16 hex digits; equal plans deliver the same samples in the same order."""
        text = (
            f"{self.identity}/{self.seed}/{self.shuffled}/{self.drop_last}/{self.global_batch_size}"
        )
        return xxhash.xxh3_64_hexdigest(text.encode())

    def order(self, epoch: int) -> NDArray[np.int64]:
        """(N,) entry of the plan at each position of `epoch`."""
        if not self.shuffled:
            return np.arange(len(self.rows))
        key = xxhash.xxh3_128_intdigest(f"{self.identity}/{self.seed}/{epoch}".encode())
        return np.random.Generator(np.random.Philox(key=key)).permutation(len(self.rows))


def share(
    step: int, plan: Plan, rank: int, world_size: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Positions of one rank in one global step, and which of them are real.

    positions  (B,) with B = ⌈G/W⌉; padding wraps around to the start of the epoch
    valid      (B,) False for padding
    """
    size = -(-plan.global_batch_size // world_size)
    within = rank * size + np.arange(size)
    positions = step * plan.global_batch_size + within
    valid = (within < plan.global_batch_size) & (positions < len(plan.rows))
    return np.where(valid, positions, within % len(plan.rows)), valid


def sample_counts(
    labels: NDArray[np.int8], class_names: tuple[str, ...], sampling: Sampling
) -> NDArray[np.int64]:
    """(N,) how often each sample appears in an epoch.

    labels  (N, C) int8: 1, 0 or -1 for unknown, in the order of `class_names`
    """
    unknown = sorted(set(sampling.oversample) - set(class_names))
    if unknown:
        raise UsageError(
            f"cannot oversample {', '.join(unknown)}: the data set has no such class",
            f"sampling.oversample; classes: {', '.join(class_names)}",
            "name classes of this data set, or none",
        )
    columns = [class_names.index(name) for name in sampling.oversample]
    listed = (labels[:, columns] == 1).sum(axis=1, dtype=np.int64)
    if sampling.mode == "any":
        listed = np.minimum(listed, 1)
    return 1 + (sampling.factor - 1) * listed


def make_plan(
    labels: NDArray[np.int8],
    class_names: tuple[str, ...],
    *,
    identity: str,
    sampling: Sampling,
    seed: int,
    shuffled: bool,
    drop_last: bool,
    global_batch_size: int,
) -> Plan:
    """Plan over the N samples of a split, sampled as asked."""
    counts = sample_counts(labels, class_names, sampling)
    rows = np.repeat(np.arange(len(counts)), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    return Plan(
        rows=rows,
        repeats=np.arange(len(rows)) - first,
        identity=f"{identity}/{sampling.model_dump_json()}",
        seed=seed,
        shuffled=shuffled,
        drop_last=drop_last,
        global_batch_size=global_batch_size,
    )
