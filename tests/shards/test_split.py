"""Patients, not rows, are split."""

from __future__ import annotations

import polars as pl
import pytest

from cxr_engine.shards.errors import DataError, UsageError
from cxr_engine.shards.split import assign_splits, check_val


def rows(patients: list[str], splits: list[str | None]) -> pl.DataFrame:
    schema = {"patient": pl.String, "split": pl.String, "line": pl.Int64}
    lines = range(2, 2 + len(patients))
    return pl.DataFrame({"patient": patients, "split": splits, "line": lines}, schema=schema)


def unsplit(n_patients: int, views: int = 3) -> pl.DataFrame:
    patients = [f"p{number}" for number in range(n_patients) for _ in range(views)]
    return rows(patients, [None] * len(patients))


def test_no_patient_is_in_two_splits_and_the_share_is_near() -> None:
    frame = assign_splits(unsplit(5000), 0.2, seed=0)
    per_patient = frame.group_by("patient").agg(pl.col("split").unique())
    assert per_patient["split"].list.len().max() == 1
    share = (frame["split"] == "val").mean()
    # five standard deviations of a binomial with 5,000 draws
    assert abs(share - 0.2) < 5 * (0.2 * 0.8 / 5000) ** 0.5


def test_adding_rows_and_changing_their_order_moves_nobody() -> None:
    small = assign_splits(unsplit(100), 0.3, seed=4)
    large = assign_splits(unsplit(300).sample(fraction=1.0, shuffle=True, seed=1), 0.3, seed=4)
    before = dict(small.select("patient", "split").iter_rows())
    after = dict(large.select("patient", "split").iter_rows())
    assert before == {patient: after[patient] for patient in before}


def test_another_seed_splits_otherwise() -> None:
    first, second = (assign_splits(unsplit(200), 0.5, seed)["split"] for seed in (0, 1))
    assert (first != second).any()


def test_the_split_of_a_known_patient_never_changes() -> None:
    # A new release must not move patients between the splits of shards made with an older one.
    frame = assign_splits(unsplit(8, views=1), 0.5, seed=0)
    assert "".join(split[0] for split in frame["split"]) == "vvttvvvv"


def test_official_splits_stay_and_reach_the_patients_other_rows() -> None:
    frame = rows(["a", "a", "b", "c"], ["test", None, "dev", "train"])
    assert assign_splits(frame, 0.99, 0)["split"].to_list() == ["test", "test", "dev", "train"]


def test_a_leak_is_an_error_with_lines_and_without_the_patients_id() -> None:
    frame = rows(["a", "secret-7", "b", "secret-7"], ["train", "train", "val", "val"])
    with pytest.raises(DataError) as caught:
        assign_splits(frame, 0.2, 0)
    assert caught.value.what == "patients in more than one split: 1, the first in train and val"
    assert "line 3, 5" in caught.value.where
    assert "secret" not in str(caught.value)


def test_one_leak_among_100_000_rows_is_found() -> None:
    frame = rows(
        [f"p{number // 2}" for number in range(100_000)],
        ["train" if number < 50_000 else "test" for number in range(100_000)],
    )
    assign_splits(frame, 0.0, 0)
    leaky = pl.concat([frame, rows(["p7"], ["test"])])
    with pytest.raises(DataError, match="in more than one split: 1,"):
        assign_splits(leaky, 0.0, 0)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_impossible_shares_are_refused(share: float) -> None:
    with pytest.raises(UsageError):
        assign_splits(unsplit(3), share, 0)


def labelled(splits: list[str | None], labels: list[int | None]) -> pl.DataFrame:
    patients = [f"p{number}" for number in range(len(splits))]
    return rows(patients, splits).with_columns(pl.Series("label:Mass", labels, pl.Int8))


def test_a_class_whose_positives_all_fell_to_train_is_an_error_that_says_how_many() -> None:
    # p4 and the others of "vvttvvvv" above: val has p0, p1 and p4 to p7.
    before = labelled([None] * 8, [0, 0, 1, 1, 0, None, 0, 0])
    with pytest.raises(DataError, match="1 of 1 classes have no positive") as caught:
        check_val(before, assign_splits(before, 0.5, 0), ["Mass"], "t.csv")
    assert caught.value.where == "t.csv: Mass (2 in train)"
    assert "--seed" in caught.value.remedy
    assert "--allow-empty-val" in caught.value.remedy


@pytest.mark.parametrize(
    ("splits", "labels"),
    [
        ([None] * 8, [1, 0, 1, 0, 0, 0, 0, 0]),  # a positive in val
        ([None] * 8, [1, 0, 0, 0, 0, 0, 0, 0]),  # in val only
        ([None] * 8, [0] * 8),  # none at all
        ([None, None, "train", None, "val", None, None, None], [0, 0, 1, 0, 0, 0, 0, 0]),
        (["train", "test"] * 4, [1, 0] * 4),  # official, without a validation split
    ],
)
def test_other_splits_are_accepted(splits: list[str | None], labels: list[int | None]) -> None:
    before = labelled(splits, labels)
    check_val(before, assign_splits(before, 0.5, 0), ["Mass"], "t.csv")
