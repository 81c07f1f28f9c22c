"""What can be known to go wrong before the first image is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from cxr_engine.shards.errors import DataError, UsageError
from cxr_engine.shards.manifest import MANIFEST
from cxr_engine.shards.publish import PARTIAL
from cxr_engine.shards.sources import DroppedRow, SourceTable
from cxr_engine.shards.sources.listing import Listing

_SHOWN = 5  # rows named in an error


def check_out(out: Path) -> None:
    """The output folder must be absent or empty."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError("the output is not a folder", str(out), "name another folder")
    if (out / MANIFEST).exists():
        what, remedy = "holds a finished data set", "name another folder, or delete this one"
    elif any(out.glob("*.tar")) or any(out.glob(f"*{PARTIAL}")):
        what = "holds shards without a manifest: an earlier run did not finish"
        remedy = "delete the folder and run again"
    elif any(out.iterdir()):
        what, remedy = "is not empty", "name a new folder; it will be made"
    else:
        return
    raise UsageError(f"the output folder {what}", str(out), remedy)


def check_rows(table: SourceTable) -> None:
    """There are rows, and no image stands in the table twice."""
    if table.frame.is_empty():
        raise DataError("the table has no rows", str(table.file), "give a table with images")
    for column, what in (("source", "image"), ("path", "file")):
        repeated = (
            table.frame.group_by(column)
            .agg(pl.col("line").sort(), pl.col("source").first().alias("shown"))
            .filter(pl.col("line").list.len() > 1)
            .sort(pl.col("line").list.first())
        )
        if repeated.is_empty():
            continue
        first = repeated.row(0, named=True)
        lines = " and ".join(str(line) for line in first["line"][:_SHOWN])
        raise DataError(
            f"{repeated.height} duplicate rows: the {what} {first['shown']!r} appears twice",
            f"{table.file}, lines {lines}",
            "delete one of the rows; their labels may differ",
        )


def drop_missing(
    table: SourceTable, frame: pl.DataFrame, allowed: int
) -> tuple[pl.DataFrame, list[DroppedRow]]:
    """The rows whose file exists, and those without; more of these than allowed is an error."""
    listing = Listing()
    exists = pl.Series([path in listing for path in frame["path"]], dtype=pl.Boolean)
    absent = frame.filter(~exists).select("line", "source", "path")
    missing = [
        DroppedRow(line, source, "missing", "no such file")
        for line, source, _ in absent.iter_rows()
    ]
    found = frame.filter(exists)
    if found.is_empty():
        raise DataError(
            f"none of the {frame.height} images is there",
            f"{table.file}; looked for {absent['path'][0]}",
            "name the folder that holds the images, as the paths in the table continue it",
        )
    check_allowance(table, missing, frame.height, allowed)
    return found, missing


def check_allowance(
    table: SourceTable, dropped: Sequence[DroppedRow], n_rows: int, allowed: int
) -> None:
    """More rows dropped than allowed is an error that names the first and tells the total."""
    if len(dropped) <= allowed:
        return
    first = "; ".join(f"line {row.line}: {row.source} ({row.what})" for row in dropped[:_SHOWN])
    reasons = " and ".join(sorted({row.reason for row in dropped}))
    raise DataError(
        f"{len(dropped)} of {n_rows} images are {reasons}",
        f"{table.file}, {first}{'; …' if len(dropped) > _SHOWN else ''}",
        f"restore them, delete their rows, or accept the loss with --allow-missing {len(dropped)}",
    )
