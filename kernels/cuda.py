"""Kernels for CuPy arrays: all classes at once, by one flat sort of class-tagged keys.

Array code that takes the array module as a parameter and runs with NumPy in CuPy's place: that is
how it is tested without a GPU. What CUDA C does for CuPy has a twin in array code for NumPy. Axis M
is the N·C entries of the score matrix, in the order of their keys once sorted. Only to_host and a
refusal wait for the device.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from cxr_engine.kernels import cuda_source
from cxr_engine.kernels.device import cupy, to_host
from cxr_engine.kernels.fixed_point import unit, weight_units
from cxr_engine.kernels.ranking import Ranking, bad_score, bad_target, bad_weight
from cxr_engine.kernels.study import UNKNOWN, ViewRule, bad_view, bad_view_score

_CLASS_SHIFT = np.uint64(33)  # bits of a key below the class: 32 of the score, 1 of the label
_ONE = np.uint64(1)


def ranking(
    targets_NC: Any,
    scores_NC: Any,
    known_NC: Any | None,
    weights_N: Any | None,
    *,
    xp: ModuleType | None = None,
) -> Ranking:
    """AP and AUC per class, the same to the last bit as on the host.

    xp  the array module; None: CuPy
    """
    xp = xp or cupy()
    n_rows, n_classes = scores_NC.shape
    if n_rows == 0 or n_classes == 0:
        return Ranking(xp.full(n_classes, np.nan), xp.full(n_classes, np.nan))
    with np.errstate(over="ignore"):  # float64 beyond float32 turns into inf, refused below
        ranked_NC = xp.ascontiguousarray(scores_NC, dtype=np.float32)
    keys_M, first_bad = build_keys(ranked_NC, label_codes(targets_NC, known_NC, xp), xp)
    if weights_N is None:
        keys_M.sort()
        weights_M, weight_one = None, unit(n_rows)
    else:
        weights_N = weights_N.astype(np.float64)
        bad_N = ~(xp.isfinite(weights_N) & (weights_N >= 0))
        first_bad = xp.concatenate((first_bad, _first(bad_N, xp)))
        units_N = weight_units(xp.where(bad_N, 0.0, weights_N), xp)
        order_M = keys_M.argsort()
        keys_M = keys_M[order_M]
        weights_M, weight_one = units_N[order_M // n_classes].astype(np.uint64), 1.0
    result = _metrics(keys_M, weights_M, n_classes, weight_one, xp)
    _refuse(to_host(first_bad), targets_NC, scores_NC, weights_N)
    return result


def label_codes(targets_NC: Any, known_NC: Any | None, xp: ModuleType) -> Any:
    """(N, C) uint8: 0 and 1 labels, 2 neither, 3 unknown; whatever the dtype of the targets."""
    positive_NC = targets_NC != 0
    codes_NC = positive_NC.astype(np.uint8) + (positive_NC & (targets_NC != 1))
    return codes_NC if known_NC is None else xp.where(known_NC, codes_NC, np.uint8(3))


def build_keys(scores_NC: Any, codes_NC: Any, xp: ModuleType) -> tuple[Any, Any]:
    """Keys (M,) uint64 and the first bad entries (2,) int64, as cuda_source.BUILD_KEYS says."""
    n_entries, n_classes = scores_NC.size, scores_NC.shape[1]
    if hasattr(xp, "RawKernel"):
        keys_M = xp.empty(n_entries, np.uint64)
        first_bad = xp.full(2, n_entries, np.int64)
        cuda_source.kernel(cuda_source.BUILD_KEYS, "build_keys", xp)(
            cuda_source.blocks(n_entries),
            (cuda_source.THREADS,),
            (
                scores_NC,
                xp.ascontiguousarray(codes_NC),
                np.int64(n_entries),
                np.int64(n_classes),
                keys_M,
                first_bad,
            ),
        )
        return keys_M, first_bad
    bits_M, codes_M = scores_NC.view(np.uint32).ravel(), codes_NC.ravel()
    is_known_M = codes_M != 3
    not_finite_M = is_known_M & (((bits_M >> 23) & 255) == 255)
    first_bad = xp.concatenate((_first(not_finite_M, xp), _first(codes_M == 2, xp)))
    ranks_M = xp.where(bits_M >> 31, bits_M, bits_M ^ np.uint32(0x7FFFFFFF))
    ranks_M = xp.where(bits_M == 0x80000000, np.uint32(0x7FFFFFFF), ranks_M).astype(np.uint64)
    classes_M = xp.arange(n_entries, dtype=np.uint64) % np.uint64(n_classes)
    keys_M = (classes_M << _CLASS_SHIFT) | (ranks_M << _ONE) | (codes_M & 1)
    return xp.where(is_known_M, keys_M, np.uint64(n_classes) << _CLASS_SHIFT), first_bad


def _metrics(
    keys_M: Any, weights_M: Any | None, n_classes: int, weight_one: float, xp: ModuleType
) -> Ranking:
    """AP and AUC from sorted keys, formed as on the host: see cpu_source.ap_and_auc.

    Sums are unsigned, because those over several classes may wrap; their differences are right.
    """
    n_entries = len(keys_M)
    index_M = xp.arange(n_entries, dtype=np.int64)
    labels_M = keys_M & _ONE
    sums = xp.arange(n_entries + 1, dtype=np.uint64) if weights_M is None else _sums(weights_M, xp)
    true_sums = _sums(labels_M if weights_M is None else labels_M * weights_M, xp)

    tags = xp.arange(n_classes + 1, dtype=np.uint64) << _CLASS_SHIFT
    edges_C1 = xp.searchsorted(keys_M, tags)
    true_C, all_C = xp.diff(true_sums[edges_C1]), xp.diff(sums[edges_C1])
    false_C = all_C - true_C
    # Unknown entries, tagged with the class after the last, borrow the edge and get no term below.
    classes_M = (keys_M >> _CLASS_SHIFT).astype(np.int64)
    edges_M = edges_C1[classes_M]

    # Entries of one class and score are a tie; its last entry stands for it.
    is_first_M = xp.ones(n_entries, bool)
    is_first_M[1:] = (keys_M[1:] >> _ONE) != (keys_M[:-1] >> _ONE)
    is_last_M = xp.ones(n_entries, bool)
    is_last_M[:-1] = is_first_M[1:]
    ties_M = xp.cumsum(is_first_M, dtype=np.int64) - 1
    # Where each tie begins; entries in the middle of one write to a place that nobody reads.
    starts = xp.zeros(n_entries + 1, np.int64)
    starts[xp.where(is_first_M, ties_M, n_entries)] = index_M
    starts_M = starts[ties_M]

    true_here_M = true_sums[1:] - true_sums[starts_M]
    true_M = true_sums[1:] - true_sums[edges_M]
    all_M = sums[1:] - sums[edges_M]
    all_above_M = sums[starts_M] - sums[edges_M]
    false_above_M = all_above_M - (true_M - true_here_M)
    counts_M = is_last_M & (classes_M < n_classes) & (true_here_M > 0)
    here_M = true_here_M.astype(np.float64) * weight_one

    def total_per_class(shares_M: Any) -> Any:
        terms_M = xp.where(counts_M, xp.rint(here_M * shares_M), 0.0).astype(np.uint64)
        return xp.diff(_sums(terms_M, xp)[edges_C1]).astype(np.float64)

    twice_false_C1 = xp.zeros(n_classes + 1, np.uint64)
    twice_false_C1[:-1] = false_C + false_C
    twice_false_M = twice_false_C1[classes_M]
    twice_below_M = twice_false_M - false_above_M - (all_M - true_M)
    units_C = xp.where(true_C > 0, true_C.astype(np.float64) * weight_one, np.nan)
    ap_C = total_per_class(_ratio(true_M, all_M, xp)) / units_C
    auc_C = total_per_class(_ratio(twice_below_M, twice_false_M, xp)) / units_C
    return Ranking(ap_C, xp.where(false_C > 0, auc_C, np.nan))


def aggregate_views(
    scores_NC: Any,
    study_N: Any,
    view_N: Any,
    rule: ViewRule,
    *,
    xp: ModuleType | None = None,
) -> tuple[Any, Any]:
    """Scores (S, C) of the studies and their numbers (S,), ascending.

    xp  the array module; None: CuPy
    """
    xp = xp or cupy()
    n_rows, n_classes = scores_NC.shape
    dtype = np.float64 if scores_NC.dtype == np.float64 else np.float32
    scores_NC = xp.ascontiguousarray(scores_NC, dtype=dtype)
    if n_rows == 0:
        return xp.empty((0, n_classes), dtype), study_N[:0].copy()
    order_N = study_N.argsort(kind="stable").astype(np.int64)
    study_N = study_N[order_N]
    is_first_N = xp.ones(n_rows, bool)
    is_first_N[1:] = study_N[1:] != study_N[:-1]
    index_N = xp.cumsum(is_first_N, dtype=np.int64)
    bad_view_N = (view_N < 0) | (view_N > UNKNOWN)
    bad_score_M = ~xp.isfinite(scores_NC).ravel()
    n_studies, row, entry = to_host(
        xp.concatenate((index_N[-1:], _first(bad_view_N, xp), _first(bad_score_M, xp)))
    ).tolist()
    if row < n_rows:
        raise bad_view(row, view_N[row].item())
    if entry < scores_NC.size:
        row, column = divmod(entry, n_classes)
        raise bad_view_score(row, column, scores_NC[row, column].item())
    edges = xp.full(n_studies + 1, n_rows, np.int64)
    edges[xp.where(is_first_N, index_N - 1, n_studies)] = xp.arange(n_rows, dtype=np.int64)
    edges[n_studies:] = n_rows  # where the rows that begin no study wrote
    aggregated_SC = _mean_of_studies(
        scores_NC, order_N, edges, view_N.astype(np.uint8), rule, xp=xp
    )
    return aggregated_SC.astype(dtype, copy=False), study_N[edges[:-1]]


def _mean_of_studies(
    scores_NC: Any, order_N: Any, edges: Any, view_N: Any, rule: ViewRule, *, xp: ModuleType
) -> Any:
    """(S, C) scores; study s has the rows order[edges[s]] … order[edges[s + 1] − 1]."""
    n_studies, n_classes = len(edges) - 1, scores_NC.shape[1]
    if hasattr(xp, "RawKernel"):
        aggregated_SC = xp.empty((n_studies, n_classes), scores_NC.dtype)
        source = cuda_source.mean_of_studies("double" if scores_NC.itemsize == 8 else "float")
        cuda_source.kernel(source, "mean_of_studies", xp)(
            cuda_source.blocks(n_studies * n_classes),
            (cuda_source.THREADS,),
            (
                scores_NC,
                order_N,
                edges,
                view_N,
                np.float64(rule.frontal),
                np.float64(rule.lateral),
                np.float64(rule.unknown),
                np.int32(rule.unknown_as),
                np.int32(rule.by_image),
                np.int64(n_studies),
                np.int64(n_classes),
                aggregated_SC,
            ),
        )
        return aggregated_SC
    scores_NC = scores_NC[order_N].astype(np.float64)
    view_N = xp.where(view_N == UNKNOWN, rule.unknown_as, view_N)[order_N]
    means, shares = [], []
    for view in range(3):
        here_N1 = (view_N == view)[:, None]
        counts_S1 = xp.add.reduceat(here_N1, edges[:-1], dtype=np.float64)
        sums_SC = xp.add.reduceat(xp.where(here_N1, scores_NC, 0.0), edges[:-1])
        means.append(sums_SC / xp.maximum(counts_S1, 1.0))
        shares.append(counts_S1 if rule.by_image else xp.minimum(counts_S1, 1.0))
    weighted = [share * weight for share, weight in zip(shares, rule[:3], strict=True)]
    weighs_S1 = sum(weighted) > 0
    shares = [xp.where(weighs_S1, w, s) for w, s in zip(weighted, shares, strict=True)]
    total_S1 = sum(shares)
    return sum(share / total_S1 * mean for share, mean in zip(shares, means, strict=True))


def _refuse(first_bad: Any, targets_NC: Any, scores_NC: Any, weights_N: Any) -> None:
    n_rows, n_classes = scores_NC.shape
    score, target, *weight = first_bad.tolist()
    if weight and weight[0] < n_rows:
        raise bad_weight(weight[0], weights_N[weight[0]].item())
    row, column = divmod(min(score, target), n_classes)
    if row < n_rows and score <= target:
        raise bad_score(row, column, scores_NC[row, column].item())
    if row < n_rows:
        raise bad_target(row, column, targets_NC[row, column].item())


def _ratio(part_M: Any, whole_M: Any, xp: ModuleType) -> Any:
    return part_M.astype(np.float64) / xp.maximum(whole_M, _ONE).astype(np.float64)


def _sums(values_M: Any, xp: ModuleType) -> Any:
    """Running sums, beginning with 0: the sum of entries i … j − 1 is sums[j] − sums[i]."""
    return xp.concatenate((xp.zeros(1, np.uint64), xp.cumsum(values_M, dtype=np.uint64)))


def _first(bad_M: Any, xp: ModuleType) -> Any:
    """(1,) int64, the first index that is True, or the length."""
    if len(bad_M) == 0:
        return xp.zeros(1, np.int64)
    index_M = xp.arange(len(bad_M), dtype=np.int64)
    return xp.where(bad_M, index_M, len(bad_M)).min(keepdims=True)
