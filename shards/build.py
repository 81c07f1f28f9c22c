"""The run: rows of a source -> shards, report, manifest; what is finished outlives a failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from cxr_engine.shards.account import LOST, make_report, unreadable_rows, written_rows
from cxr_engine.shards.audit import audit_shards
from cxr_engine.shards.duplicates import FACTS, find_duplicates, refuse_duplicates
from cxr_engine.shards.errors import DataError, ResourceError, Stopped
from cxr_engine.shards.executor import run_shards
from cxr_engine.shards.findings import LABEL_PREFIX, class_hash
from cxr_engine.shards.identity import Identity, identify
from cxr_engine.shards.journal import JOURNAL, Journal
from cxr_engine.shards.layout import ShardPlan
from cxr_engine.shards.lock import LOCK, locked
from cxr_engine.shards.manifest import MANIFEST, ShardInfo, write_manifest
from cxr_engine.shards.options import ShardOptions
from cxr_engine.shards.preflight import Prepared, check_allowance, check_out, prepare
from cxr_engine.shards.processors import available_processors
from cxr_engine.shards.publish import make_folder, remove
from cxr_engine.shards.report import Report, read_report, write_report
from cxr_engine.shards.resume import broken_shards, clear_leftovers, kept_shards
from cxr_engine.shards.sources import SourceTable
from cxr_engine.shards.system import SYSTEM
from cxr_engine.shards.writer import Sample, ShardResult, ShardTask


def build_shards(
    table: SourceTable,
    out: Path,
    options: ShardOptions,
    on_progress: Callable[[str, int, int, int], None] | None = None,
    *,
    on_note: Callable[[str], None] | None = None,
    is_stopping: Callable[[], bool] | None = None,
    break_lock: bool = False,
) -> Report:
    """Write the data set into `out`, and account for every row.

    on_progress  called now and then with what is done, how many, of how many, and the bytes
                 read for them
    on_note      called with what a user wants to know of an earlier run in `out`
    is_stopping  asked before each shard; once it says so, the run is Stopped
    break_lock   take the place of a writer on another host that is known to be gone

    The manifest is written last. If anything fails, finished shards stay with their journal, and
    the same call goes on from there; of a data set that is finished, it mends broken shards.
    """
    with _writing(out):
        check_out(out)
    prepared = prepare(table, options)
    on_note = on_note or (lambda _: None)
    with _writing(out), _made(out), locked(out, on_note, break_lock=break_lock):
        check_out(out)  # once more: another run may have been here meanwhile
        run = _Run(
            table=table,
            prepared=prepared,
            identity=identify(table, prepared.frame, options),
            out=out,
            options=options,
            jobs=options.jobs or available_processors(),
            on_progress=on_progress or (lambda *_: None),
            on_note=on_note,
            is_stopping=is_stopping or (lambda: False),
        )
        return run.mend() if (out / MANIFEST).exists() else run.write()


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """What the system refuses is an error of three lines."""
    try:
        yield
    except OSError as error:
        raise ResourceError(
            f"the output cannot be written: {error.strerror}",
            str(out),
            "free some space on the disk, or choose a folder that you may write to; the same "
            "command then continues",
        ) from error


@contextmanager
def _made(out: Path) -> Iterator[None]:
    """The folder is there; if it was made for nothing, it goes."""
    existed = out.exists()
    try:
        make_folder(out)
        yield
    finally:
        if not existed:
            # Only if it is empty: finished shards stay, and what somebody else put there.
            with suppress(OSError):
                SYSTEM.rmdir(out)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """One call of `build_shards`, alone in its folder."""

    table: SourceTable
    prepared: Prepared
    identity: Identity
    out: Path
    options: ShardOptions
    jobs: int
    on_progress: Callable[[str, int, int, int], None]
    on_note: Callable[[str], None]
    is_stopping: Callable[[], bool]

    def write(self) -> Report:
        """Go on with what is there, or begin."""
        plans = self.prepared.plans
        kept = self._kept()
        clear_leftovers(self.out, plans)
        with Journal(self.out, self.identity, plans, list(kept.values())) as journal:
            try:
                done = kept | self._run([p for p in plans if p.name not in kept], journal.add, kept)
                report = self._finish([done[plan.name] for plan in plans])
            except BaseException:
                with suppress(OSError):
                    if set(SYSTEM.listdir(self.out)) <= {JOURNAL, LOCK}:
                        journal.remove()  # it speaks of nothing
                raise
            journal.remove()
        return report

    def mend(self) -> Report:
        """Write those shards of a finished data set again that are not as they were written."""
        read = {"shards": 0, "bytes": 0}

        def tick(shard: ShardInfo) -> None:
            read["shards"] += 1
            read["bytes"] += shard.bytes
            self.on_progress("checked", read["shards"], len(self.prepared.plans), read["bytes"])

        broken = {shard.name: shard for shard in broken_shards(self.out, self.identity, tick)}
        plans = [plan for plan in self.prepared.plans if plan.name in broken]
        clear_leftovers(self.out, plans)
        remove(self.out / JOURNAL)
        if not broken:
            self.on_note(f"{self.out} is complete already, and every shard has its hash")
        else:
            self._run(plans, lambda _: None, {}, {name: s.xxh3 for name, s in broken.items()})
            self.on_note(f"written again: {', '.join(sorted(broken))}")
        return read_report(self.out)

    def _kept(self) -> dict[str, ShardResult]:
        plans = self.prepared.plans
        n_samples = n_bytes = 0

        def tick(shard: ShardResult) -> None:
            nonlocal n_samples, n_bytes
            n_samples += len(shard.members) + len(shard.dropped)
            n_bytes += shard.bytes
            self.on_progress("found finished", n_samples, self.prepared.frame.height, n_bytes)

        kept = kept_shards(self.out, self.identity, plans, self._tasks(plans), tick)
        if kept:
            self.on_note(f"continuing: {len(kept)} of {len(plans)} shards are finished already")
        return {shard.name: shard for shard in kept}

    def _tasks(self, plans: Sequence[ShardPlan]) -> Iterator[ShardTask]:
        return shard_tasks(self.table, self.prepared.frame, plans, self.out, self.options)

    def _run(
        self,
        plans: Sequence[ShardPlan],
        on_done: Callable[[ShardResult], None],
        kept: dict[str, ShardResult],
        xxh3: dict[str, str] | None = None,
    ) -> dict[str, ShardResult]:
        """Write these shards, all or those before the stop.

        xxh3  what their files must come out as
        """
        before = sum(len(shard.members) + len(shard.dropped) for shard in kept.values())
        total = before + sum(len(plan.rows) for plan in plans)
        expected = xxh3 or {}
        results = run_shards(
            (replace(task, xxh3=expected.get(task.name)) for task in self._tasks(plans)),
            self.jobs,
            on_done,
            lambda done, n_bytes: self.on_progress("sharded", before + done, total, n_bytes),
            self.is_stopping,
        )
        if len(results) < len(plans):
            n_done, n_all = len(kept) + len(results), len(kept) + len(plans)
            raise Stopped(
                f"stopped as asked: {n_done} of {n_all} shards are finished",
                str(self.out),
                "give the same command again, and it continues",
            )
        return {shard.name: shard for shard in results}

    def _finish(self, results: Sequence[ShardResult]) -> Report:
        """With all shards on disk: check the whole, then write report and manifest."""
        table, options, frame = self.table, self.options, self.prepared.frame
        dropped = sorted(
            (*self.prepared.dropped, *unreadable_rows(frame, results)),
            key=lambda row: (row.line, row.source, row.reason),
        )
        lost = [row for row in dropped if row.reason in LOST]
        check_allowance(table, lost, options.allow_missing)
        if not any(shard.members for shard in results):
            raise DataError("no image is left to write", str(table.file), "check the images")
        written = written_rows(frame, results, options.renditions)
        duplicates = find_duplicates(written)
        if not options.allow_duplicates:
            refuse_duplicates(duplicates, table.file)
        if options.audit:
            audit_shards(
                self.out,
                written,
                options.renditions,
                self.jobs,
                lambda done, size: self.on_progress("audited", done, written.height, size),
            )
        shards = [
            ShardInfo(shard.name, shard.bytes, shard.xxh3) for shard in results if shard.members
        ]
        report = make_report(
            table,
            written,
            dropped=dropped,
            shards=shards,
            duplicates=duplicates,
            options=self.identity.options,
        )
        write_report(self.out, report)
        write_manifest(
            self.out,
            written.drop("line", "warning", *FACTS),
            table.class_names,
            shards,
            self.identity.options,
            renditions=options.renditions,
            identity=self.identity.recorded(),
        )
        return report


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
