"""Average precision (AP) per class, and its mean."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np

from cxr_engine.kernels.device import Array, place_of, to_host
from cxr_engine.kernels.ranking import ranking


class MeanAP(NamedTuple):
    """The macro mean of AP, and over how many classes it was taken."""

    mean: float  # NaN where no class has an AP
    n_classes_averaged: int


def average_precision(
    targets: Array,
    scores: Array,
    known: Array | None = None,
    weights: Array | None = None,
    empty: Literal["nan", "zero"] = "nan",
) -> Array:
    """AP per class: the step-wise sum Σ (R_n − R_n−1) · P_n over distinct scores, as scikit-learn.

    targets  (N, C) 0 or 1, any dtype; looked at only where known
    scores   (N, C) float, ranked as float32: give logits, as sigmoid turns them into ties
    known    (N, C) bool, False where the label is unknown; all are known if absent
    weights  (N,) not negative; all rows count the same if absent
    returns  (C,) float64, in the library and on the device of scores. A class without positives is
             NaN, or 0 with empty="zero", which is scikit-learn's convention.

    The result is the same, bit for bit, for any order of rows, any number of threads, on CPU and
    GPU. On a CUDA device everything runs on the current stream; the host waits once, at the end, to
    learn whether an input was refused.
    """
    if empty not in ("nan", "zero"):
        raise ValueError(f'empty is {empty!r}; choose "nan" or "zero"')
    place = place_of(scores=scores, targets=targets, known=known, weights=weights)
    with place.current():
        ap_C = ranking(place, targets, scores, known, weights).average_precision
        if empty == "zero":
            ap_C[np.isnan(ap_C)] = 0.0
        return place.give_back(ap_C)


def mean_ap(ap_C: Array) -> MeanAP:
    """The mean over the classes that have an AP; classes with NaN are left out and not counted.

    ap_C  (C,) as average_precision returns it; from a CUDA device it is copied to the host
    """
    place = place_of(ap_C=ap_C)
    with place.current():
        values = to_host(place.view(ap_C))
    if values.ndim != 1:
        raise ValueError(f"ap_C has shape {values.shape}; pass one AP per class, (C,)")
    defined = values[~np.isnan(values)].tolist()
    return MeanAP(math.fsum(defined) / len(defined) if defined else math.nan, len(defined))
