"""A sharding run, or a dry run, on the screen: notes, progress, and the account."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from cxr_engine.trainer.cli.progress import Reporter

if TYPE_CHECKING:
    from cxr_engine.shards import Report, ShardOptions, SourceTable
    from cxr_engine.shards.estimate import Estimate


def build_with_progress(
    table: SourceTable,
    out: Path,
    options: ShardOptions,
    reporter: Reporter,
    *,
    break_lock: bool = False,
) -> Report:
    """`build_shards`, with what was guessed, how far it is and what is odd on stderr.

    The first Ctrl-C or SIGTERM lets it finish the shard in hand, the second Ctrl-C stops it.
    """
    from cxr_engine.shards import build_shards

    for note in table.notes:
        reporter.talk(note)
    with _stop_on_request(reporter) as is_stopping:
        report = build_shards(
            table,
            out,
            options,
            _ticker(reporter),
            on_note=reporter.talk,
            is_stopping=is_stopping,
            break_lock=break_lock,
        )
    for note in report.notes:
        if note not in table.notes:
            reporter.talk(note)
    return report


def estimate_with_progress(
    table: SourceTable, out: Path, options: ShardOptions, reporter: Reporter
) -> Estimate:
    """`estimate_shards`, with what was guessed and how far it is on stderr."""
    from cxr_engine.shards.estimate import estimate_shards

    for note in table.notes:
        reporter.talk(note)
    return estimate_shards(table, out, options, _ticker(reporter))


def report_lines(report: Report, out: Path) -> list[str]:
    """Where the rows went, what the splits hold, and what was written."""
    lines = _rows(report.rows_read, report.dropped, report.rows_written, "written")
    lines += ["", *_splits(report.splits), ""]
    near = report.duplicates["near"]["pairs"]
    if near:
        lines.append(f"{near:,} pairs of different patients look alike, see report.json")
    if report.dropped_rows:
        lines.append(f"every dropped row is in {out / 'dropped.csv'}")
    lines.append(
        f"{len(report.classes)} classes, {report.shards} shards, {report.bytes / 1e6:.1f} MB in {out}"
    )
    return lines


def estimate_lines(estimate: Estimate) -> list[str]:
    """What a run would do."""
    lines = _rows(estimate.rows_read, estimate.dropped, estimate.rows_to_write, "to write")
    lines += ["", *_splits(estimate.splits), ""]
    if estimate.unreadable:
        lines.append(f"{estimate.unreadable} of {estimate.sampled} sampled images are unreadable")
    room = f"{estimate.shards} shards, {_size(estimate.free_bytes)} free"
    return [
        *lines,
        f"estimated from {estimate.sampled} images; nothing was written",
        f"read   {_size(estimate.source_bytes)}",
        f"write  {_size(estimate.shard_bytes)} in {room}",
        f"time   {_duration(estimate.seconds)} on {estimate.jobs} processes",
    ]


@contextmanager
def _stop_on_request(reporter: Reporter) -> Iterator[Callable[[], bool]]:
    """Signals set what is returned, instead of ending the process, while the block runs."""
    asked = False

    def ask(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True
        reporter.talk("stopping after the shard in hand; Ctrl-C once more stops at once")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ticker(reporter: Reporter) -> Callable[[str, int, int, int], None]:
    return lambda what, done, total, n_bytes: reporter.tick(
        done, total, f"pictures {what}", n_bytes
    )


def _rows(read: int, dropped: dict[str, int], kept: int, word: str) -> list[str]:
    rows = [("rows read", read)]
    rows += [(f"  {reason}", -count) for reason, count in sorted(dropped.items()) if count]
    rows.append((f"rows {word}", kept))
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {count:>11,}" for name, count in rows]


def _splits(splits: dict[str, dict[str, int]]) -> list[str]:
    names = ("patients", "studies", "views")
    head = f"{'split':<5}" + "".join(f"{name:>11}" for name in names)
    return [head] + [
        f"{split:<5}" + "".join(f"{counts[name]:>11,}" for name in names)
        for split, counts in splits.items()
    ]


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 2:
        return f"about {hours:.1f} hours"
    return f"about {minutes:.0f} minutes" if minutes >= 2 else f"about {seconds:.0f} seconds"
