"""Average precision against scikit-learn, its invariants, and what it refuses."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from cxr_engine.kernels import average_precision, cpu, mean_ap


def oracle(case):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes without positives
        result = []
        for c in range(case.scores.shape[1]):
            targets, scores, weights = case.of_class(c)
            weight = (targets if weights is None else targets * weights).sum()
            result.append(
                average_precision_score(targets, scores, sample_weight=weights)
                if weight
                else np.nan
            )
    return np.array(result)


def test_equals_scikit_learn(draw, kind):
    for seed in range(30):
        case = draw(kind, seed)
        np.testing.assert_allclose(
            average_precision(*case), oracle(case), rtol=0, atol=1e-9, err_msg=f"seed {seed}"
        )


@pytest.mark.parametrize("kind", ["continuous", "ties", "weights and unknown labels"])
def test_equals_scikit_learn_on_a_hundred_thousand_rows(draw, kind):
    case = draw(kind, 0, 100_000, 4)
    np.testing.assert_allclose(average_precision(*case), oracle(case), rtol=0, atol=1e-9)


def test_a_ranking_by_hand():
    targets = np.array([[1], [0], [1], [0]])
    scores = np.array([[4.0], [3.0], [2.0], [1.0]])
    np.testing.assert_allclose(
        average_precision(targets, scores), [(1 / 1 + 2 / 3) / 2], rtol=1e-12
    )


def test_positives_above_negatives_give_exactly_one(draw):
    targets = draw("continuous", 0, 3000, 3).targets
    assert average_precision(targets, targets * 2 - 1).tolist() == [1.0, 1.0, 1.0]


def test_all_scores_equal_give_the_prevalence(draw):
    case = draw("constant", 0, 1000, 3)
    np.testing.assert_allclose(
        average_precision(*case), case.targets.mean(axis=0, dtype=float), rtol=1e-12
    )


def test_the_order_of_rows_changes_no_bit(draw, kind):
    for seed in range(5):
        case = draw(kind, seed)
        order = np.random.default_rng(seed).permutation(len(case.scores))
        shuffled = [None if array is None else array[order] for array in case]
        assert average_precision(*case).tobytes() == average_precision(*shuffled).tobytes()


@pytest.mark.parametrize("kind", ["ties", "weights and unknown labels"])
def test_the_number_of_threads_changes_no_bit(draw, kind):
    case = draw(kind, 0, 3001, 5)
    first, *others = (
        np.concatenate(cpu.ranking(*case, n_threads=n)).tobytes() for n in (1, 2, 3, 5, 16)
    )
    assert all(other == first for other in others)


def test_calls_from_several_threads_do_not_disturb_each_other(draw):
    cases = [draw("ties", seed, 40_000, 4) for seed in range(8)]
    alone = [average_precision(*case).tobytes() for case in cases]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda case: average_precision(*case).tobytes(), cases)) == alone


def test_whole_weights_are_repetitions(draw):
    case = draw("ties", 0, 400, 3)
    repeats = np.random.default_rng(0).integers(0, 4, 400)
    np.testing.assert_allclose(
        average_precision(case.targets, case.scores, weights=repeats),
        average_precision(
            case.targets.repeat(repeats, axis=0), case.scores.repeat(repeats, axis=0)
        ),
        rtol=1e-12,
    )


def test_weights_of_any_scale_are_shares(draw):
    case = draw("weights", 0, 400, 3)
    for factor in (2.0**-900, 2.0**900):
        np.testing.assert_array_equal(
            average_precision(case.targets, case.scores, weights=case.weights * factor),
            average_precision(*case),
        )


def test_a_class_without_positives_is_nan_or_zero():
    targets = np.array([[0, 1], [0, 0]])
    scores = np.array([[0.1, 0.2], [0.3, 0.4]])
    np.testing.assert_allclose(average_precision(targets, scores), [np.nan, 0.5])
    np.testing.assert_allclose(average_precision(targets, scores, empty="zero"), [0.0, 0.5])
    known = np.array([[True, False], [True, True]])
    np.testing.assert_array_equal(average_precision(targets, scores, known), [np.nan, np.nan])
    weights = np.array([0.0, 1.0])
    np.testing.assert_array_equal(average_precision(targets, scores, None, weights), [np.nan] * 2)


def test_no_rows_give_nan_and_no_classes_give_nothing():
    np.testing.assert_array_equal(
        average_precision(np.zeros((0, 3)), np.zeros((0, 3)), weights=np.zeros(0)), [np.nan] * 3
    )
    assert average_precision(np.zeros((3, 0)), np.zeros((3, 0))).shape == (0,)


def test_minus_zero_ties_with_zero():
    targets = np.array([[1], [0]])
    for scores in ([[0.0], [-0.0]], [[-0.0], [0.0]]):
        assert average_precision(targets, np.array(scores)).tolist() == [0.5]


def test_unknown_entries_are_not_looked_at():
    targets = np.array([[1.0, np.nan], [0.0, 1.0], [7.0, 0.0]])
    scores = np.array([[0.5, np.nan], [0.1, 0.5], [np.inf, 0.1]])
    known = np.array([[True, False], [True, True], [False, True]])
    assert average_precision(targets, scores, known).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.int64, np.float16, np.float64])
def test_targets_may_have_any_dtype(draw, dtype):
    case = draw("ties", 0)
    result = average_precision(case.targets.astype(dtype), case.scores)
    assert result.tobytes() == average_precision(case.targets, case.scores).tobytes()


def test_scores_are_ranked_as_float32():
    targets = np.array([[1], [0]])
    scores = np.array([[1.0 + 1e-12], [1.0]])
    assert average_precision(targets, scores).tolist() == [0.5]


def test_strided_and_read_only_arrays_are_taken_and_left_alone(draw):
    case = draw("unknown labels", 0, 500, 4)
    expected = average_precision(*case)
    strided = [np.asfortranarray(array) for array in (case.targets, case.scores, case.known)]
    before = [array.copy() for array in strided]
    for array in strided:
        array.flags.writeable = False
    np.testing.assert_array_equal(average_precision(*strided), expected)
    for array, copy in zip(strided, before, strict=True):
        np.testing.assert_array_equal(array, copy)


OK = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((OK, OK[0]), ValueError, r"scores have shape \(3,\), not \(N, C\).*scores\[:, None\]"),
        ((OK[:, :2], OK), ValueError, r"targets have shape \(2, 2\), scores \(2, 3\)"),
        ((OK, OK, OK[:1] > 0), ValueError, r"known have shape \(1, 3\), scores \(2, 3\)"),
        ((OK, OK, None, OK), ValueError, r"weights have shape \(2, 3\).* must be \(2,\)"),
        ((OK, OK.astype(int)), TypeError, "scores are int64"),
        ((OK.astype(str), OK), TypeError, "targets are <U32"),
        ((OK, OK, OK), TypeError, "known is float32; pass bool"),
        ((OK, OK, None, OK[:, 0].astype(str)), TypeError, "weights are <U32"),
        ((OK, OK.tolist()), TypeError, "scores is a list; pass a NumPy array"),
    ],
)
def test_refuses_shapes_and_types_by_name(arguments, error, text):
    with pytest.raises(error, match=text):
        average_precision(*arguments)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_refuses_scores_that_are_not_finite_with_row_and_class(value):
    scores = np.zeros((300_000, 3))
    scores[11, 1] = scores[299_999, 0] = value  # ranges of two threads
    with pytest.raises(ValueError, match=rf"row 11, class 1\) is {value}".replace("+", r"\+")):
        average_precision(np.zeros((300_000, 3)), scores)


@pytest.mark.parametrize("value", [2, -1, 0.5, np.nan, np.inf])
def test_refuses_targets_other_than_0_and_1_with_row_and_class(value):
    targets = np.zeros((9, 3))
    targets[7, 2] = value
    with pytest.raises(ValueError, match=rf"row 7, class 2\) is {float(value)}, neither 0 nor 1"):
        average_precision(targets, np.zeros((9, 3)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5])
def test_refuses_weights_that_are_no_share(value):
    with pytest.raises(ValueError, match=rf"weights\[1\] is {value}"):
        average_precision(OK, OK, None, np.array([1.0, value]))


def test_refuses_an_unknown_policy_for_empty_classes():
    with pytest.raises(ValueError, match="empty is 'one'"):
        average_precision(OK, OK, empty="one")


def test_mean_ap_says_over_how_many_classes():
    assert mean_ap(np.array([0.25, np.nan, 0.75])) == (0.5, 2)
    assert mean_ap(np.array([0.25, 0.0, 0.75])).n_classes_averaged == 3
    empty = mean_ap(np.array([np.nan]))
    assert np.isnan(empty.mean)
    assert empty.n_classes_averaged == 0
    with pytest.raises(ValueError, match=r"shape \(2, 3\)"):
        mean_ap(OK)
