"""What decides the bytes of a data set, by part, so that a change can be named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl
import xxhash

from cxr_engine.shards.findings import class_hash
from cxr_engine.shards.manifest import Manifest, label_matrix
from cxr_engine.shards.options import ShardOptions
from cxr_engine.shards.sources import COLUMNS, SourceTable

_SLICE = 16_384  # rows hashed at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Two runs of the same identity write the same bytes; what they put up with is no part of it.

    The order of the rows, their lines and the place of the source folder do not count. Neither
    do the bytes of the pictures: to read them all would be half of the work.
    """

    options: dict[str, Any]  # as the manifest records them
    class_hash: str
    rows: str  # hash of the source's rows without their labels
    labels: str  # hash of the labels
    files: str  # hash of which rows' pictures are there and wanted

    def changes(self, before: Identity) -> list[str]:
        """What is not as `before`; of what follows from another change nothing is said."""
        names = sorted(self.options.keys() | before.options.keys())
        changes = [
            f"option {name} was {before.options.get(name)} and is {self.options.get(name)}"
            for name in names
            if self.options.get(name) != before.options.get(name)
        ]
        if self.class_hash != before.class_hash:
            changes.append("the class list is another one")
        if self.rows != before.rows:
            changes.append("the source's rows are others")
        if not changes and self.labels != before.labels:
            changes.append("the source's labels are others")
        if not changes and self.files != before.files:
            changes.append("other pictures of the source are missing")
        return changes

    def recorded(self) -> dict[str, str]:
        """The parts that the manifest does not have already."""
        return {"rows": self.rows, "labels": self.labels, "files": self.files}

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def identify(table: SourceTable, found: pl.DataFrame, options: ShardOptions) -> Identity:
    """The identity of a run.

    found  the rows to write, with column `source`
    """
    rows = table.frame.sort("source")
    return Identity(
        options={"source": table.name, **asdict(table.policy), **options.recorded()},
        class_hash=class_hash(table.class_names),
        rows=_hash(_lines(_relative(rows.select(name for name in COLUMNS if name != "line")))),
        labels=xxhash.xxh3_128_hexdigest(label_matrix(rows, table.class_names).data),
        files=_hash(_lines(found.select("source").sort("source"))),
    )


def identity_of(manifest: Manifest) -> Identity | None:
    """The identity of a finished data set; None if it was written before there was one."""
    if not manifest.identity:
        return None
    return Identity(options=manifest.options, class_hash=manifest.class_hash, **manifest.identity)


def _relative(rows: pl.DataFrame) -> pl.DataFrame:
    """Paths below the folder that all have in common."""
    ends = [str(path) for path in (rows["path"].min(), rows["path"].max())]
    base = os.path.commonpath(ends)
    return rows.with_columns(pl.col("path").str.slice(len(base)))


def _lines(rows: pl.DataFrame) -> Iterator[bytes]:
    return (part.write_ndjson().encode() for part in rows.iter_slices(_SLICE))


def _hash(parts: Iterator[bytes]) -> str:
    digest = xxhash.xxh3_128()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
