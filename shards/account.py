"""From the shards as written to the manifest's rows, the report, and the rows that were lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import polars as pl

from cxr_engine.shards.duplicates import FACTS, Duplicates
from cxr_engine.shards.manifest import COLUMNS, ShardInfo, rendition_columns
from cxr_engine.shards.report import (
    LISTED,
    REPORT,
    Report,
    count_classes,
    count_prevalence,
    count_splits,
    label_notes,
)
from cxr_engine.shards.sources import DroppedRow, SourceTable
from cxr_engine.shards.views import VIEWS
from cxr_engine.shards.writer import ShardResult

LOST = ("missing", "unreadable")  # reasons that are nobody's wish; always in the account


def unreadable_rows(frame: pl.DataFrame, results: Sequence[ShardResult]) -> list[DroppedRow]:
    """The rows whose pictures could not be converted."""
    drops = sorted((drop for shard in results for drop in shard.dropped), key=lambda drop: drop.row)
    found = frame[[drop.row for drop in drops]].select("line", "source")
    return [
        DroppedRow(line, source, drop.reason, drop.what)
        for drop, (line, source) in zip(drops, found.iter_rows(), strict=True)
    ]


def written_rows(
    frame: pl.DataFrame, results: Sequence[ShardResult], renditions: Sequence[int]
) -> pl.DataFrame:
    """The manifest's rows: what the source says and where the shard has it.

    Beside them `line`, `warning` and the facts that duplicates are found by.
    """
    placed = pl.concat(_placed(shard, renditions) for shard in results if shard.members)
    return pl.concat(
        [frame[placed["row"]].drop("path", "bits_stored"), placed.drop("row")],
        how="horizontal",
    )


def make_report(
    table: SourceTable,
    written: pl.DataFrame,
    *,
    dropped: Sequence[DroppedRow],
    shards: Sequence[ShardInfo],
    duplicates: Duplicates,
    options: dict[str, Any],
) -> Report:
    """The account of a run whose shards are all on disk."""
    classes = count_classes(written, table.class_names)
    splits = count_splits(written)
    odd = written.filter(pl.col("warning").is_not_null()).sort("key")
    return Report(
        source=table.name,
        rows_read=table.n_rows,
        rows_written=written.height,
        dropped=dict.fromkeys(LOST, 0) | Counter(row.reason for row in dropped),
        dropped_rows=tuple(dropped),
        shards=len(shards),
        bytes=sum(shard.bytes for shard in shards),
        splits=splits,
        views={view: int((written["view"] == view).sum()) for view in VIEWS},
        classes=classes,
        prevalence=count_prevalence(classes),
        duplicates=duplicates.to_dict(),
        warnings=tuple(odd.head(LISTED).select("key", "warning").iter_rows()),
        n_warnings=odd.height,
        options=options,
        notes=(
            *table.notes,
            *label_notes(splits, classes),
            *duplicates.notes,
            *_warning_notes(odd),
        ),
    )


def _placed(shard: ShardResult, renditions: Sequence[int]) -> pl.DataFrame:
    rows = [
        {"row": member.row, "shard": shard.name, "warning": member.warning}
        | {fact: getattr(member, fact) for fact in FACTS}
        | member.columns()
        for member in shard.members
    ]
    types = COLUMNS | rendition_columns(renditions) | dict.fromkeys(FACTS, pl.UInt64)
    types |= {"row": pl.Int64, "warning": pl.String}
    return pl.DataFrame(rows, {name: types[name] for name in rows[0]})


def _warning_notes(odd: pl.DataFrame) -> list[str]:
    if odd.is_empty():
        return []
    key, warning = odd.select("key", "warning").row(0)
    return [f"{odd.height} pictures to look at, listed in {REPORT}, such as {key}: {warning}"]
