"""From views to studies: one score per study and class."""

from __future__ import annotations

import math
from typing import Any, Final, Literal, NamedTuple

from cxr_engine.kernels.device import Array, place_of

# How a view is written wherever it is a number: in batches, accumulators, here.
FRONTAL: Final = 0
LATERAL: Final = 1
UNKNOWN: Final = 2


class ViewRule(NamedTuple):
    """How the views of a study make up its score, as the kernels read it."""

    frontal: float  # weights, not all 0
    lateral: float
    unknown: float
    unknown_as: int  # the view that an unknown one is taken for
    by_image: bool


def aggregate_views(
    scores: Array,
    study: Array,
    view: Array,
    frontal: float = 0.7,
    lateral: float = 0.3,
    *,
    unknown: Literal["neutral", "frontal", "lateral"] = "neutral",
    by: Literal["view", "image"] = "view",
) -> tuple[Array, Array]:
    """The weighted mean of the scores of each study, frontal views weighing more than lateral ones.

    scores   (N, C) float, probabilities in the published systems
    study    (N,) whole numbers in any order; equal means the same study
    view     (N,) uint8 FRONTAL, LATERAL or UNKNOWN
    frontal, lateral  weights; only their ratio counts
    unknown  what an image of unknown view is: "neutral", a third view of weight
             (frontal + lateral) / 2; or "frontal" or "lateral"
    by       "view": mean of each view, then their weighted mean, so that five frontals weigh as
             much as one; "image": weighted mean over the images
    returns  (S, C) scores, float64 if they came so, else float32, and (S,) the study of each row,
             ascending; both in the library and on the device of scores

    A view that a study lacks is left out, not taken as 0; a study that has only views of weight 0
    gets their plain mean. On a CUDA device the host waits once, to learn the number of studies and
    whether an input was refused.
    """
    if unknown not in ("neutral", "frontal", "lateral"):
        raise ValueError(f'unknown is {unknown!r}; choose "neutral", "frontal" or "lateral"')
    if by not in ("view", "image"):
        raise ValueError(f'by is {by!r}; choose "view" or "image"')
    if not (0 <= frontal < math.inf and 0 <= lateral < math.inf and frontal + lateral > 0):
        raise ValueError(
            f"frontal = {frontal}, lateral = {lateral}: weights are finite, not negative, "
            "and not both 0"
        )
    unknown_as = {"frontal": FRONTAL, "lateral": LATERAL, "neutral": UNKNOWN}[unknown]
    neutral = (frontal + lateral) / 2
    rule = ViewRule(float(frontal), float(lateral), neutral, unknown_as, by == "image")
    place = place_of(scores=scores, study=study, view=view)
    with place.current():
        scores_NC, study_N, view_N = place.view(scores), place.view(study), place.view(view)
        _check(scores_NC, study_N, view_N)
        scores_SC, study_S = place.kernels().aggregate_views(scores_NC, study_N, view_N, rule)
        return place.give_back(scores_SC), place.give_back(study_S)


def bad_view(row: int, value: int) -> ValueError:
    """The refusal of a view code that nobody defined."""
    return ValueError(
        f"view[{row}] is {value}; write FRONTAL = {FRONTAL}, LATERAL = {LATERAL} or "
        f"UNKNOWN = {UNKNOWN}"
    )


def bad_view_score(row: int, column: int, value: float) -> ValueError:
    """The refusal of a score that would spoil the mean of its study."""
    return ValueError(
        f"scores[{row}, {column}] (row {row}, class {column}) is {value}; only finite scores have "
        "a mean, so drop that row"
    )


def _check(scores_NC: Any, study_N: Any, view_N: Any) -> None:
    if scores_NC.ndim != 2:
        raise ValueError(f"scores have shape {scores_NC.shape}, not (N, C)")
    for name, array in (("study", study_N), ("view", view_N)):
        if array.shape != scores_NC.shape[:1]:
            raise ValueError(
                f"{name} has shape {array.shape}, scores {scores_NC.shape}; {name} must be "
                f"{scores_NC.shape[:1]}"
            )
    if scores_NC.dtype.kind != "f":
        raise TypeError(f"scores are {scores_NC.dtype}; pass floats")
    if study_N.dtype.kind not in "iu":
        raise TypeError(
            f"study is {study_N.dtype}; pass whole numbers, for example "
            "numpy.unique(names, return_inverse=True)[1]"
        )
    if view_N.dtype.kind not in "iu":
        raise TypeError(f"view is {view_N.dtype}; pass uint8 codes")
