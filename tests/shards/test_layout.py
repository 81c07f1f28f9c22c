"""Keys and shards are pure functions of the rows, whatever their order."""

from __future__ import annotations

import random
import re

import polars as pl
import pytest

from cxr_engine.shards.layout import make_keys, plan_shards

KEY = re.compile(r"[a-z0-9_-]{1,80}")


def make_rows(n_patients: int) -> pl.DataFrame:
    rng = random.Random(0)
    rows = [
        (f"k{patient}-{study}-{view}", f"p{patient}", f"s{patient}-{study}", view, split)
        for patient in range(n_patients)
        for split in [("train", "train", "val")[patient % 3]]
        for study in range(rng.randint(1, 4))
        for view in ("frontal", "lateral")[: rng.randint(1, 2)]
    ]
    return pl.DataFrame(rows, ["key", "patient", "study", "view", "split"], orient="row")


def test_keys_are_readable_where_they_can_be() -> None:
    assert make_keys(
        ["images/covid/000001-12.jpg", "00000001_000.png", "A B.dcm", "1.2.840.1"]
    ) == [
        "images-covid-000001-12",
        "00000001_000",
        "a-b",
        "1-2-840-1",
    ]


def test_ids_that_would_end_up_alike_are_told_apart() -> None:
    ids = ["a/b.png", "a-b.png", "A-B.jpg", "c.png", "..", "ä.png", "x" * 81, "x" * 80 + ".png"]
    keys = make_keys(ids)
    assert len(set(keys)) == len(ids)
    assert all(KEY.fullmatch(key) for key in keys)
    assert keys[3] == "c"
    assert keys[7] == "x" * 80


def test_random_ids_get_unique_keys_that_do_not_depend_on_order() -> None:
    rng = random.Random(0)
    for _ in range(200):
        alphabet = rng.choice(["aA./-", "ab ÄßİＡ\n\0é", "0123456789.", "xyz_-~,\"'"])
        ids = list(
            {
                "".join(rng.choices(alphabet, k=rng.choice((1, 2, 3, 5, 79, 80, 81, 300))))
                for _ in range(60)
            }
        )
        keys = make_keys(ids)
        assert len(set(keys)) == len(ids)
        assert all(KEY.fullmatch(key) for key in keys)
        by_id = dict(zip(ids, keys, strict=True))
        rng.shuffle(ids)
        assert make_keys(ids) == [by_id[source] for source in ids]


@pytest.mark.parametrize("capacity", [1, 2, 7, 1000])
def test_every_row_is_in_one_shard_of_its_split(capacity: int) -> None:
    frame = make_rows(60)
    plans = plan_shards(frame, 0, capacity)
    rows = [row for plan in plans for row in plan.rows]
    assert sorted(rows) == list(range(frame.height))
    for plan in plans:
        assert 1 <= len(plan.rows) <= capacity
        assert set(frame[list(plan.rows)]["split"]) == {plan.split}
    names = [plan.name for plan in plans if plan.split == "val"]
    assert names == [f"val-{number:06d}.tar" for number in range(len(names))]


def test_views_of_a_study_are_adjacent_in_one_shard() -> None:
    frame = make_rows(60)
    for plan in plan_shards(frame, 0, 10):
        studies = frame[list(plan.rows)]["study"].to_list()
        blocks = [study for at, study in enumerate(studies) if at == 0 or studies[at - 1] != study]
        assert len(blocks) == len(set(blocks))
        assert all(
            (frame["study"] == study).sum() == studies.count(study) for study in set(studies)
        )


def test_the_order_of_the_rows_does_not_matter() -> None:
    frame = make_rows(40)
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=5)
    assert [[frame["key"][row] for row in plan.rows] for plan in plan_shards(frame, 3, 16)] == [
        [shuffled["key"][row] for row in plan.rows] for plan in plan_shards(shuffled, 3, 16)
    ]


def test_patients_are_mixed_and_the_seed_mixes_otherwise() -> None:
    frame = make_rows(200)
    first = plan_shards(frame, 0, 50)[0]
    patients = [int(patient[1:]) for patient in frame[list(first.rows)]["patient"]]
    assert max(patients) - min(patients) > 100
    assert plan_shards(frame, 1, 50)[0].rows != first.rows


def test_a_study_larger_than_a_shard_is_cut() -> None:
    frame = pl.DataFrame(
        {"key": [f"k{n:02}" for n in range(25)], "patient": "p", "study": "s", "view": "frontal"}
    ).with_columns(split=pl.lit("train"))
    assert [len(plan.rows) for plan in plan_shards(frame, 0, 10)] == [10, 10, 5]
