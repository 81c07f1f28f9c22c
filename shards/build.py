"""The run: rows of a source -> shards, report, manifest; all of it or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import polars as pl

from cxr_engine.shards.audit import audit_shards
from cxr_engine.shards.duplicates import FACTS, Duplicates, find_duplicates, refuse_duplicates
from cxr_engine.shards.errors import DataError, ResourceError
from cxr_engine.shards.executor import run_shards
from cxr_engine.shards.findings import LABEL_PREFIX, class_hash
from cxr_engine.shards.layout import ShardPlan
from cxr_engine.shards.manifest import (
    COLUMNS,
    MANIFEST,
    ShardInfo,
    rendition_columns,
    write_manifest,
)
from cxr_engine.shards.options import ShardOptions
from cxr_engine.shards.preflight import check_allowance, check_out, prepare
from cxr_engine.shards.processors import available_processors
from cxr_engine.shards.publish import PARTIAL
from cxr_engine.shards.report import (
    DROPPED,
    REPORT,
    Report,
    count_classes,
    count_prevalence,
    count_splits,
    label_notes,
    write_report,
)
from cxr_engine.shards.sources import DroppedRow, SourceTable
from cxr_engine.shards.views import VIEWS
from cxr_engine.shards.writer import Sample, ShardResult, ShardTask

_LOST = ("missing", "unreadable")  # reasons that are nobody's wish; always in the account


def build_shards(
    table: SourceTable,
    out: Path,
    options: ShardOptions,
    on_progress: Callable[[str, int, int, int], None] | None = None,
) -> Report:
    """Write the data set into `out`, which must be absent or empty, and account for every row.

    on_progress  called now and then with what is done, how many, of how many, and the bytes
                 read for them

    The manifest is written last. If anything fails, what this run wrote is removed.
    """
    on_progress = on_progress or (lambda *_: None)
    check_out(out)
    prepared = prepare(table, options)
    frame, plans = prepared.frame, prepared.plans
    jobs = options.jobs or available_processors()
    with _all_or_nothing(out, [plan.name for plan in plans]):
        results = run_shards(
            shard_tasks(table, frame, plans, out, options),
            jobs,
            on_samples=lambda done, n_bytes: on_progress("sharded", done, frame.height, n_bytes),
        )
        dropped = sorted(
            (*prepared.dropped, *_unreadable(frame, results)),
            key=lambda row: (row.line, row.source, row.reason),
        )
        lost = [row for row in dropped if row.reason in _LOST]
        check_allowance(table, lost, options.allow_missing)
        if not any(shard.members for shard in results):
            raise DataError("no image is left to write", str(table.file), "check the images")
        written = _written(frame, results, options)
        duplicates = find_duplicates(written)
        if not options.allow_duplicates:
            refuse_duplicates(duplicates, table.file)
        if options.audit:
            audit_shards(
                out,
                written,
                options.renditions,
                jobs,
                lambda done, n_bytes: on_progress("audited", done, written.height, n_bytes),
            )
        shards = [
            ShardInfo(shard.name, shard.bytes, shard.xxh3) for shard in results if shard.members
        ]
        report = _account(
            table,
            written,
            dropped=dropped,
            shards=shards,
            duplicates=duplicates,
            options=options,
        )
        write_report(out, report)
        write_manifest(
            out,
            written.drop("line", "warning", *FACTS),
            table.class_names,
            shards,
            report.options,
            renditions=options.renditions,
        )
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
            for name in (*shards, REPORT, DROPPED, MANIFEST):
                (out / name).unlink(missing_ok=True)
                (out / f"{name}{PARTIAL}").unlink(missing_ok=True)
            if not existed:
                # Whatever somebody else put there meanwhile is not ours to delete.
                with suppress(OSError):
                    out.rmdir()


def shard_tasks(
    table: SourceTable,
    frame: pl.DataFrame,
    plans: Sequence[ShardPlan],
    out: Path,
    options: ShardOptions,
) -> Iterator[ShardTask]:
    """Tasks one at a time: the rows of all shards as Python objects would fill the memory."""
    labels = [LABEL_PREFIX + name for name in table.class_names]
    digest = class_hash(table.class_names)
    image = options.image()
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
            image=image,
        )


def _unreadable(frame: pl.DataFrame, results: Sequence[ShardResult]) -> list[DroppedRow]:
    drops = sorted((drop for shard in results for drop in shard.dropped), key=lambda drop: drop.row)
    found = frame[[drop.row for drop in drops]].select("line", "source")
    return [
        DroppedRow(line, source, drop.reason, drop.what)
        for drop, (line, source) in zip(drops, found.iter_rows(), strict=True)
    ]


def _written(
    frame: pl.DataFrame, results: Sequence[ShardResult], options: ShardOptions
) -> pl.DataFrame:
    """The manifest's rows: what the source says and where the shard has it.

    Beside them `line`, `warning` and the facts that duplicates are found by.
    """
    placed = pl.concat(_placed(shard, options.renditions) for shard in results if shard.members)
    return pl.concat(
        [frame[placed["row"]].drop("path", "bits_stored"), placed.drop("row")],
        how="horizontal",
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


def _account(
    table: SourceTable,
    written: pl.DataFrame,
    *,
    dropped: Sequence[DroppedRow],
    shards: Sequence[ShardInfo],
    duplicates: Duplicates,
    options: ShardOptions,
) -> Report:
    classes = count_classes(written, table.class_names)
    splits = count_splits(written)
    odd = written.filter(pl.col("warning").is_not_null()).sort("key")
    return Report(
        source=table.name,
        rows_read=table.n_rows,
        rows_written=written.height,
        dropped=dict.fromkeys(_LOST, 0) | Counter(row.reason for row in dropped),
        dropped_rows=tuple(dropped),
        shards=len(shards),
        bytes=sum(shard.bytes for shard in shards),
        splits=splits,
        views={view: int((written["view"] == view).sum()) for view in VIEWS},
        classes=classes,
        prevalence=count_prevalence(classes),
        duplicates=duplicates.to_dict(),
        warnings=tuple(odd.select("key", "warning").iter_rows()),
        options={"source": table.name, **asdict(table.policy), **options.recorded()},
        notes=(
            *table.notes,
            *label_notes(splits, classes),
            *duplicates.notes,
            *_warning_notes(odd),
        ),
    )


def _warning_notes(odd: pl.DataFrame) -> list[str]:
    if odd.is_empty():
        return []
    key, warning = odd.select("key", "warning").row(0)
    return [f"{odd.height} pictures to look at, listed in {REPORT}, such as {key}: {warning}"]
