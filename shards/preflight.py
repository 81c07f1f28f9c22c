"""What can be known to go wrong before the first image is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import xxhash

from cxr_engine.shards.errors import DataError, UsageError
from cxr_engine.shards.journal import JOURNAL
from cxr_engine.shards.layout import ShardPlan, make_keys, plan_shards
from cxr_engine.shards.leaks import check_leaks_against
from cxr_engine.shards.lock import LOCK
from cxr_engine.shards.manifest import MANIFEST
from cxr_engine.shards.options import ShardOptions
from cxr_engine.shards.publish import PARTIAL
from cxr_engine.shards.sources import DroppedRow, SourceTable, dropped_rows
from cxr_engine.shards.sources.listing import Listing
from cxr_engine.shards.split import assign_splits, check_val
from cxr_engine.shards.system import SYSTEM

_SHOWN = 5  # rows named in an error


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a run will write, and the rows that it will not."""

    frame: pl.DataFrame  # the source's rows that are there, with split and key
    dropped: tuple[DroppedRow, ...]
    plans: tuple[ShardPlan, ...]  # rows count in `frame`


def prepare(table: SourceTable, options: ShardOptions) -> Prepared:
    """Split, select and lay out the rows; all that can be refused by now is refused."""
    check_rows(table)
    frame = assign_splits(table.frame, options.val_fraction, options.seed)
    # Keys come from all rows: they stay the same when a missing image turns up later.
    frame = frame.with_columns(key=pl.Series(make_keys(frame["source"].to_list()), dtype=pl.String))
    found, missing, beyond = select_rows(table, frame, options.limit, options.seed)
    check_allowance(table, missing, options.allow_missing)
    if options.val_fraction > 0 and not options.allow_empty_val:
        # On all rows: what is missing or beyond a limit is not the fault of the split.
        check_val(table.frame, frame, table.class_names, str(table.file))
    check_leaks_against(found, table.file, options.against)
    return Prepared(
        found,
        (*table.dropped, *missing, *beyond),
        tuple(plan_shards(found, options.seed, options.shard_samples)),
    )


def check_out(out: Path) -> None:
    """The output folder must be absent, empty, or one that an earlier run began to write."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError("the output is not a folder", str(out), "name another folder")
    names = set(SYSTEM.listdir(out))
    if names & {MANIFEST, JOURNAL} or names <= {LOCK, JOURNAL + PARTIAL}:
        return
    if any(name.endswith((".tar", f".tar{PARTIAL}")) for name in names):
        what = "holds shards, and neither a manifest nor a journal of the run that wrote them"
        remedy = "name another folder, or delete this one and run again"
    else:
        what, remedy = "is not empty", "name a new folder; it will be made"
    raise UsageError(f"the output folder {what}", str(out), remedy)


def refuse_changes(changes: Sequence[str], what: str, out: Path) -> None:
    """Another command may not go on with what `out` holds."""
    if changes:
        raise UsageError(
            f"the output folder holds {what}: {'; '.join(changes)}",
            str(out),
            "give the command that began it, name another folder, or delete this one",
        )


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


def select_rows(
    table: SourceTable, frame: pl.DataFrame, limit: int | None, seed: int
) -> tuple[pl.DataFrame, tuple[DroppedRow, ...], tuple[DroppedRow, ...]]:
    """The rows to write, those without a file, and those beyond the limit.

    Patients are taken whole, in the order of a seeded hash, until they bring `limit` files: a
    smaller limit selects from what a larger one does. Only folders of these patients are listed.
    """
    rows = frame.with_row_index("row")
    order = rows if limit is None else _by_patient(rows, seed)
    exists = _until(order, limit)
    visited, is_there = order.head(len(exists)), pl.Series(exists, dtype=pl.Boolean)
    found, absent, beyond = (
        part.sort("row").select(frame.columns)
        for part in (
            visited.filter(is_there),
            visited.filter(~is_there),
            order.slice(len(exists)),
        )
    )
    if found.is_empty():
        raise DataError(
            f"none of the {absent.height} images is there",
            f"{table.file}; looked for {absent['path'][0]}",
            "name the folder that holds the images, as the paths in the table continue it",
        )
    return (
        found,
        _dropped(absent, "missing", "no such file"),
        _dropped(beyond, "limit", f"beyond --limit {limit}"),
    )


def _by_patient(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The rows with those of a patient together, patients mixed by a hash of their own.

    It differs from that of the split: a limited data set has the same share of validation.
    """
    mixed = {
        patient: xxhash.xxh3_64_intdigest(f"limit:{seed}:{patient}".encode())
        for patient in frame["patient"].unique()
    }
    return frame.with_columns(
        mixed=pl.col("patient").replace_strict(mixed, return_dtype=pl.UInt64)
    ).sort("mixed", "patient", "row")


def _until(order: pl.DataFrame, limit: int | None) -> list[bool]:
    """Whether the file of each row exists, up to the end of the patient who reaches `limit`."""
    listing = Listing()
    exists: list[bool] = []
    n_found = 0
    before = None
    for patient, path in order.select("patient", "path").iter_rows():
        if limit is not None and patient != before and n_found >= limit:
            break
        exists.append(path in listing)
        n_found += exists[-1]
        before = patient
    return exists


def _dropped(frame: pl.DataFrame, reason: str, what: str) -> tuple[DroppedRow, ...]:
    return dropped_rows(frame.with_columns(what=pl.lit(what)), reason)


def check_allowance(table: SourceTable, dropped: Sequence[DroppedRow], allowed: int | None) -> None:
    """More rows lost than allowed is an error that names the first and tells the total.

    dropped  rows without a readable file; those left out on the user's word do not count
    """
    if allowed is None or len(dropped) <= allowed:
        return
    first = "; ".join(f"line {row.line}: {row.source} ({row.what})" for row in dropped[:_SHOWN])
    reasons = " and ".join(sorted({row.reason for row in dropped}))
    raise DataError(
        f"{len(dropped)} of {table.n_rows} images are {reasons}",
        f"{table.file}, {first}{'; …' if len(dropped) > _SHOWN else ''}",
        "restore them, delete their rows, or accept the loss with "
        f"--allow-missing {len(dropped)} (or all)",
    )
