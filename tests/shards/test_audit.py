"""An audit passes what was written and names the picture that is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import xxhash
from PIL import Image

from cxr_engine.shards import IntegrityError, ShardOptions, build_shards, read_manifest
from cxr_engine.shards.audit import audit_shards

MakeTree = Callable[..., Any]  # returns the Tree of conftest.py
OPTIONS = ShardOptions(
    size=64, renditions=(16, 32), jobs=1, shard_samples=9, allow_empty_val=True, audit=True
)


def audit(out: Path, frame: pl.DataFrame) -> list[tuple[int, int]]:
    seen: list[tuple[int, int]] = []
    audit_shards(out, frame, (16, 32), 2, lambda *tick: seen.append(tick))
    return seen


@pytest.mark.parametrize("encoding", ["jpeg", "png8", "png16"])
def test_what_was_written_passes_with_all_renditions(
    make_tree: MakeTree, tmp_path: Path, encoding: Any
) -> None:
    out = tmp_path / "out"
    build_shards(make_tree(6).read(), out, replace(OPTIONS, encoding=encoding))
    frame = read_manifest(out).frame
    n_bytes = sum(int(frame[name].sum()) for name in ("size", "size:16", "size:32"))
    assert audit(out, frame)[-1] == (24, n_bytes)


@pytest.mark.parametrize("column", ["offset", "offset:16", "offset:32"])
def test_a_flipped_bit_is_found_wherever_it_is(
    make_tree: MakeTree, tmp_path: Path, column: str
) -> None:
    out = tmp_path / "out"
    build_shards(make_tree(6).read(), out, OPTIONS)
    frame = read_manifest(out).frame
    row = frame.row(17, named=True)
    content = bytearray((out / row["shard"]).read_bytes())
    content[row[column] + 40] ^= 1
    (out / row["shard"]).write_bytes(content)
    with pytest.raises(IntegrityError, match="another hash") as caught:
        audit(out, frame)
    assert caught.value.exit_code == 4
    assert f"{row['shard']}, sample {row['key']}, byte {row[column]}" in caught.value.where


def test_bytes_with_the_right_hash_that_are_no_picture_of_that_shape_are_found(
    make_tree: MakeTree, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    build_shards(make_tree(1).read(), out, OPTIONS)
    frame = read_manifest(out).frame.head(1)
    row = frame.row(0, named=True)
    content = bytearray((out / row["shard"]).read_bytes())
    buffer = BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(buffer, format="PNG", compress_level=9)
    for data, wrong in ((b"\xff\xd8 nothing", "cannot be decoded"), (buffer.getvalue(), "(8, 8)")):
        content[row["offset"] : row["offset"] + len(data)] = data
        (out / row["shard"]).write_bytes(content)
        digest = xxhash.xxh3_64_intdigest(data)
        planted = frame.with_columns(
            size=pl.lit(len(data), pl.Int64), xxh3=pl.lit(digest, pl.UInt64)
        )
        with pytest.raises(IntegrityError) as caught:
            audit(out, planted)
        assert wrong in caught.value.what


def test_a_run_whose_audit_fails_leaves_no_manifest(
    make_tree: MakeTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr_engine.shards.audit.difference", lambda *_: "damaged")
    with pytest.raises(IntegrityError):
        build_shards(make_tree(2).read(), tmp_path / "out", OPTIONS)
    assert not list((tmp_path / "out").glob("manifest*"))
