"""Predictions on disk: one Parquet row per view; everything downstream reads them, never a model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cxr_engine.engine import Collected
from cxr_engine.shards.errors import DataError
from cxr_engine.shards.findings import class_hash
from cxr_engine.shards.manifest import read_manifest
from cxr_engine.shards.publish import published
from cxr_engine.shards.views import VIEWS

_METADATA = b"cxr-engine"
_IDENTITY = ["key", "patient", "study", "view"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """N views and their C logits; facts: class_names, class_hash, logit_scale, weights, tta, split.

    logits  (N, C) float32
    labels  (N, C) int8: 1, 0, -1 unknown
    study   (N,) int64 code, view (N,) uint8 code
    """

    path: Path
    frame: pl.DataFrame
    facts: dict[str, Any]
    class_names: tuple[str, ...]
    logits: NDArray[np.float32]
    labels: NDArray[np.int8]
    study: NDArray[np.int64]
    view: NDArray[np.uint8]


def write_predictions(
    path: Path,
    collected: Collected,
    data: Path,
    class_names: tuple[str, ...],
    facts: dict[str, Any],
) -> None:
    """Write key, patient, study, view, split, `logit:<finding>`, `target:<finding>` atomically."""
    identity = read_manifest(data, columns=_IDENTITY).frame
    frame = pl.DataFrame({"key": collected.keys}).join(
        identity, on="key", how="left", maintain_order="left"
    )
    # The split that was predicted: with folds, the manifest's own says something else.
    frame = frame.with_columns(split=pl.lit(facts["split"]))
    labels = np.where(collected.known, collected.targets.astype(np.int8), np.int8(-1))
    columns = {f"logit:{name}": collected.logits[:, c] for c, name in enumerate(class_names)}
    targets = {
        f"target:{name}": pl.Series(labels[:, c]).replace(-1, None)
        for c, name in enumerate(class_names)
    }
    table = frame.with_columns(**columns, **targets).to_arrow()
    facts = {**facts, "class_names": list(class_names), "class_hash": class_hash(class_names)}
    table = table.replace_schema_metadata({_METADATA: json.dumps(facts).encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    with published(path) as file:
        pq.write_table(table, file, write_page_checksum=True)


def read_predictions(path: Path) -> Predictions:
    """Read predictions; a missing, foreign or damaged file is a DataError."""
    if not path.is_file():
        raise DataError(
            "there are no predictions", str(path), "train first: cxr-engine train --stage 1"
        )
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        facts = json.loads((table.schema.metadata or {})[_METADATA])
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise DataError(
            f"this is not a predictions file of cxr-engine: {error!r}",
            str(path),
            "name a predictions/<split>.parquet of a run folder",
        ) from error
    frame = pl.DataFrame(pl.from_arrow(table))
    class_names = tuple(facts["class_names"])
    logits = frame.select(f"logit:{name}" for name in class_names).to_numpy()
    labels = frame.select(pl.col(f"target:{name}").fill_null(-1) for name in class_names).to_numpy()
    codes = {name: i for i, name in enumerate(VIEWS)}
    return Predictions(
        path=path,
        frame=frame,
        facts=facts,
        class_names=class_names,
        logits=np.ascontiguousarray(logits, np.float32),
        labels=np.ascontiguousarray(labels, np.int8),
        study=np.array(frame["study"].rank("dense").cast(pl.Int64) - 1),
        view=np.array(frame["view"].replace_strict(codes, return_dtype=pl.UInt8)),
    )
