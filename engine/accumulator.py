"""Scores of a whole split: update on the device, merge over ranks, compute per-class metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from cxr_engine.engine.batch import Batch
from cxr_engine.kernels import aggregate_views, average_precision, roc_auc


@dataclass(frozen=True, kw_only=True, slots=True)
class Collected:
    """N valid views in the order of the stream, on the host.

    logits   (N, C) float32
    targets  (N, C) float32, 0 or 1
    known    (N, C) bool
    study    (N,) int64
    view     (N,) uint8
    """

    keys: tuple[str, ...]
    logits: NDArray[np.float32]
    targets: NDArray[np.float32]
    known: NDArray[np.bool_]
    study: NDArray[np.int64]
    view: NDArray[np.uint8]


class Accumulator:
    """Collects `capacity` rows of C classes in device memory; updating does not wait for the device."""

    def __init__(self, capacity: int, class_names: Sequence[str], device: torch.device) -> None:
        shape = (capacity, len(class_names))
        self.class_names = tuple(class_names)
        self._rows: dict[str, torch.Tensor] = {
            "logits": torch.empty(shape, dtype=torch.float32, device=device),
            "targets": torch.empty(shape, dtype=torch.float32, device=device),
            "known": torch.empty(shape, dtype=torch.bool, device=device),
            "valid": torch.empty(capacity, dtype=torch.bool, device=device),
            "study": torch.empty(capacity, dtype=torch.int64, device=device),
            "view": torch.empty(capacity, dtype=torch.uint8, device=device),
        }
        self._keys: list[str] = []

    def __len__(self) -> int:
        """Rows collected, padding included."""
        return len(self._keys)

    def update(self, logits: torch.Tensor, batch: Batch) -> None:
        """Add the (B, C) logits of a batch; rows that only pad are kept out of every result."""
        start, end = len(self), len(self) + len(batch)
        capacity, n_classes = self._rows["logits"].shape
        if tuple(logits.shape) != (len(batch), n_classes):
            raise ValueError(
                f"logits have shape {tuple(logits.shape)}, expected {(len(batch), n_classes)}"
            )
        if end > capacity:
            raise ValueError(f"{end} rows do not fit the capacity of {capacity}; give a larger one")
        self._rows["logits"][start:end] = logits.detach()
        for name in ("targets", "known", "valid", "study", "view"):
            self._rows[name][start:end] = getattr(batch, name)
        self._keys.extend(batch.keys)

    def merge(self, others: Sequence[Accumulator]) -> Accumulator:
        """A new accumulator with the rows of this one, then of the others in their order."""
        parts = [self, *others]
        if any(part.class_names != self.class_names for part in parts):
            raise ValueError("accumulators of different class lists cannot be merged")
        device = self._rows["logits"].device
        merged = Accumulator(sum(len(part) for part in parts), self.class_names, device)
        for name, rows in merged._rows.items():
            torch.cat([part._rows[name][: len(part)].to(device) for part in parts], out=rows)
        merged._keys = [key for part in parts for key in part._keys]
        return merged

    def collect(self) -> Collected:
        """The valid rows, copied to the host."""
        host = {name: rows[: len(self)].cpu().numpy() for name, rows in self._rows.items()}
        valid = host.pop("valid")
        keys = tuple(key for key, counts in zip(self._keys, valid, strict=True) if counts)
        return Collected(keys=keys, **{name: rows[valid] for name, rows in host.items()})

    def compute(self) -> pl.DataFrame:
        """`per_class_metrics` of the valid rows."""
        valid = self._rows["valid"][: len(self)]
        rows = {name: rows[: len(self)][valid] for name, rows in self._rows.items()}
        return per_class_metrics(
            self.class_names,
            logits=rows["logits"],
            targets=rows["targets"],
            known=rows["known"],
            study=rows["study"],
            view=rows["view"],
        )


def per_class_metrics(
    class_names: Sequence[str],
    *,
    logits: Any,
    targets: Any,
    known: Any,
    study: Any,
    view: Any,
    logit_scale: float = 1.0,
) -> pl.DataFrame:
    """One row per class: AP and AUC over views and over studies.

    Columns finding, positives, known, prevalence, ap, auc, study_positives, study_known, study_ap,
    study_auc. A study's score is the mean probability of its views, frontal and lateral weighted 0.7 to
    0.3; its label is positive where one of its views is, unknown where all are. Classes without a
    positive have NaN.

    logits, targets, known  (N, C) NumPy or torch, on one device
    study, view             (N,) study code and view code
    logit_scale             probability = sigmoid(logit_scale · logit)
    """
    logits, targets, known = (torch.as_tensor(x) for x in (logits, targets, known))
    study, view = torch.as_tensor(study), torch.as_tensor(view)
    scores = torch.sigmoid(logit_scale * logits.float())
    study_scores, study_ids = aggregate_views(scores, study, view)
    study_targets, study_known = _study_labels(targets, known, study, study_ids)
    columns: dict[str, Any] = {
        "finding": list(class_names),
        "positives": (targets * known).sum(0).to(torch.int64),
        "known": known.sum(0),
        "ap": average_precision(targets, logits.float(), known),
        "auc": roc_auc(targets, logits.float(), known),
        "study_positives": (study_targets * study_known).sum(0).to(torch.int64),
        "study_known": study_known.sum(0),
        "study_ap": average_precision(study_targets, study_scores, study_known),
        "study_auc": roc_auc(study_targets, study_scores, study_known),
    }
    frame = pl.DataFrame(
        {name: c.cpu().numpy() if isinstance(c, torch.Tensor) else c for name, c in columns.items()}
    )
    prevalence = pl.col("positives") / pl.col("known")
    return frame.insert_column(3, frame.select(prevalence=prevalence).to_series())


def _study_labels(
    targets: torch.Tensor, known: torch.Tensor, study: torch.Tensor, study_ids: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(S, C) targets and known of studies; `study_ids` (S,) is sorted."""
    index = torch.searchsorted(study_ids, study)
    shape = (len(study_ids), targets.shape[1])
    positive = torch.zeros(shape, device=targets.device).index_add_(0, index, targets * known)
    n_known = torch.zeros(shape, device=targets.device).index_add_(0, index, known.float())
    return (positive > 0).float(), n_known > 0
