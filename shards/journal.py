"""The finished shards of a run that is under way: what a rerun need not do again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, Self

import xxhash

from cxr_engine.shards.errors import DataError
from cxr_engine.shards.identity import Identity
from cxr_engine.shards.layout import ShardPlan
from cxr_engine.shards.publish import published, remove, sync_folder
from cxr_engine.shards.system import SYSTEM
from cxr_engine.shards.writer import Dropped, Member, Rendition, ShardResult

JOURNAL = "journal.jsonl"
_VERSION = 1
_HASH = slice(2, 18)  # of a line: ["0123456789abcdef",{…}]
_TEXT = slice(20, -1)


class Journal:
    """A line on what decides the bytes, then a line per finished shard, each with its hash.

    A line is on disk before the next shard is begun. Rows are written as places in their shard:
    in a table sorted anew they have other numbers.
    """

    def __init__(
        self,
        folder: Path,
        identity: Identity,
        plans: Sequence[ShardPlan],
        kept: Sequence[ShardResult],
    ) -> None:
        """Begin anew, with what is kept of an earlier journal in place of it."""
        self._path = folder / JOURNAL
        self._rows = {plan.name: plan.rows for plan in plans}
        with published(self._path) as file:
            file.write(_line({"version": _VERSION, **identity.to_dict()}))
            for shard in kept:
                file.write(_line(self._entry(shard)))
        self._descriptor = SYSTEM.open(self._path, os.O_WRONLY | os.O_APPEND)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def add(self, shard: ShardResult) -> None:
        """Say that the shard is finished; it must be on disk."""
        line = memoryview(_line(self._entry(shard)))
        while line:
            line = line[SYSTEM.write(self._descriptor, line) :]
        SYSTEM.fsync(self._descriptor)

    def remove(self) -> None:
        """Take it away: the manifest says it all, or there is nothing to say."""
        remove(self._path)
        sync_folder(self._path.parent)

    def _entry(self, shard: ShardResult) -> dict[str, Any]:
        place = {row: number for number, row in enumerate(self._rows[shard.name])}
        return {
            "name": shard.name,
            "bytes": shard.bytes,
            "xxh3": shard.xxh3,
            "members": [[place[member.row], *astuple(member)[1:]] for member in shard.members],
            "dropped": [[place[drop.row], drop.reason, drop.what] for drop in shard.dropped],
        }


def read_journal(folder: Path) -> tuple[Identity, dict[str, Any]] | None:
    """What the run that left a journal was to write, and its entries by shard; None without one.

    A line that is not whole, such as the last one of a killed run, is as if it were not there.
    """
    path = folder / JOURNAL
    if not path.exists():
        return None
    lines = path.read_bytes().splitlines()
    header = _content(lines[0]) if lines else None
    if header is None or header.pop("version") != _VERSION:
        raise DataError(
            "the journal of the unfinished run in this folder is damaged, or of another version",
            str(path),
            "delete the folder and run again",
        )
    entries = [entry for line in lines[1:] if (entry := _content(line)) is not None]
    return Identity(**header), {entry["name"]: entry for entry in entries}


def to_result(entry: Mapping[str, Any], rows: Sequence[int]) -> ShardResult:
    """The shard of an entry.

    rows  of the shard's plan
    """
    *_, last = Member.__slots__
    assert last == "warning"  # the order of the fields is that of the entry
    members = []
    for place, *facts in entry["members"]:
        values = dict(zip(Member.__slots__[1:], facts, strict=True))
        values["renditions"] = tuple(Rendition(*copy) for copy in values["renditions"])
        members.append(Member(row=rows[place], **values))
    dropped = tuple(Dropped(rows[place], *why) for place, *why in entry["dropped"])
    return ShardResult(entry["name"], tuple(members), dropped, entry["bytes"], entry["xxh3"])


def _line(content: Mapping[str, Any]) -> bytes:
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()
    return b'["' + xxhash.xxh3_64_hexdigest(text).encode() + b'",' + text + b"]\n"


def _content(line: bytes) -> dict[str, Any] | None:
    text = line[_TEXT]
    if line[_HASH] != xxhash.xxh3_64_hexdigest(text).encode():
        return None
    return json.loads(text)
