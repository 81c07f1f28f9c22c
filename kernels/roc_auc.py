"""Area under the ROC curve (AUC) per class."""

from __future__ import annotations

from cxr_engine.kernels.device import Array, place_of
from cxr_engine.kernels.ranking import ranking


def roc_auc(
    targets: Array, scores: Array, known: Array | None = None, weights: Array | None = None
) -> Array:
    """AUC per class: the chance that a positive scores above a negative, ties counting half.

    targets  (N, C) 0 or 1, any dtype; looked at only where known
    scores   (N, C) float, ranked as float32: give logits, as sigmoid turns them into ties
    known    (N, C) bool, False where the label is unknown; all are known if absent
    weights  (N,) not negative; all rows count the same if absent
    returns  (C,) float64, in the library and on the device of scores; NaN for a class without
             positives or without negatives

    As reproducible as average_precision, and it waits for a CUDA device as that does.
    """
    place = place_of(scores=scores, targets=targets, known=known, weights=weights)
    with place.current():
        return place.give_back(ranking(place, targets, scores, known, weights).roc_auc)
