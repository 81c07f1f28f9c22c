"""The order of an epoch: a pure function, complete, elastic, and oversampled as asked."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cxr_engine.engine import Sampling
from cxr_engine.engine.order import Plan, make_plan, sample_counts, share
from cxr_engine.shards.errors import UsageError

NAMES = ("Hernia", "Mass", "Nodule")


def plan(
    n: int = 103, batch: int = 16, *, seed: int = 0, shuffled: bool = True, drop_last: bool = False
) -> Plan:
    return make_plan(
        np.zeros((n, 3), np.int8),
        NAMES,
        identity="data/train",
        sampling=Sampling(),
        seed=seed,
        shuffled=shuffled,
        drop_last=drop_last,
        global_batch_size=batch,
    )


def rows_of_step(p: Plan, epoch: int, step: int, world_size: int) -> list[int]:
    order = p.order(epoch)
    rows: list[int] = []
    for rank in range(world_size):
        positions, valid = share(step, p, rank, world_size)
        rows += p.rows[order[positions]][valid].tolist()
    return rows


def test_an_epoch_holds_every_sample_once() -> None:
    p = plan()
    rows = [row for step in range(p.steps) for row in rows_of_step(p, 4, step, 1)]
    assert sorted(rows) == list(range(103))
    assert p.steps == 7


def test_epochs_and_seeds_differ_and_repeat_themselves() -> None:
    p = plan()
    assert (p.order(0) == plan().order(0)).all()
    assert (p.order(0) != p.order(1)).any()
    assert (p.order(0) != plan(seed=1).order(0)).any()


@pytest.mark.parametrize("world_size", [2, 3, 4, 5, 16, 20])
def test_the_rows_of_a_global_step_do_not_depend_on_the_ranks(world_size: int) -> None:
    p = plan()
    for step in range(p.steps):
        assert rows_of_step(p, 2, step, world_size) == rows_of_step(p, 2, step, 1)


@pytest.mark.parametrize("world_size", [1, 3, 20])
def test_every_rank_gets_as_many_rows_in_every_step(world_size: int) -> None:
    p = plan()
    sizes = {
        len(share(step, p, rank, world_size)[0])
        for step in range(p.steps)
        for rank in range(world_size)
    }
    assert sizes == {-(-16 // world_size)}


def test_drop_last_leaves_the_incomplete_batch_out() -> None:
    p = plan(drop_last=True)
    assert p.steps == 6
    assert all(share(step, p, 0, 1)[1].all() for step in range(p.steps))


def test_a_batch_larger_than_the_data_is_refused_when_dropping() -> None:
    with pytest.raises(UsageError, match="lower global_batch_size"):
        plan(n=10, batch=16, drop_last=True)
    assert plan(n=10, batch=16).steps == 1


def test_evaluation_keeps_the_order_of_the_manifest() -> None:
    np.testing.assert_array_equal(plan(shuffled=False).order(3), np.arange(103))


def test_oversampling_counts_a_sample_once_or_per_label() -> None:
    labels = np.array([[1, 1, 0], [1, 0, -1], [0, -1, 1], [-1, 0, 0]], np.int8)
    listed = ("Hernia", "Mass")
    any_of = sample_counts(labels, NAMES, Sampling(oversample=listed))
    per_label = sample_counts(labels, NAMES, Sampling(oversample=listed, mode="per_label"))
    np.testing.assert_array_equal(any_of, [2, 2, 1, 1])
    np.testing.assert_array_equal(per_label, [3, 2, 1, 1])


def test_repeats_of_a_sample_are_numbered() -> None:
    labels = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0]], np.int8)
    p = make_plan(
        labels,
        NAMES,
        identity="",
        sampling=Sampling(oversample=("Hernia",), factor=3),
        seed=0,
        shuffled=True,
        drop_last=False,
        global_batch_size=2,
    )
    assert Counter(zip(p.rows.tolist(), p.repeats.tolist(), strict=True)) == Counter(
        [(0, 0), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
    )


def test_an_unknown_class_to_oversample_is_named() -> None:
    with pytest.raises(UsageError, match="Hernja"):
        sample_counts(np.zeros((1, 3), np.int8), NAMES, Sampling(oversample=("Hernja",)))


def test_plans_that_order_differently_have_different_hashes() -> None:
    hashes = {
        plan().hash,
        plan(seed=1).hash,
        plan(batch=8).hash,
        plan(drop_last=True).hash,
        plan(shuffled=False).hash,
    }
    assert len(hashes) == 5
    assert plan().hash == plan().hash
