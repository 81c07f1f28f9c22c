"""Every public layout ends in one table, the common schema."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cxr_engine.shards.findings import LABEL_PREFIX, UNKNOWN_STAYS, LabelPolicy

COLUMNS: dict[str, type[pl.DataType]] = {
    "source": pl.String,  # id as in the source; kept in the manifest
    "path": pl.String,  # absolute, of a file that need not exist
    "line": pl.Int64,  # of the row in the table's file, for messages
    "patient": pl.String,
    "study": pl.String,  # unique over patients
    "view": pl.String,  # one of views.VIEWS
    "view_position": pl.String,  # as in the source; nullable
    "split": pl.String,  # official split; nullable
    "bits_stored": pl.Int64,  # significant bits of the pixels, where the source says so; nullable
}
_NULLABLE = ("view_position", "split", "bits_stored")


@dataclass(frozen=True, slots=True)
class DroppedRow:
    """A row of the source's table that does not reach the shards."""

    line: int
    source: str
    reason: str  # a short name that reports count by, such as missing
    what: str


@dataclass(frozen=True, slots=True)
class SourceTable:
    """The rows of one data set as downloaded, one per view.

    frame    COLUMNS, then `label:<finding>` per class, nullable Int8: 1, 0, null = unknown
    notes    what was guessed or noticed, for the user to read
    file     where `line` counts
    dropped  rows that the source itself leaves out, on the user's word only
    policy   what became of uncertain and blank labels
    """

    name: str
    frame: pl.DataFrame
    class_names: tuple[str, ...]
    notes: tuple[str, ...]
    file: Path
    dropped: tuple[DroppedRow, ...] = ()
    policy: LabelPolicy = UNKNOWN_STAYS

    @property
    def n_rows(self) -> int:
        """Rows of the source's table, with those it leaves out."""
        return self.frame.height + len(self.dropped)

    def __post_init__(self) -> None:
        schema = COLUMNS | {LABEL_PREFIX + name: pl.Int8 for name in self.class_names}
        if dict(self.frame.schema) != schema:
            raise ValueError(f"not the common schema: {self.frame.schema}, expected {schema}")
        for name in COLUMNS:
            if name not in _NULLABLE and self.frame[name].null_count():
                raise ValueError(f"column {name!r} of a source table must not hold nulls")


def dropped_rows(frame: pl.DataFrame, reason: str) -> tuple[DroppedRow, ...]:
    """Rows of a frame with columns line, source and what, as rows that were left out."""
    rows = frame.select("line", "source", "what").iter_rows()
    return tuple(DroppedRow(line, source, reason, what) for line, source, what in rows)


def distinct_studies(patient: pl.Series, study: pl.Series) -> tuple[pl.Series, list[str]]:
    """Study ids that no two patients share, and notes; null stays null."""
    pairs = pl.DataFrame({"patient": patient, "study": study}).drop_nulls().unique()
    if pairs["study"].n_unique() == pairs.height:
        return study, []
    return patient + "/" + study, ["study ids recur between patients: written as patient/study"]
