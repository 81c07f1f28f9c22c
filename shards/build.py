"""The run: rows of a source -> shards, report, manifest; all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from cxr_engine.shards.errors import DataError, ResourceError, UsageError
from cxr_engine.shards.executor import run_shards
from cxr_engine.shards.findings import LABEL_PREFIX, class_hash
from cxr_engine.shards.image import Fit, ImageOptions
from cxr_engine.shards.layout import ShardPlan, make_keys, plan_shards
from cxr_engine.shards.manifest import MANIFEST, ShardInfo, write_manifest
from cxr_engine.shards.preflight import check_allowance, check_out, check_rows, drop_missing
from cxr_engine.shards.processors import available_processors
from cxr_engine.shards.publish import PARTIAL
from cxr_engine.shards.report import (
    REPORT,
    DroppedRow,
    Report,
    count_classes,
    count_splits,
    empty_notes,
    write_report,
)
from cxr_engine.shards.sources import SourceTable
from cxr_engine.shards.split import assign_splits
from cxr_engine.shards.views import VIEWS
from cxr_engine.shards.writer import Sample, ShardResult, ShardTask


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardOptions:
    """How images are stored and rows are split."""

    size: int = 576  # pixels, square
    quality: int = 95  # JPEG, 1–100
    fit: Fit = "squash"
    val_fraction: float = 0.2  # of the patients without an official split
    seed: int = 0
    shard_samples: int = 1000
    jobs: int | None = None  # processes; None = CPUs available
    allow_missing: int = 0  # rows that may be missing or unreadable

    def __post_init__(self) -> None:
        checks = {
            "size": 16 <= self.size <= 8192,
            "quality": 1 <= self.quality <= 100,
            "fit": self.fit in ("squash", "pad"),
            "val_fraction": 0.0 <= self.val_fraction < 1.0,
            "shard_samples": 1 <= self.shard_samples <= 100_000,
            "jobs": self.jobs is None or self.jobs >= 1,
            "allow_missing": self.allow_missing >= 0,
        }
        for name, holds in checks.items():
            if not holds:
                raise UsageError(
                    f"{name} cannot be {getattr(self, name)!r}",
                    f"--{name.replace('_', '-')}",
                    "see cxr-engine shard --help for what it may be",
                )


def build_shards(
    table: SourceTable,
    out: Path,
    options: ShardOptions,
    on_progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Write the data set into `out`, which must be absent or empty, and account for every row.

    on_progress  called now and then with the samples done and their total

    The manifest is written last. If anything fails, what this run wrote is removed.
    """
    check_out(out)
    check_rows(table)
    frame = assign_splits(table.frame, options.val_fraction, options.seed)
    # Keys come from all rows: they stay the same when a missing image turns up later.
    frame = frame.with_columns(key=pl.Series(make_keys(frame["source"].to_list()), dtype=pl.String))
    frame, dropped = drop_missing(table, frame, options.allow_missing)
    plans = plan_shards(frame, options.seed, options.shard_samples)
    with _all_or_nothing(out, [plan.name for plan in plans]):
        results = run_shards(
            _tasks(table, frame, plans, out, options),
            min(options.jobs or available_processors(), len(plans)),
            on_samples=lambda done: on_progress(done, frame.height) if on_progress else None,
        )
        dropped += _unreadable(frame, results)
        check_allowance(table, dropped, table.frame.height, options.allow_missing)
        if len(dropped) == table.frame.height:
            raise DataError("no image is left to write", str(table.file), "check the images")
        written = _written(frame, results)
        report = _account(table, written, results, dropped, options)
        write_report(out, report)
        shards = [
            ShardInfo(shard.name, shard.bytes, shard.xxh3) for shard in results if shard.members
        ]
        write_manifest(out, written, table.class_names, shards, report.options)
    return report


@contextmanager
def _all_or_nothing(out: Path, shards: Sequence[str]) -> Iterator[None]:
    existed = out.exists()
    complete = False
    try:
        out.mkdir(parents=True, exist_ok=True)
        yield
        complete = True
    except OSError as error:
        raise ResourceError(
            f"the output cannot be written: {error.strerror}",
            str(out),
            "free some space on the disk, or choose a folder that you may write to",
        ) from error
    finally:
        if not complete and out.is_dir():
            for name in (*shards, REPORT, MANIFEST):
                (out / name).unlink(missing_ok=True)
                (out / f"{name}{PARTIAL}").unlink(missing_ok=True)
            if not existed:
                # Whatever somebody else put there meanwhile is not ours to delete.
                with suppress(OSError):
                    out.rmdir()


def _tasks(
    table: SourceTable,
    frame: pl.DataFrame,
    plans: Sequence[ShardPlan],
    out: Path,
    options: ShardOptions,
) -> Iterator[ShardTask]:
    """Tasks one at a time: the rows of all shards as Python objects would fill the memory."""
    labels = [LABEL_PREFIX + name for name in table.class_names]
    digest = class_hash(table.class_names)
    for plan in plans:
        rows = frame[list(plan.rows)]
        facts = rows.select(
            "key", "path", "patient", "study", "view", "view_position", "split", "bits_stored"
        ).iter_rows(named=True)
        samples = tuple(
            Sample(row=row, labels=label, **fact)
            for row, label, fact in zip(
                plan.rows, rows.select(labels).iter_rows(), facts, strict=True
            )
        )
        yield ShardTask(
            folder=str(out),
            name=plan.name,
            samples=samples,
            class_names=table.class_names,
            class_hash=digest,
            image=ImageOptions(size=options.size, quality=options.quality, fit=options.fit),
        )


def _unreadable(frame: pl.DataFrame, results: Sequence[ShardResult]) -> list[DroppedRow]:
    drops = sorted((drop for shard in results for drop in shard.dropped), key=lambda drop: drop.row)
    found = frame[[drop.row for drop in drops]].select("line", "source")
    return [
        DroppedRow(line, source, drop.reason, drop.what)
        for drop, (line, source) in zip(drops, found.iter_rows(), strict=True)
    ]


def _written(frame: pl.DataFrame, results: Sequence[ShardResult]) -> pl.DataFrame:
    """The manifest's rows: what the source says and where the shard has it."""
    members = [
        {"shard": shard.name} | asdict(member) for shard in results for member in shard.members
    ]
    placed = pl.DataFrame(members, schema_overrides={"xxh3": pl.UInt64})
    return pl.concat(
        [frame[placed["row"]].drop("path", "line", "bits_stored"), placed.drop("row")], how="horizontal"
    )


def _account(
    table: SourceTable,
    written: pl.DataFrame,
    results: Sequence[ShardResult],
    dropped: Sequence[DroppedRow],
    options: ShardOptions,
) -> Report:
    # Neither the number of processes nor the allowance changes what is written.
    settings: dict[str, Any] = asdict(options)
    del settings["jobs"], settings["allow_missing"]
    classes = count_classes(written, table.class_names)
    splits = count_splits(written)
    return Report(
        source=table.name,
        rows_read=table.frame.height,
        rows_written=written.height,
        dropped={
            reason: sum(row.reason == reason for row in dropped)
            for reason in ("missing", "unreadable")
        },
        dropped_rows=tuple(dropped),
        shards=sum(bool(shard.members) for shard in results),
        bytes=sum(shard.bytes for shard in results if shard.members),
        splits=splits,
        views={view: int((written["view"] == view).sum()) for view in VIEWS},
        classes=classes,
        options={"source": table.name, **settings},
        notes=(*table.notes, *empty_notes(splits, classes)),
    )
