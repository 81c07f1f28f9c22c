"""Area under the ROC curve against scikit-learn, and its symmetries."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cxr_engine.kernels import roc_auc


def oracle(case):
    result = []
    for c in range(case.scores.shape[1]):
        targets, scores, weights = case.of_class(c)
        present = targets if weights is None else targets[weights > 0]
        defined = 0 < present.sum() < len(present)
        with np.errstate(
            invalid="ignore"
        ):  # scikit-learn adds up huge scores to see if all are finite
            result.append(
                roc_auc_score(targets, scores, sample_weight=weights) if defined else np.nan
            )
    return np.array(result)


def test_equals_scikit_learn(draw, kind):
    for seed in range(30):
        case = draw(kind, seed)
        np.testing.assert_allclose(
            roc_auc(*case), oracle(case), rtol=0, atol=1e-9, err_msg=f"seed {seed}"
        )


def test_is_the_share_of_pairs_in_the_right_order_ties_half(draw):
    case = draw("ties", 1, 300, 3)
    for c, auc in enumerate(roc_auc(*case)):
        positive, negative = (case.scores[case.targets[:, c] == label, c] for label in (1, 0))
        above = positive[:, None] > negative
        tied = positive[:, None] == negative
        assert auc == pytest.approx((above + tied / 2).mean(), abs=1e-12)


def test_the_order_of_rows_changes_no_bit(draw, kind):
    for seed in range(5):
        case = draw(kind, seed)
        order = np.random.default_rng(seed).permutation(len(case.scores))
        shuffled = [None if array is None else array[order] for array in case]
        assert roc_auc(*case).tobytes() == roc_auc(*shuffled).tobytes()


def test_turned_around_scores_give_the_complement(draw, kind):
    case = draw(kind, 3)
    turned = roc_auc(case.targets, -case.scores, case.known, case.weights)
    np.testing.assert_allclose(roc_auc(*case) + turned, np.where(np.isnan(turned), np.nan, 1.0))


def test_no_information_gives_a_half_and_perfection_one(draw):
    targets = draw("continuous", 0, 500, 2).targets
    assert roc_auc(targets, np.zeros_like(targets)).tolist() == [0.5, 0.5]
    assert roc_auc(targets, targets).tolist() == [1.0, 1.0]


def test_is_nan_where_a_label_is_missing():
    targets = np.array([[0, 1, 0], [0, 1, 1]])
    scores = np.array([[0.1, 0.1, 0.1], [0.2, 0.2, 0.2]])
    np.testing.assert_array_equal(roc_auc(targets, scores), [np.nan, np.nan, 1.0])
    np.testing.assert_array_equal(roc_auc(targets[:0], scores[:0]), [np.nan] * 3)
