"""Which split a patient belongs to."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import xxhash

from cxr_engine.shards.errors import DataError, UsageError
from cxr_engine.shards.findings import LABEL_PREFIX, POSITIVE

SPLITS = ("train", "val", "test", "dev")


def assign_splits(frame: pl.DataFrame, val_fraction: float, seed: int) -> pl.DataFrame:
    """Fill the blanks of column `split` patient by patient, and refuse leaks.

    A row with an official split keeps it, and lends it to the patient's rows that have none.
    Patients without any go to val or train by a hash of seed and patient: adding rows moves
    nobody. A patient in two splits is a DataError.
    """
    if not 0.0 <= val_fraction < 1.0:
        raise UsageError(
            f"a validation share of {val_fraction}",
            "--val-fraction",
            "give a number from 0 up to, but not including, 1; 0.2 is usual",
        )
    official = frame.filter(pl.col("split").is_not_null())
    _refuse_leaks(official)
    of_patient = dict(official.select("patient", "split").unique().iter_rows())
    for patient in frame["patient"].unique():
        if patient not in of_patient:
            of_patient[patient] = "val" if _unit_hash(seed, patient) < val_fraction else "train"
    return frame.with_columns(
        split=frame["patient"].replace_strict(of_patient, return_dtype=pl.String)
    )


def check_val(
    before: pl.DataFrame, after: pl.DataFrame, class_names: Sequence[str], where: str
) -> None:
    """Refuse a validation split of our own making in which a class of train has no positive.

    before, after  the rows without and with the splits that `assign_splits` gives

    An official validation split is the source's affair, and so is a source whose splits are
    complete without one.
    """
    official = before.filter(pl.col("split").is_not_null())
    if (official["split"] == "val").any() or set(official["patient"]) == set(before["patient"]):
        return
    positives = {
        split: after.filter(pl.col("split") == split)
        .select((pl.col(LABEL_PREFIX + name) == POSITIVE).sum() for name in class_names)
        .row(0)
        for split in ("train", "val")
    }
    empty = [
        f"{name} ({n_train} in train)"
        for name, n_train, n_val in zip(
            class_names, positives["train"], positives["val"], strict=True
        )
        if n_train and not n_val
    ]
    if empty:
        raise DataError(
            f"{len(empty)} of {len(class_names)} classes have no positive in the validation split",
            f"{where}: {', '.join(empty[:10])}{', …' if len(empty) > 10 else ''}",
            "try another --seed or a larger --val-fraction; --allow-empty-val goes on without "
            "a score for them",
        )


def _unit_hash(seed: int, patient: str) -> float:
    return xxhash.xxh3_64_intdigest(f"{seed}:{patient}".encode()) / 2**64


def _refuse_leaks(official: pl.DataFrame) -> None:
    # Patient ids stay out of the text: logs are shared more freely than tables.
    leaks = (
        official.group_by("patient")
        .agg(pl.col("split").unique().sort(), pl.col("line").sort())
        .filter(pl.col("split").list.len() > 1)
        .sort(pl.col("line").list.first())
    )
    if leaks.is_empty():
        return
    first = leaks.row(0, named=True)
    lines = ", ".join(str(line) for line in first["line"][:5])
    raise DataError(
        f"patients in more than one split: {leaks.height}, "
        f"the first in {' and '.join(first['split'])}",
        f"rows of that patient: line {lines}",
        "correct the split column, or leave it out (--split none) to split by patient",
    )
