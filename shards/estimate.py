"""A dry run: what sharding would write, how long it would take, and whether the disk has room."""

from __future__ import annotations

import shutil
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from cxr_engine.shards.build import shard_tasks
from cxr_engine.shards.errors import DataError, ResourceError
from cxr_engine.shards.layout import ShardPlan
from cxr_engine.shards.options import ShardOptions
from cxr_engine.shards.preflight import check_out, prepare
from cxr_engine.shards.processors import available_processors
from cxr_engine.shards.report import count_splits
from cxr_engine.shards.sources import SourceTable
from cxr_engine.shards.writer import Dropped, convert

_SAMPLED = 200  # files converted
_JSON_BYTES = 250  # of a sample without its labels
_SPARE = 1.05  # manifest and report, and samples smaller than most


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What a run would do, by the rows and by the files sampled."""

    source: str
    rows_read: int
    rows_to_write: int
    dropped: dict[str, int]  # per reason, as known without reading an image
    splits: dict[str, dict[str, int]]  # split -> patients, studies, views
    classes: int
    sampled: int
    unreadable: int  # of the sampled
    source_bytes: int  # of all files to read
    shard_bytes: int  # of all shards
    shards: int
    seconds: float  # on `jobs` processes, with the files as near as the sampled ones were
    jobs: int
    free_bytes: int  # on the disk of the output
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)

    def check_room(self, out: Path) -> None:
        """Too little room for the shards is a ResourceError."""
        needed = int(self.shard_bytes * _SPARE)
        if needed > self.free_bytes:
            raise ResourceError(
                f"about {needed / 1e9:.1f} GB are needed and {self.free_bytes / 1e9:.1f} GB are free",
                str(out),
                "choose another disk, smaller --sizes, a lower --quality, or a --limit",
            )


def estimate_shards(
    table: SourceTable,
    out: Path,
    options: ShardOptions,
    on_progress: Callable[[str, int, int, int], None] | None = None,
) -> Estimate:
    """Do what can be done without writing: check all rows, convert up to 200 files in memory.

    on_progress  as of `build_shards`
    """
    check_out(out)
    prepared = prepare(table, options)
    frame = prepared.frame
    plan = ShardPlan(
        "sample", "train", _spread([row for plan in prepared.plans for row in plan.rows])
    )
    (task,) = shard_tasks(table, frame, [plan], out, options)
    source_bytes, stored_bytes, n_unreadable = 0, 0, 0
    started = perf_counter()
    for number, sample in enumerate(task.samples, 1):
        image = convert(sample, task.image)
        if isinstance(image, Dropped):
            n_unreadable += 1
        else:
            source_bytes += image.source_bytes
            stored_bytes += sum(map(_in_tar, map(len, (image.data, *image.renditions))))
        if on_progress:
            on_progress("sampled", number, len(task.samples), source_bytes)
    seconds = perf_counter() - started
    n_read = len(task.samples) - n_unreadable
    if not n_read:
        raise DataError(
            f"none of {len(task.samples)} sampled images is readable",
            f"{table.file}, such as {task.samples[0].path}",
            "check the images",
        )
    json_bytes = _in_tar(_JSON_BYTES + sum(len(name) + 8 for name in table.class_names))
    jobs = options.jobs or available_processors()
    n_rows = round(frame.height * n_read / len(task.samples))
    return Estimate(
        source=table.name,
        rows_read=table.n_rows,
        rows_to_write=frame.height,
        dropped=dict(Counter(row.reason for row in prepared.dropped)),
        splits=count_splits(frame),
        classes=len(table.class_names),
        sampled=len(task.samples),
        unreadable=n_unreadable,
        source_bytes=round(source_bytes / n_read * n_rows),
        shard_bytes=round((stored_bytes / n_read + json_bytes) * n_rows),
        shards=len(prepared.plans),
        seconds=seconds / len(task.samples) * frame.height / jobs,
        jobs=jobs,
        free_bytes=_free(out),
        notes=table.notes,
    )


def _spread(rows: list[int]) -> tuple[int, ...]:
    """Up to `_SAMPLED` of the rows at equal distances: shards hold patients in mixed order."""
    count = min(_SAMPLED, len(rows))
    return tuple(rows[number * len(rows) // count] for number in range(count))


def _in_tar(n_bytes: int) -> int:
    return tarfile.BLOCKSIZE + -(-n_bytes // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _free(out: Path) -> int:
    """Bytes free where `out` is or would be made."""
    place = out.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
