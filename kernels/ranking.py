"""One sort per class feeds both ranking metrics: what they accept, and how they refuse."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cxr_engine.kernels.device import Array, Place


class Ranking(NamedTuple):
    """The ranking metrics of each class, NaN where undefined."""

    average_precision: Any  # (C,) float64
    roc_auc: Any  # (C,) float64


def ranking(
    place: Place, targets: Array, scores: Array, known: Array | None, weights: Array | None
) -> Ranking:
    """Check the inputs and rank the scores of each class, as NumPy or CuPy arrays.

    To be called within place.current().
    """
    targets_NC, scores_NC = place.view(targets), place.view(scores)
    known_NC = None if known is None else place.view(known)
    weights_N = None if weights is None else place.view(weights)
    _check(targets_NC, scores_NC, known_NC, weights_N)
    return place.kernels().ranking(targets_NC, scores_NC, known_NC, weights_N)


def bad_score(row: int, column: int, value: float) -> ValueError:
    """The refusal of a score that has no place in a ranking."""
    return ValueError(
        f"scores[{row}, {column}] (row {row}, class {column}) is {value}, not finite in float32; "
        "rank on finite logits, or set known to False there"
    )


def bad_target(row: int, column: int, value: float) -> ValueError:
    """The refusal of a target that is neither 0 nor 1."""
    return ValueError(
        f"targets[{row}, {column}] (row {row}, class {column}) is {value}, neither 0 nor 1; "
        "set known to False where the label is unknown"
    )


def bad_weight(row: int, value: float) -> ValueError:
    """The refusal of a weight that cannot be a share."""
    return ValueError(f"weights[{row}] is {value}; weights are finite and not negative")


def _check(targets_NC: Any, scores_NC: Any, known_NC: Any | None, weights_N: Any | None) -> None:
    if scores_NC.ndim != 2:
        raise ValueError(
            f"scores have shape {scores_NC.shape}, not (N, C); for a single class add an axis: "
            "scores[:, None]"
        )
    for name, array, shape in (
        ("targets", targets_NC, scores_NC.shape),
        ("known", known_NC, scores_NC.shape),
        ("weights", weights_N, scores_NC.shape[:1]),
    ):
        if array is not None and array.shape != shape:
            raise ValueError(
                f"{name} have shape {array.shape}, scores {scores_NC.shape}; {name} must be {shape}"
            )
    if scores_NC.dtype.kind != "f":
        raise TypeError(f"scores are {scores_NC.dtype}; rank on floats, best float32 logits")
    if targets_NC.dtype.kind not in "buif":
        raise TypeError(f"targets are {targets_NC.dtype}; pass 0 and 1 as bool, int or float")
    if known_NC is not None and known_NC.dtype != np.bool_:
        raise TypeError(f"known is {known_NC.dtype}; pass bool, for example known != 0")
    if weights_N is not None and weights_N.dtype.kind not in "buif":
        raise TypeError(f"weights are {weights_N.dtype}; pass numbers, one per row")
