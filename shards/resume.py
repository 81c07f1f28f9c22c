"""What an earlier run left in the output folder: which shards stand, and which are to be written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import xxhash

from cxr_engine.shards.errors import DataError
from cxr_engine.shards.identity import Identity, identity_of
from cxr_engine.shards.journal import JOURNAL, read_journal, to_result
from cxr_engine.shards.layout import ShardPlan
from cxr_engine.shards.manifest import MANIFEST, ShardInfo, read_manifest
from cxr_engine.shards.preflight import refuse_changes
from cxr_engine.shards.publish import PARTIAL, remove
from cxr_engine.shards.report import DROPPED, REPORT
from cxr_engine.shards.system import SYSTEM
from cxr_engine.shards.writer import Dropped, ShardResult, ShardTask, convert

_PART = 1 << 20  # bytes read at a time


def clear_leftovers(out: Path, plans: Iterable[ShardPlan]) -> None:
    """Remove what a killed run left half written, and its account if there is no manifest yet."""
    names = [plan.name for plan in plans]
    there = set(SYSTEM.listdir(out))
    gone = {f"{name}{PARTIAL}" for name in (*names, JOURNAL, REPORT, DROPPED, MANIFEST)}
    if MANIFEST not in there:
        gone |= {REPORT, DROPPED}
    for name in sorted(gone & there):
        remove(out / name)


def kept_shards(
    out: Path,
    identity: Identity,
    plans: Sequence[ShardPlan],
    tasks: Iterable[ShardTask],
    on_shard: Callable[[ShardResult], None],
) -> list[ShardResult]:
    """The shards that a journal calls finished and that are on disk as it says.

    tasks     of all plans, in their order
    on_shard  called for each shard that is kept

    A shard in which a picture was unreadable that can be read now is not kept: somebody has
    mended the source.
    """
    found = read_journal(out)
    if found is None:
        return []
    before, entries = found
    refuse_changes(identity.changes(before), "an unfinished run of another command", out)
    kept = []
    for plan, task in zip(plans, tasks, strict=True):
        if plan.name not in entries:
            continue
        shard = to_result(entries[plan.name], plan.rows)
        if _is_as_written(out, shard) and not _is_mended(shard, task):
            kept.append(shard)
            on_shard(shard)
    return kept


def broken_shards(
    out: Path, identity: Identity, on_shard: Callable[[ShardInfo], None]
) -> list[ShardInfo]:
    """Of a finished data set, the shards that are not as the manifest says.

    on_shard  called for each shard once it was read
    """
    manifest = read_manifest(out, (), check_shards=False)
    before = identity_of(manifest)
    if before is None:
        raise DataError(
            "the output folder holds a finished data set that does not say what it was made from",
            str(out / MANIFEST),
            "name another folder, or delete this one",
        )
    refuse_changes(identity.changes(before), "a finished data set of another command", out)
    broken = []
    for shard in manifest.shards:
        if not _has_hash(out / shard.name, shard.bytes, shard.xxh3):
            broken.append(shard)
        on_shard(shard)
    return broken


def _is_as_written(out: Path, shard: ShardResult) -> bool:
    path = out / shard.name
    return _has_hash(path, shard.bytes, shard.xxh3) if shard.members else not path.exists()


def _has_hash(path: Path, size: int, xxh3: str) -> bool:
    try:
        if SYSTEM.stat(path).st_size != size:
            return False
    except FileNotFoundError:
        return False
    digest = xxhash.xxh3_64()
    with path.open("rb") as file:
        while part := file.read(_PART):
            digest.update(part)
    return digest.hexdigest() == xxh3


def _is_mended(shard: ShardResult, task: ShardTask) -> bool:
    dropped = {drop.row for drop in shard.dropped}
    return any(
        not isinstance(convert(sample, task.image), Dropped)
        for sample in task.samples
        if sample.row in dropped
    )
