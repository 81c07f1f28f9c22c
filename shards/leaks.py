"""No patient in different splits of data sets that are used together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import polars as pl

from cxr_engine.shards.errors import DataError
from cxr_engine.shards.manifest import read_manifest

_SHOWN = 5  # rows named in an error
_REMEDY = (
    "make both with the same official split, or split by patient with the same --seed and "
    "--val-fraction"
)


def check_leaks(folders: Sequence[Path | str]) -> None:
    """Refuse data sets of which one patient, by the id in the manifests, is in two splits.

    Ids are compared as they stand: data sets of different hospitals that both count their
    patients from 1 are not to be compared.
    """
    frames = {str(folder): _patients(folder) for folder in folders}
    for (one, first), (other, second) in combinations(frames.items(), 2):
        _refuse(first, f"{one}: manifest", second, f"{other}: manifest")


def check_leaks_against(frame: pl.DataFrame, table: Path, folders: Sequence[Path | str]) -> None:
    """Refuse rows of a new data set whose patient is in another split of an existing one.

    frame  columns patient, split and line, of `table`
    """
    own = frame.select("patient", "split", row="line")
    for folder in folders:
        _refuse(own, f"{table}: line", _patients(folder), f"{folder}: manifest")


def _patients(folder: Path | str) -> pl.DataFrame:
    frame = read_manifest(folder, ("patient", "split")).frame
    return frame.with_row_index("row", offset=1).cast({"row": pl.Int64})


def _refuse(first: pl.DataFrame, where: str, second: pl.DataFrame, other: str) -> None:
    """A DataError with counts and row numbers; patient ids stay out of the text."""
    of_other = second.group_by("patient").agg(
        other_splits=pl.col("split").unique(), other_row=pl.col("row").min()
    )
    leaks = (
        first.join(of_other, on="patient")
        .filter(
            (pl.col("other_splits").list.len() > 1)
            | (pl.col("other_splits").list.first() != pl.col("split"))
        )
        .sort("row")
    )
    if leaks.is_empty():
        return
    firsts = leaks.unique("patient", keep="first", maintain_order=True)
    pairs = leaks.explode("other_splits").filter(pl.col("split") != pl.col("other_splits"))
    counts = (
        pairs.group_by("split", "other_splits")
        .agg(pl.col("patient").n_unique())
        .sort("split", "other_splits")
    )
    shown = ", ".join(f"{n} in {own} and {its}" for own, its, n in counts.iter_rows())
    lines = ", ".join(str(row) for row in firsts["row"].head(_SHOWN))
    rows = ", ".join(str(row) for row in firsts["other_row"].head(_SHOWN))
    raise DataError(
        f"{firsts.height} patients ({leaks.height} rows) are in different splits of two data "
        f"sets: {shown}",
        f"{where} {lines}; {other} row {rows}{' …' if firsts.height > _SHOWN else ''}",
        _REMEDY,
    )
