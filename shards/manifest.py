"""manifest.parquet: one row per view, and the class list, options and shards it goes with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from cxr_engine.shards.errors import DataError, IntegrityError
from cxr_engine.shards.findings import LABEL_PREFIX, UNKNOWN, class_hash
from cxr_engine.shards.publish import published

MANIFEST = "manifest.parquet"
FORMAT_VERSION = 1

COLUMNS: dict[str, type[pl.DataType]] = {
    "key": pl.String,
    "patient": pl.String,
    "study": pl.String,
    "view": pl.String,  # frontal | lateral | unknown
    "view_position": pl.String,  # as in the source; null where it says nothing
    "split": pl.String,
    "shard": pl.String,  # file name, beside the manifest
    "member": pl.String,
    "offset": pl.Int64,  # of the picture's first byte in the shard
    "size": pl.Int64,  # bytes
    "xxh3": pl.UInt64,  # xxh3_64 of those bytes
    "height": pl.Int32,
    "width": pl.Int32,
    "source_height": pl.Int32,
    "source_width": pl.Int32,
    "bits": pl.UInt8,  # per pixel of the source: 1, 8 or 16; of a DICOM file BitsStored
    "window": pl.String,  # how the source's values became stored ones
    "source": pl.String,  # id as in the source
}

_META = b"cxr_engine"
_META_HASH = b"cxr_engine.xxh3"
# A manifest is a file from elsewhere: its shard names must not lead out of the folder.
SHARD_NAME = re.compile(r"[a-z0-9_]+-[0-9]{6,}\.tar")


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """One tar file of the data set."""

    name: str
    bytes: int
    xxh3: str  # xxh3_64 of the whole file, hex


@dataclass(frozen=True, slots=True)
class Manifest:
    """A data set as written: its rows in shard order, then member order."""

    folder: Path
    frame: pl.DataFrame
    class_names: tuple[str, ...]
    class_hash: str
    shards: tuple[ShardInfo, ...]
    options: dict[str, Any]
    hash: str  # xxh3_128 of the Parquet file, hex
    renditions: tuple[int, ...] = ()  # sides of the smaller copies that every row has, pixels
    identity: dict[str, str] = field(default_factory=dict)  # hashes of what it was made from


def rendition_columns(sides: Iterable[int]) -> dict[str, type[pl.DataType]]:
    """Where the smaller copies of a picture lie: offset, size and xxh3 as in COLUMNS, per side."""
    names = ("offset", "size", "xxh3")
    return {f"{name}:{side}": COLUMNS[name] for side in sides for name in names}


def write_manifest(
    folder: Path,
    frame: pl.DataFrame,
    class_names: Sequence[str],
    shards: Sequence[ShardInfo],
    options: dict[str, Any],
    *,
    renditions: Sequence[int] = (),
    identity: dict[str, str] | None = None,
) -> Manifest:
    """Write manifest.parquet: the same arguments give the same bytes.

    frame     the columns of COLUMNS, rendition_columns and `label:<finding>` per class; others
              are an error
    identity  hashes of the source, for a rerun to know it by
    """
    schema = _schema(class_names, renditions)
    if set(frame.columns) != set(schema):
        raise ValueError(f"manifest columns differ: {sorted(set(frame.columns) ^ set(schema))}")
    frame = frame.select(pl.col(name).cast(dtype) for name, dtype in schema.items())
    meta = json.dumps(
        {
            "format_version": FORMAT_VERSION,
            "class_names": list(class_names),
            "class_hash": class_hash(class_names),
            "options": options,
            "shards": [asdict(shard) for shard in shards],
            "renditions": list(renditions),
            "identity": identity or {},
        },
        sort_keys=True,
        ensure_ascii=False,
    ).encode()
    # Plain strings and no serialised Arrow schema: DuckDB, pandas and polars read it alike.
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    fields = [
        pa.field(field.name, pa.string() if pa.types.is_large_string(field.type) else field.type)
        for field in table.schema
    ]
    table = table.cast(pa.schema(fields))
    with (
        published(folder / MANIFEST) as file,
        pq.ParquetWriter(
            file,
            table.schema,
            compression="zstd",
            store_schema=False,
            write_page_checksum=True,
        ) as writer,
    ):
        writer.write_table(table, row_group_size=131_072)
        writer.add_key_value_metadata(
            {_META: meta, _META_HASH: xxhash.xxh3_64_hexdigest(meta).encode()}
        )
    return Manifest(
        folder=folder,
        frame=frame,
        class_names=tuple(class_names),
        class_hash=class_hash(class_names),
        shards=tuple(shards),
        options=options,
        hash=_file_hash(folder / MANIFEST),
        renditions=tuple(renditions),
        identity=identity or {},
    )


def read_manifest(
    folder: Path | str,
    columns: Sequence[str] | None = None,
    *,
    labels: bool = False,
    renditions: bool = False,
    check_shards: bool = True,
) -> Manifest:
    """Read and check manifest.parquet and that every shard is there with its size.

    columns     only these; None for all. What a column holds is checked where it is read.
    labels      with `columns`: all label columns too
    renditions  with `columns`: the columns of all renditions too
    check_shards  look for the shards; without, only the manifest itself is read
    """
    folder = Path(folder)
    path = _manifest_path(folder)
    meta = _read_meta(path)
    names = tuple(meta["class_names"])
    sides = tuple(meta["renditions"])
    if columns is not None:
        columns = [
            *columns,
            *(LABEL_PREFIX + name for name in names if labels),
            *(rendition_columns(sides) if renditions else ()),
        ]
    manifest = Manifest(
        folder=folder,
        frame=_read_frame(path, _schema(names, sides), columns),
        class_names=names,
        class_hash=meta["class_hash"],
        shards=tuple(ShardInfo(**shard) for shard in meta["shards"]),
        options=meta["options"],
        hash=_file_hash(path),
        renditions=sides,
        identity=meta.get("identity", {}),
    )
    if check_shards:
        _check_shards(manifest)
    _check_names(manifest)
    return manifest


def label_matrix(frame: pl.DataFrame, class_names: Sequence[str]) -> NDArray[np.int8]:
    """Labels as (N, C) int8, C-contiguous: 1, 0, or UNKNOWN (-1) where the table holds null."""
    labels_NC = np.empty((frame.height, len(class_names)), np.int8)
    for c, name in enumerate(class_names):
        labels_NC[:, c] = frame[LABEL_PREFIX + name].fill_null(UNKNOWN).to_numpy()
    return labels_NC


def _manifest_path(folder: Path) -> Path:
    path = folder / MANIFEST
    if path.is_file():
        return path
    remedy = "name the folder that `cxr-engine shard` wrote"
    if not folder.is_dir():
        raise DataError("no such folder of shards", str(folder), remedy)
    if any(folder.glob("*.tar")) or any(folder.glob("*.partial")):
        raise DataError(
            "shards without a manifest: the run that wrote them did not finish",
            str(folder),
            "give the same `cxr-engine shard` command again: it continues",
        )
    raise DataError(f"no {MANIFEST}", str(folder), remedy)


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, f"the footer is not readable ({error})") from error
    if _META not in metadata:
        raise DataError(
            "a Parquet file that cxr-engine did not write",
            str(path),
            "name the folder that `cxr-engine shard` wrote",
        )
    blob = metadata[_META]
    if xxhash.xxh3_64_hexdigest(blob).encode() != metadata.get(_META_HASH):
        raise _damaged(path, "class list, options and shards do not match their hash")
    meta: dict[str, Any] = json.loads(blob)
    version = meta.get("format_version")
    if version != FORMAT_VERSION:
        raise DataError(
            f"manifest of format version {version}; this cxr-engine reads {FORMAT_VERSION}",
            str(path),
            "install the version of cxr-engine that wrote it, or make the shards again",
        )
    if class_hash(meta["class_names"]) != meta["class_hash"]:
        raise _damaged(path, "the class list does not match its hash")
    for shard in meta["shards"]:
        if not SHARD_NAME.fullmatch(shard["name"]):
            raise _damaged(path, f"{shard['name']!r} is not the name of a shard")
    return meta


def _schema(names: Sequence[str], renditions: Sequence[int]) -> dict[str, type[pl.DataType]]:
    labels = {LABEL_PREFIX + name: pl.Int8 for name in names}
    return COLUMNS | rendition_columns(renditions) | labels


def _read_frame(
    path: Path, schema: dict[str, type[pl.DataType]], columns: Sequence[str] | None
) -> pl.DataFrame:
    wanted = list(schema) if columns is None else list(columns)
    if unknown := [name for name in wanted if name not in schema]:
        raise ValueError(f"the manifest has no column {unknown[0]!r}; it has {', '.join(schema)}")
    try:
        # mmap would turn a file cut under our feet into a bus error.
        table = pq.read_table(
            path, columns=wanted, memory_map=False, page_checksum_verification=True
        )
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error
    frame = pl.DataFrame(table)
    for name in wanted:
        if frame.schema.get(name) != schema[name]:
            raise _damaged(path, f"column {name!r} is missing or of another type")
    return frame.select(wanted)


def _check_shards(manifest: Manifest) -> None:
    remedy = "restore the files, or make the shards again"
    sizes = {shard.name: shard.bytes for shard in manifest.shards}
    wrong = []
    for name, expected in sizes.items():
        path = manifest.folder / name
        found = path.stat().st_size if path.is_file() else None
        if found != expected:
            state = "missing" if found is None else f"{found} bytes instead of {expected}"
            wrong.append(f"{name}: {state}")
    if wrong:
        raise IntegrityError(
            f"{len(wrong)} of {len(sizes)} shards are not as written",
            f"{manifest.folder}: {'; '.join(wrong[:3])}{' …' if len(wrong) > 3 else ''}",
            remedy,
        )


def _check_names(manifest: Manifest) -> None:
    if "shard" in manifest.frame.columns:
        listed = {shard.name for shard in manifest.shards}
        strangers = set(manifest.frame["shard"].unique()) - listed
        if strangers:
            raise _damaged(manifest.folder / MANIFEST, f"rows of unlisted shard {min(strangers)}")


def _file_hash(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _damaged(path: Path, what: str) -> IntegrityError:
    return IntegrityError(
        f"the manifest is damaged: {what}",
        str(path),
        "restore the file from a copy, or make the shards again",
    )
