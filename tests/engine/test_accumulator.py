"""The accumulator: what counts, merging over ranks, and metrics of views and studies."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from cxr_engine.engine import Accumulator, Batch, per_class_metrics

NAMES = ("Hernia", "Mass", "Nodule")


def batch_of(n: int, seed: int, *, padded: int = 0) -> tuple[torch.Tensor, Batch]:
    """Logits and a batch whose last `padded` rows only pad."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, 3)) < (0.4, 0.2, 0.0)).astype(np.float32)
    batch = Batch(
        images=torch.zeros(n, 1, 2, 2),
        targets=torch.from_numpy(targets),
        known=torch.from_numpy(rng.random((n, 3)) < 0.8),
        valid=torch.arange(n) < n - padded,
        keys=tuple(f"{seed}-{i}" for i in range(n)),
        study=torch.from_numpy(rng.integers(0, 25, n)),
        view=torch.from_numpy(rng.integers(0, 3, n).astype(np.uint8)),
    )
    return torch.from_numpy(rng.normal(size=(n, 3)).astype(np.float32)), batch


def filled(*batches: tuple[torch.Tensor, Batch], capacity: int = 100) -> Accumulator:
    accumulator = Accumulator(capacity, NAMES, torch.device("cpu"))
    for logits, batch in batches:
        accumulator.update(logits, batch)
    return accumulator


def test_padding_reaches_no_result() -> None:
    logits, batch = batch_of(40, 0, padded=7)
    collected = filled((logits, batch)).collect()
    assert collected.keys == batch.keys[:33]
    np.testing.assert_array_equal(collected.logits, logits[:33])
    with_garbage = logits.clone()
    with_garbage[33:] = float("nan")
    assert filled((logits, batch)).compute().equals(filled((with_garbage, batch)).compute())


def test_merging_ranks_equals_one_rank() -> None:
    parts = [batch_of(30, 1), batch_of(20, 2, padded=5), batch_of(10, 3)]
    alone = filled(*parts)
    ranks = [filled(part, capacity=40) for part in parts]
    merged = ranks[0].merge(ranks[1:])
    assert merged.collect().keys == alone.collect().keys
    assert merged.compute().equals(alone.compute())


def test_metrics_are_those_of_scikit_learn_over_known_labels() -> None:
    logits, batch = batch_of(90, 4)
    frame = filled((logits, batch)).compute()
    assert frame["finding"].to_list() == list(NAMES)
    for c in range(2):
        known = batch.known[:, c].numpy()
        y, z = batch.targets[:, c].numpy()[known], logits[:, c].numpy()[known]
        row = frame.row(c, named=True)
        assert (row["positives"], row["known"]) == (y.sum(), known.sum())
        assert row["prevalence"] == pytest.approx(y.mean())
        assert row["ap"] == pytest.approx(average_precision_score(y, z), abs=1e-6)
        assert row["auc"] == pytest.approx(roc_auc_score(y, z), abs=1e-6)
    assert np.isnan(frame.row(2, named=True)["ap"])


def test_a_study_is_positive_where_a_view_is_and_unknown_where_all_are() -> None:
    study, view = np.array([5, 5, 9, 9, 7]), np.array([0, 1, 0, 0, 2], np.uint8)
    targets = np.array([[1], [0], [0], [0], [0]], np.float32)
    known = np.array([[True], [True], [True], [False], [False]])
    logits = np.array([[2.0], [-1.0], [0.5], [0.1], [3.0]], np.float32)
    row = per_class_metrics(
        ("Mass",), logits=logits, targets=targets, known=known, study=study, view=view
    ).row(0, named=True)
    assert (row["study_positives"], row["study_known"]) == (1, 2)
    p = 1 / (1 + np.exp(-logits[:, 0].astype(np.float64)))
    scores = [0.7 * p[0] + 0.3 * p[1], (p[2] + p[3]) / 2]
    assert row["study_ap"] == pytest.approx(average_precision_score([1, 0], scores), abs=1e-6)


def test_the_logit_scale_changes_study_scores_and_no_ranking_of_views() -> None:
    logits, batch = batch_of(90, 5)
    rows = {
        "logits": logits,
        "targets": batch.targets,
        "known": batch.known,
        "study": batch.study,
        "view": batch.view,
    }
    plain, scaled = (
        per_class_metrics(NAMES, **rows),
        per_class_metrics(NAMES, **rows, logit_scale=30.0),
    )
    assert plain.select("ap", "auc").equals(scaled.select("ap", "auc"))
    assert not plain.select("study_ap").equals(scaled.select("study_ap"))


def test_wrong_shapes_and_too_many_rows_are_refused() -> None:
    logits, batch = batch_of(8, 6)
    with pytest.raises(ValueError, match=r"shape \(8, 2\), expected \(8, 3\)"):
        filled((logits[:, :2], batch))
    with pytest.raises(ValueError, match="capacity of 10"):
        filled((logits, batch), (logits, batch), capacity=10)
    other = Accumulator(8, ("Mass",), torch.device("cpu"))
    with pytest.raises(ValueError, match="class lists"):
        filled((logits, batch)).merge([other])


def test_numpy_and_torch_inputs_give_the_same_table() -> None:
    logits, batch = batch_of(50, 7)
    rows = (logits, batch.targets, batch.known, batch.study, batch.view)
    names = ("logits", "targets", "known", "study", "view")
    torch_table = per_class_metrics(NAMES, **dict(zip(names, rows, strict=True)))
    numpy_table = per_class_metrics(
        NAMES, **{n: r.numpy() for n, r in zip(names, rows, strict=True)}
    )
    assert isinstance(torch_table, pl.DataFrame)
    assert torch_table.equals(numpy_table)
