"""The manifest comes back as written; what was changed since is noticed."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cxr_engine.shards import manifest as module
from cxr_engine.shards.errors import DataError, IntegrityError
from cxr_engine.shards.manifest import (
    COLUMNS,
    MANIFEST,
    Manifest,
    ShardInfo,
    label_matrix,
    read_manifest,
    rendition_columns,
    write_manifest,
)

CLASSES = ("No Finding", "Größe, 'x'")
SHARD = ShardInfo("train-000000.tar", 1000, "0123456789abcdef")


def make_frame(n_rows: int = 50) -> pl.DataFrame:
    frame = pl.DataFrame({"key": [f"k{row}" for row in range(n_rows)]}).with_columns(
        patient=pl.lit("p"),
        study=pl.col("key") + "s",
        view=pl.lit("frontal"),
        view_position=pl.lit(None, pl.String),
        split=pl.lit("train"),
        shard=pl.lit(SHARD.name),
        member=pl.col("key") + ".jpg",
        offset=pl.lit(512),
        size=pl.lit(100),
        xxh3=pl.lit(2**64 - 1, pl.UInt64),
        window=pl.lit("full"),
        source=pl.lit("x/ü.png"),
    )
    numbers = [pl.lit(8).alias(name) for name in COLUMNS if name not in frame.columns]
    labels = [
        pl.Series("label:" + name, [(1, 0, None)[(row + c) % 3] for row in range(n_rows)])
        for c, name in enumerate(CLASSES)
    ]
    return frame.with_columns(*numbers, *labels)


@pytest.fixture
def written(tmp_path: Path) -> Manifest:
    (tmp_path / SHARD.name).write_bytes(bytes(SHARD.bytes))
    return write_manifest(tmp_path, make_frame(), CLASSES, [SHARD], {"size": 8})


def test_what_is_written_is_read(written: Manifest) -> None:
    again = read_manifest(written.folder)
    assert again.frame.equals(written.frame)
    assert again.frame.schema == written.frame.schema
    assert list(again.frame.columns) == [*COLUMNS, *(f"label:{name}" for name in CLASSES)]
    for field in ("class_names", "class_hash", "shards", "options", "hash", "folder"):
        assert getattr(again, field) == getattr(written, field)
    assert not list(written.folder.glob("*.partial"))


def test_renditions_have_columns_of_their_own(written: Manifest, tmp_path: Path) -> None:
    frame = make_frame().with_columns(
        pl.lit(n).alias(name) for n, name in enumerate(rendition_columns((288, 144)))
    )
    again = write_manifest(tmp_path, frame, CLASSES, [SHARD], {}, renditions=(288, 144))
    read = read_manifest(tmp_path)
    assert read.renditions == again.renditions == (288, 144)
    assert read.frame.equals(again.frame)
    assert read.frame.schema["offset:288"] == pl.Int64
    assert read.frame.schema["xxh3:144"] == pl.UInt64
    only = read_manifest(tmp_path, ["key", "offset:288", "size:288", "xxh3:288"])
    assert only.frame.width == 4
    with pytest.raises(ValueError, match="no column 'offset:96'"):
        read_manifest(tmp_path, ["offset:96"])
    for renditions in ((), (288,), (288, 144, 96)):
        with pytest.raises(ValueError, match="manifest columns differ"):
            write_manifest(tmp_path, frame, CLASSES, [SHARD], {}, renditions=renditions)


def test_the_same_data_set_gives_the_same_bytes(written: Manifest, tmp_path: Path) -> None:
    first = (tmp_path / MANIFEST).read_bytes()
    again = write_manifest(tmp_path, make_frame(), CLASSES, [SHARD], {"size": 8})
    assert (tmp_path / MANIFEST).read_bytes() == first
    assert again.hash == written.hash
    assert write_manifest(tmp_path, make_frame(49), CLASSES, [SHARD], {}).hash != written.hash


def test_other_tools_read_it_as_it_is(written: Manifest) -> None:
    path = written.folder / MANIFEST
    assert pl.read_parquet(path).equals(written.frame)
    types = pq.read_schema(path)
    assert [types.field(name).type for name in ("key", "xxh3", "label:No Finding")] == [
        pa.string(),
        pa.uint64(),
        pa.int8(),
    ]


def test_single_columns_are_read_alone(written: Manifest) -> None:
    frame = read_manifest(written.folder, ["split", "key"]).frame
    assert frame.equals(written.frame.select("split", "key"))
    labelled = read_manifest(written.folder, ["key"], labels=True).frame
    assert labelled.equals(written.frame.select("key", *(f"label:{name}" for name in CLASSES)))
    with pytest.raises(ValueError, match="no column 'label:Mass'"):
        read_manifest(written.folder, ["label:Mass"])


def test_label_matrix_has_minus_one_for_unknown(written: Manifest) -> None:
    labels = label_matrix(written.frame, CLASSES[::-1])
    assert labels.dtype == np.int8
    assert labels.flags.c_contiguous
    expected = written.frame.select(f"label:{name}" for name in CLASSES[::-1]).rows()
    assert labels.tolist() == [[-1 if v is None else v for v in row] for row in expected]
    assert label_matrix(written.frame.head(0), CLASSES).shape == (0, 2)


def test_other_columns_than_the_schemas_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="extra"):
        write_manifest(tmp_path, make_frame().with_columns(extra=1), CLASSES, [SHARD], {})
    with pytest.raises(ValueError, match="label:Mass"):
        write_manifest(tmp_path, make_frame(), (*CLASSES, "Mass"), [SHARD], {})
    assert not list(tmp_path.iterdir())


def test_folders_without_a_manifest_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        read_manifest(tmp_path / "none")
    with pytest.raises(DataError, match=r"no manifest\.parquet"):
        read_manifest(tmp_path)
    (tmp_path / "train-000000.tar").write_bytes(b"")
    with pytest.raises(DataError, match="did not finish"):
        read_manifest(tmp_path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    pl.DataFrame({"key": ["a"]}).write_parquet(tmp_path / MANIFEST)
    with pytest.raises(DataError, match="did not write"):
        read_manifest(tmp_path)
    (tmp_path / MANIFEST).write_bytes(b"key,label\n")
    with pytest.raises(IntegrityError, match="footer"):
        read_manifest(tmp_path)


def test_a_newer_format_says_so(written: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FORMAT_VERSION", 2)
    write_manifest(written.folder, written.frame, CLASSES, [SHARD], {})
    monkeypatch.undo()
    with pytest.raises(DataError, match="format version 2; this cxr-engine reads 1"):
        read_manifest(written.folder)


def test_a_class_list_that_does_not_match_its_hash_is_refused(
    written: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "class_hash", lambda _: "0" * 16)
    write_manifest(written.folder, written.frame, CLASSES, [SHARD], {})
    monkeypatch.undo()
    with pytest.raises(IntegrityError, match="class list does not match"):
        read_manifest(written.folder)


def test_edited_metadata_is_refused(written: Manifest) -> None:
    path = written.folder / MANIFEST
    table = pq.read_table(path)
    metadata = pq.read_metadata(path).metadata
    swapped = metadata[b"cxr_engine"].replace(b'"No Finding"', b'"No finding"')
    assert swapped != metadata[b"cxr_engine"]
    pq.write_table(table.replace_schema_metadata(metadata | {b"cxr_engine": swapped}), path)
    with pytest.raises(IntegrityError, match="do not match their hash"):
        read_manifest(written.folder)


@pytest.mark.parametrize("name", ["../../secret.tar", "/etc/passwd", "train.tar", "a/b-000000.tar"])
def test_shard_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    frame = make_frame().with_columns(shard=pl.lit(name))
    write_manifest(tmp_path, frame, CLASSES, [ShardInfo(name, 1, "0")], {})
    with pytest.raises(IntegrityError, match="not the name of a shard"):
        read_manifest(tmp_path)


def test_missing_and_resized_shards_are_named(written: Manifest) -> None:
    path = written.folder / SHARD.name
    path.write_bytes(bytes(999))
    with pytest.raises(IntegrityError) as caught:
        read_manifest(written.folder, ["key"])
    assert "train-000000.tar: 999 bytes instead of 1000" in caught.value.where
    path.unlink()
    with pytest.raises(IntegrityError) as caught:
        read_manifest(written.folder, ["key"])
    assert "train-000000.tar: missing" in caught.value.where


def test_rows_of_unlisted_shards_are_refused(written: Manifest) -> None:
    frame = written.frame.with_columns(shard=pl.lit("val-000000.tar"))
    write_manifest(written.folder, frame, CLASSES, [SHARD], {})
    with pytest.raises(IntegrityError, match="unlisted shard val-000000"):
        read_manifest(written.folder)


def test_flipped_bits_in_the_pages_are_noticed(written: Manifest) -> None:
    path = written.folder / MANIFEST
    good = path.read_bytes()
    footer = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    rng = random.Random(0)
    noticed = 0
    for _ in range(300):
        bad = bytearray(good)
        bad[rng.randrange(4, footer)] ^= 1 << rng.randrange(8)
        path.write_bytes(bad)
        try:
            frame = read_manifest(written.folder).frame
        except (DataError, IntegrityError):
            noticed += 1
        else:
            # Page headers hold statistics and hints that no value depends on.
            assert frame.equals(written.frame)
    assert noticed > 150


def test_a_cut_manifest_is_refused(written: Manifest) -> None:
    path = written.folder / MANIFEST
    good = path.read_bytes()
    for end in (0, 3, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:end])
        with pytest.raises(IntegrityError, match="damaged"):
            read_manifest(written.folder)


def test_pages_carry_checksums(written: Manifest) -> None:
    content = bytearray((written.folder / MANIFEST).read_bytes())
    keys = pq.read_metadata(written.folder / MANIFEST).row_group(0).column(0)
    value = keys.data_page_offset + keys.total_compressed_size - 1  # the end of a page
    if keys.has_dictionary_page:
        value += keys.dictionary_page_offset - keys.data_page_offset
    content[value] ^= 1
    with pytest.raises(OSError, match=r"CRC|Corrupt|corrupt"):
        pq.read_table(pa.BufferReader(bytes(content)), page_checksum_verification=True)
