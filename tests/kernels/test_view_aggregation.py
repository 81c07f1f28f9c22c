"""Studies from views: published golden values, polars as the oracle, and what is refused."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from cxr_engine.kernels import FRONTAL, LATERAL, UNKNOWN, aggregate_views

# Two frontal views of .8 and .6, a lateral one of .2: the example of the published formulas.
SCORES = np.array([[0.8], [0.2], [0.6]])
STUDY = np.array([4, 4, 4])
VIEW = np.array([FRONTAL, LATERAL, FRONTAL], np.uint8)


@pytest.mark.parametrize(
    ("frontal", "lateral", "by", "expected"),
    [
        (0.7, 0.3, "view", 0.55),
        (0.8, 0.2, "view", 0.60),
        (0.5, 0.5, "view", 0.45),
        (0.7, 0.3, "image", 0.611765),
        (1, 1, "image", 1.6 / 3),
        (7, 3, "view", 0.55),
    ],
)
def test_golden_values_of_the_published_formulas(frontal, lateral, by, expected):
    scores, study = aggregate_views(SCORES, STUDY, VIEW, frontal, lateral, by=by)
    assert scores.item() == pytest.approx(expected, abs=1e-6)
    assert study.tolist() == [4]


@pytest.mark.parametrize(
    ("unknown", "by", "expected"),
    [
        ("neutral", "view", (0.7 * 0.7 + 0.3 * 0.2 + 0.5 * 1.0) / 1.5),
        ("frontal", "view", 0.7 * 0.8 + 0.3 * 0.2),
        ("lateral", "view", 0.7 * 0.7 + 0.3 * 0.6),
        ("neutral", "image", (7 * 1.4 + 3 * 0.2 + 5 * 1.0) / 22),
        ("frontal", "image", (7 * 2.4 + 3 * 0.2) / 24),
        ("lateral", "image", (7 * 1.4 + 3 * 1.2) / 20),
    ],
)
def test_an_unknown_view_counts_as_the_policy_says(unknown, by, expected):
    scores, _ = aggregate_views(
        np.vstack([SCORES, [[1.0]]]), np.full(4, 9), np.append(VIEW, np.uint8(UNKNOWN)),
        unknown=unknown, by=by,
    )  # fmt: skip
    assert scores.item() == pytest.approx(expected, rel=1e-12)


def polars_oracle(scores, study, view, rule):
    """The weighted mean by group_by, for rule = (frontal, lateral, unknown, by)."""
    weights = pl.col("view").replace_strict({0: rule[0], 1: rule[1], 2: rule[2]})
    names = [f"{c}" for c in range(scores.shape[1])]
    frame = pl.DataFrame(scores.astype(np.float64), schema=names)
    frame = frame.with_columns(study=study, view=view.astype(np.int64))
    if rule[3] == "view":
        frame = frame.group_by("study", "view").agg(pl.col(names).mean())
    frame = frame.with_columns(weight=weights)
    frame = frame.group_by("study").agg(
        (pl.col(names) * pl.col("weight")).sum() / pl.col("weight").sum()
    )
    frame = frame.sort("study")
    return frame.select(names).to_numpy(), frame["study"].to_numpy()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("by", ["view", "image"])
def test_equals_polars(seed, by):
    rng = np.random.default_rng(seed)
    n = int(np.exp(rng.uniform(0, np.log(3000))))
    scores = rng.random((n, int(rng.integers(1, 6))), np.float32)
    study = rng.integers(-50, 50, n) * int(rng.choice([1, 10**15]))
    view = rng.integers(0, 3, n).astype(np.uint8)
    result, studies = aggregate_views(scores, study, view, 0.8, 0.2, by=by)
    expected, expected_studies = polars_oracle(scores, study, view, (0.8, 0.2, 0.5, by))
    assert result.dtype == np.float32
    np.testing.assert_array_equal(studies, expected_studies)
    np.testing.assert_allclose(result, expected, rtol=2e-7)


def test_a_missing_view_is_left_out_not_zero():
    for view in (FRONTAL, LATERAL, UNKNOWN):
        scores, _ = aggregate_views(SCORES[:1], STUDY[:1], np.full(1, view, np.uint8))
        assert scores.item() == 0.8


def test_a_study_with_views_of_weight_zero_only_gets_their_mean():
    scores = np.array([[0.2], [0.4], [0.9], [0.1]])
    study = np.array([1, 1, 2, 2])
    view = np.array([LATERAL, LATERAL, FRONTAL, LATERAL], np.uint8)
    for by in ("view", "image"):
        result, _ = aggregate_views(scores, study, view, 1.0, 0.0, by=by)
        np.testing.assert_allclose(result[:, 0], [0.3, 0.9])


def test_studies_ascend_whatever_the_order_of_rows():
    rng = np.random.default_rng(0)
    study = rng.integers(0, 300, 2000)
    scores = (rng.integers(0, 256, (2000, 3)) / 256).astype(np.float32)  # exact sums in any order
    view = rng.integers(0, 3, 2000).astype(np.uint8)
    expected, studies = aggregate_views(scores, study, view)
    assert studies.tolist() == sorted(set(study.tolist()))
    order = rng.permutation(2000)
    shuffled, _ = aggregate_views(scores[order], study[order], view[order])
    np.testing.assert_array_equal(shuffled, expected)


def test_keeps_float64_and_the_study_dtype_and_takes_half_precision():
    scores, study = aggregate_views(SCORES, STUDY.astype(np.int32), VIEW)
    assert (scores.dtype, study.dtype) == (np.float64, np.int32)
    scores, _ = aggregate_views(SCORES.astype(np.float16), STUDY, VIEW)
    assert scores.dtype == np.float32
    assert scores.item() == pytest.approx(0.55, abs=1e-3)


def test_no_rows_give_no_studies():
    scores, study = aggregate_views(SCORES[:0], STUDY[:0], VIEW[:0])
    assert (scores.shape, study.shape) == ((0, 1), (0,))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        ((SCORES[:, 0], STUDY, VIEW), {}, ValueError, r"shape \(3,\), not \(N, C\)"),
        ((SCORES, STUDY[:2], VIEW), {}, ValueError, r"study has shape \(2,\), scores \(3, 1\)"),
        ((SCORES, STUDY, VIEW[:2]), {}, ValueError, r"view has shape \(2,\), scores \(3, 1\)"),
        ((SCORES.astype(int), STUDY, VIEW), {}, TypeError, "scores are int64"),
        ((SCORES, STUDY.astype(str), VIEW), {}, TypeError, "study is <U21.*numpy.unique"),
        ((SCORES, STUDY, VIEW.astype(float)), {}, TypeError, "view is float64"),
        ((SCORES, STUDY, VIEW + 2), {}, ValueError, r"view\[1\] is 3; write FRONTAL = 0"),
        ((SCORES, STUDY, VIEW.astype(int) - 1), {}, ValueError, r"view\[0\] is -1"),
        ((SCORES * [[1], [np.nan], [1]], STUDY, VIEW), {}, ValueError, "row 1, class 0.*is nan"),
        ((SCORES, STUDY, VIEW), {"by": "study"}, ValueError, "by is 'study'"),
        ((SCORES, STUDY, VIEW), {"unknown": "own"}, ValueError, "unknown is 'own'"),
        ((SCORES, STUDY, VIEW), {"frontal": -1}, ValueError, "frontal = -1"),
        ((SCORES, STUDY, VIEW), {"frontal": 0, "lateral": 0}, ValueError, "not both 0"),
        ((SCORES, STUDY, VIEW), {"lateral": np.nan}, ValueError, "lateral = nan"),
    ],
)
def test_refuses_by_name(arguments, options, error, text):
    with pytest.raises(error, match=text):
        aggregate_views(*arguments, **options)
