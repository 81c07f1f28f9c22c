"""Kernels for host arrays: Numba's machine code on plain threads.

Not Numba's own prange: its fallback threading layer aborts the process when two Python threads
enter it at once, its OpenMP layer does so after a fork, and compiling takes longer.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np

from cxr_engine.kernels import cpu_source
from cxr_engine.kernels.fixed_point import unit, weight_units
from cxr_engine.kernels.ranking import Ranking, bad_score, bad_target, bad_weight
from cxr_engine.kernels.study import UNKNOWN, ViewRule, bad_view, bad_view_score

_ENTRIES_PER_THREAD = 1 << 16  # fewer are ranked before a second thread has started


def ranking(
    targets_NC: Any,
    scores_NC: Any,
    known_NC: Any | None,
    weights_N: Any | None,
    *,
    n_threads: int | None = None,
) -> Ranking:
    """AP and AUC per class: first keys, range of rows by range, then the ranking, class by class.

    n_threads  None: as many as NUMBA_NUM_THREADS says, by default the CPUs of this process

    Positives and negatives are sorted apart and merged afterwards: so a key needs no label beside
    it and fits 32 bits. With weights it has 64, for the row to find the weight by.
    """
    n_rows, n_classes = scores_NC.shape
    result = Ranking(np.full(n_classes, np.nan), np.full(n_classes, np.nan))
    if n_rows == 0:
        return result
    with np.errstate(over="ignore"):  # float64 beyond float32 turns into inf, refused below
        ranked_NC = _fixed(scores_NC, np.float32)
    # Numba does not know float16.
    labels_NC = _fixed(targets_NC, np.float32 if targets_NC.dtype == np.float16 else None)
    known_NC = None if known_NC is None else _fixed(known_NC)
    units_N = None if weights_N is None else _weight_units(weights_N)
    weight_one = unit(n_rows) if units_N is None else 1.0
    if n_threads is None:
        n_threads = min(_cpus(), 1 + scores_NC.size // _ENTRIES_PER_THREAD)
    edges = np.linspace(0, n_rows, n_threads + 1).astype(np.int64)
    keys_CN = np.empty((n_classes, n_rows), np.uint32 if units_N is None else np.uint64)

    def split(thread: int) -> tuple[int, int, Any]:
        rows = slice(edges[thread], edges[thread + 1])
        bits_RC = ranked_NC[rows].view(np.uint32)
        known_RC = None if known_NC is None else known_NC[rows]
        return cpu_source.split_keys(labels_NC[rows], bits_RC, known_RC, edges[thread], keys_CN)

    def rank(thread: int, n_keys_CT2: Any) -> None:
        buffer, scratch = np.empty((2, n_rows), keys_CN.dtype)
        for c in range(thread, n_classes, n_threads):
            positives, counts = cpu_source.collect(keys_CN[c], edges, n_keys_CT2[c], 1, buffer)
            n = len(positives)
            positives = cpu_source.radix_sort(positives, counts, scratch)
            negatives, counts = cpu_source.collect(keys_CN[c], edges, n_keys_CT2[c], 0, buffer[n:])
            negatives = cpu_source.radix_sort(negatives, counts, scratch[n:])
            result.average_precision[c], result.roc_auc[c] = cpu_source.ap_and_auc(
                positives, negatives, units_N, weight_one
            )

    threads = range(n_threads)
    with ThreadPoolExecutor(n_threads) as pool:
        run = map if n_threads == 1 else pool.map
        rows, columns, n_keys = zip(*run(split, threads), strict=True)
        if max(rows) < 0:
            list(run(rank, threads, [np.stack(n_keys, axis=1)] * n_threads))
            return result
    row, column = min(bad for bad in zip(rows, columns, strict=True) if bad[0] >= 0)
    if not np.isfinite(ranked_NC[row, column]):
        raise bad_score(row, column, scores_NC[row, column].item())
    raise bad_target(row, column, targets_NC[row, column].item())


def aggregate_views(scores_NC: Any, study_N: Any, view_N: Any, rule: ViewRule) -> tuple[Any, Any]:
    """Scores (S, C) of the studies and their numbers (S,), ascending."""
    if scores_NC.dtype != np.float64:
        scores_NC = scores_NC.astype(np.float32, copy=False)
    bad_N = (view_N < 0) | (view_N > UNKNOWN)
    if bad_N.any():
        raise bad_view(int(bad_N.argmax()), view_N[bad_N.argmax()].item())
    finite_NC = np.isfinite(scores_NC)
    if not finite_NC.all():
        row, column = divmod(int(finite_NC.argmin()), scores_NC.shape[1])
        raise bad_view_score(row, column, scores_NC[row, column].item())
    order_N = study_N.argsort(kind="stable")
    study_N = study_N[order_N]
    is_first_N = np.ones(len(study_N), bool)
    is_first_N[1:] = study_N[1:] != study_N[:-1]
    first_S = np.flatnonzero(is_first_N)
    aggregated_SC = cpu_source.mean_of_studies(
        _fixed(scores_NC),
        order_N,
        np.append(first_S, len(study_N)),
        _fixed(view_N, np.uint8),
        rule,
    )
    return aggregated_SC, study_N[first_S]


def _cpus() -> int:
    return numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # set when numba loads


def _fixed(array: Any, dtype: Any = None) -> Any:
    """The array, contiguous and read-only, without a copy where it can be.

    Always read-only, because Numba compiles anew for a writable one.
    """
    array = np.ascontiguousarray(array, dtype).view()
    array.flags.writeable = False
    return array


def _weight_units(weights_N: Any) -> Any:
    weights_N = weights_N.astype(np.float64)
    bad_N = ~(np.isfinite(weights_N) & (weights_N >= 0))
    if bad_N.any():
        raise bad_weight(int(bad_N.argmax()), weights_N[bad_N.argmax()].item())
    return weight_units(weights_N, np)
