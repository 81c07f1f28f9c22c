"""Machine code for cpu.py, by Numba: loops that hold no GIL, start no thread and check no input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numba
import numpy as np

from cxr_engine.kernels.study import ViewRule

P = ParamSpec("P")
R = TypeVar("R")

# Numba takes a whole number in the text for signed, and uint64 with int64 makes float64.
_DIGIT = np.uint64(2047)  # a digit of the radix sort: 11 bits, so that three make a score
_ROW = np.uint64(0xFFFFFFFF)


def _compiled(function: Callable[P, R]) -> Callable[P, R]:
    """The function as machine code, kept on disk for the next process."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # nowhere to keep it: package and home are read-only in many containers
        return numba.njit(nogil=True)(function)


@_compiled
def split_keys(
    targets_RC: Any, bits_RC: Any, known_RC: Any, first: int, keys_CN: Any
) -> tuple[int, int, Any]:
    """Write one key per known entry; returns row and class of the first bad entry, or −1, −1.

    bits     (R, C) uint32, the scores' bits of the rows first … first + R − 1
    keys     (C, N) uint32: the score, ascending as scores descend, −0 as 0; or uint64: the row
             below that. Of the columns first … first + R − 1 the negatives fill the front, the
             positives the back.
    returns  also (C, 2) how many negatives and positives there are
    """
    n_rows, n_classes = bits_RC.shape
    n_columns = keys_CN.shape[1]
    keys = keys_CN.reshape(-1)
    keep_row = keys.itemsize == 8
    n_keys_C2 = np.zeros((n_classes, 2), np.int64)
    ends_C2 = np.empty((n_classes, 2), np.int64)
    for c in range(n_classes):
        ends_C2[c, 0] = c * n_columns + first
        ends_C2[c, 1] = c * n_columns + first + n_rows - 1
    for r in range(n_rows):
        for c in range(n_classes):
            if known_RC is not None and not known_RC[r, c]:
                continue
            bits = np.int64(bits_RC[r, c])
            label = np.int64(targets_RC[r, c] == 1)
            if (bits >> 23) & 255 == 255 or targets_RC[r, c] != label:
                return first + r, c, n_keys_C2
            key = np.uint64((bits ^ (0x7FFFFFFF * (1 - (bits >> 31)))) - (bits == 0x80000000))
            if keep_row:
                key = (key << np.uint64(32)) | np.uint64(first + r)
            # No branch on the label, which nobody can predict; unsigned, as no index counts from
            # the end: together 1.4 times as fast.
            end = ends_C2[c, np.uint64(label)]
            keys[np.uint64(end)] = key
            ends_C2[c, np.uint64(label)] = end + 1 - 2 * label
    for c in range(n_classes):
        n_keys_C2[c, 0] = ends_C2[c, 0] - (c * n_columns + first)
        n_keys_C2[c, 1] = c * n_columns + first + n_rows - 1 - ends_C2[c, 1]
    return -1, -1, n_keys_C2


@_compiled
def collect(keys_N: Any, edges: Any, n_keys_T2: Any, label: int, buffer: Any) -> tuple[Any, Any]:
    """The keys of one label from all ranges of rows, in buffer, and how often each digit occurs."""
    low = np.uint64(8 * keys_N.itemsize - 32)
    counts = np.zeros((3, 2048), np.uint32)  # 24 kB: stays in the first-level cache
    n_keys = 0
    for t in range(len(n_keys_T2)):
        start = edges[t + 1] - n_keys_T2[t, 1] if label else edges[t]
        for i in range(start, start + n_keys_T2[t, label]):
            buffer[n_keys] = keys_N[i]
            n_keys += 1
            key = np.uint64(keys_N[i]) >> low
            counts[0, key & _DIGIT] += 1
            counts[1, (key >> np.uint64(11)) & _DIGIT] += 1
            counts[2, key >> np.uint64(22)] += 1
    return buffer[:n_keys], counts


@_compiled
def radix_sort(keys: Any, counts: Any, scratch: Any) -> Any:
    """The keys in ascending order of their upper 32 bits, in one of the two arrays.

    counts  (3, 2048) how often each digit occurs, as collect returns it; used up
    """
    n_keys = len(keys)
    low = np.uint64(8 * keys.itemsize - 32)
    source, target = keys, scratch[:n_keys]
    for turn in range(3):
        shift = low + np.uint64(11 * turn)
        if n_keys == 0 or counts[turn, (np.uint64(source[0]) >> shift) & _DIGIT] == n_keys:
            continue  # one digit for all: nothing would move
        position = np.uint32(0)
        for value in range(2048):
            count = counts[turn, value]
            counts[turn, value] = position
            position += count
        for i in range(n_keys):
            digit = (np.uint64(source[i]) >> shift) & _DIGIT
            target[counts[turn, digit]] = source[i]
            counts[turn, digit] += 1
        source, target = target, source
    return source


@_compiled
def ap_and_auc(positives: Any, negatives: Any, units_N: Any, unit: float) -> tuple[float, float]:
    """AP and AUC of one class from its sorted keys, NaN where undefined.

    Both are sums over the distinct scores of positives: AP of the precision down to that score,
    AUC of the share of negatives below it (ties half), times the weight of the positives there.
    The terms are rounded to whole units, so that the sum does not depend on how it is formed.

    units  (N,) int64 weights of the rows, with unit = 1; or None, with unit the weight of each row
    """
    low = np.uint64(8 * positives.itemsize - 32)
    n_positives, n_negatives = len(positives), len(negatives)
    all_false = np.int64(n_negatives)
    if units_N is not None:
        all_false = np.int64(0)
        for key in negatives:
            all_false += units_N[key & _ROW]
    true, false = np.int64(0), np.int64(0)
    ap_sum, auc_sum = np.int64(0), np.int64(0)
    i, j = 0, 0
    while i < n_positives:
        score = positives[i] >> low
        true_above = true
        while i < n_positives and positives[i] >> low == score:
            true += 1 if units_N is None else units_N[positives[i] & _ROW]
            i += 1
        while j < n_negatives and negatives[j] >> low < score:
            false += 1 if units_N is None else units_N[negatives[j] & _ROW]
            j += 1
        false_above = false
        while j < n_negatives and negatives[j] >> low == score:
            false += 1 if units_N is None else units_N[negatives[j] & _ROW]
            j += 1
        if true > true_above:
            here = float(true - true_above) * unit
            ap_sum += np.int64(np.rint(here * (float(true) / float(true + false))))
            twice_below = 2 * all_false - false_above - false
            if all_false > 0:
                auc_sum += np.int64(np.rint(here * (float(twice_below) / float(2 * all_false))))
    if true == 0:
        return np.nan, np.nan
    all_true = float(true) * unit
    return float(ap_sum) / all_true, float(auc_sum) / all_true if all_false > 0 else np.nan


@_compiled
def mean_of_studies(scores_NC: Any, order_N: Any, edges: Any, view_N: Any, rule: ViewRule) -> Any:
    """(S, C) scores; study s has the rows order[edges[s]] … order[edges[s + 1] − 1].

    They are added up in this order, as float64.
    """
    n_studies, n_classes = len(edges) - 1, scores_NC.shape[1]
    aggregated_SC = np.empty((n_studies, n_classes), scores_NC.dtype)
    weights = (rule.frontal, rule.lateral, rule.unknown)
    sums = np.empty((3, n_classes))
    counts, shares = np.empty(3), np.empty(3)
    for s in range(n_studies):
        sums[:] = 0.0
        counts[:] = 0.0
        for i in range(edges[s], edges[s + 1]):
            row = order_N[i]
            view = rule.unknown_as if view_N[row] == 2 else np.int64(view_N[row])
            counts[view] += 1.0
            for c in range(n_classes):
                sums[view, c] += scores_NC[row, c]
        total = 0.0
        for view in range(3):
            shares[view] = counts[view] if rule.by_image else min(counts[view], 1.0)
            total += shares[view] * weights[view]
        if total > 0.0:
            for view in range(3):
                shares[view] *= weights[view]
        else:  # all weights are 0: the plain mean of what there is
            total = shares[0] + shares[1] + shares[2]
        for c in range(n_classes):
            mean = 0.0
            for view in range(3):
                if counts[view] > 0.0:  # the share first, so that a single view stays as it is
                    mean += shares[view] / total * (sums[view, c] / counts[view])
            aggregated_SC[s, c] = mean
    return aggregated_SC
