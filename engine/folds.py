"""Other validation splits than the manifest's, chosen at training time: the papers' own, by patient."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cxr_engine.shards.errors import UsageError


class Folds(BaseModel):
    """How train and val, taken together, are split again; test and dev stay as they are.

    `group-k-fold` is scikit-learn's GroupKFold without shuffling: val is fold `fold` of `n`.
    `group-shuffle` is its GroupShuffleSplit: val is a share of `val_fraction` of the patients.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["group-k-fold", "group-shuffle"] = "group-k-fold"
    n: int = Field(default=5, ge=2, le=100)
    fold: int = Field(default=0, ge=0)
    val_fraction: float = Field(default=0.1, gt=0.0, lt=1.0)
    seed: int = Field(default=42, ge=0)

    @model_validator(mode="after")
    def _fold_exists(self) -> Folds:
        if self.fold >= self.n:
            raise ValueError(f"fold {self.fold} of {self.n} does not exist; the first is 0")
        return self


def resplit(frame: pl.DataFrame, folds: Folds) -> pl.DataFrame:
    """The frame with `split` of its train and val rows assigned anew.

    frame  columns patient and split, in manifest order
    """
    pool = frame.with_row_index("row").filter(pl.col("split").is_in(["train", "val"]))
    patients = pool["patient"].to_numpy()
    if len(np.unique(patients)) < folds.n:
        raise UsageError(
            f"{folds.n} folds of {len(np.unique(patients))} patients",
            "--folds",
            "use fewer folds than there are patients in train and val",
        )
    is_val = np.zeros(frame.height, bool)
    is_val[pool["row"].to_numpy()[_validation(patients, folds)]] = True
    again = pl.when(pl.Series(is_val)).then(pl.lit("val")).otherwise(pl.lit("train"))
    kept = pl.col("split").is_in(["train", "val"])
    return frame.with_columns(split=pl.when(kept).then(again).otherwise("split"))


def _validation(patients: NDArray[np.object_], folds: Folds) -> NDArray[np.int64]:
    from sklearn.model_selection import (  # noqa: PLC0415  a second that most streams need not wait
        GroupKFold,
        GroupShuffleSplit,
    )

    rows = np.zeros(len(patients))
    if folds.kind == "group-k-fold":
        return list(GroupKFold(folds.n).split(rows, groups=patients))[folds.fold][1]
    splitter = GroupShuffleSplit(1, test_size=folds.val_fraction, random_state=folds.seed)
    return next(splitter.split(rows, groups=patients))[1]
