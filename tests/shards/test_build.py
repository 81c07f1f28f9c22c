"""A run writes every row or says where it went; other processes, same bytes."""

from __future__ import annotations

import errno
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxr_engine.shards import (
    LocalStore,
    ResourceError,
    ShardOptions,
    UsageError,
    build_shards,
    read_manifest,
)

MakeTree = Callable[..., Any]  # returns the Tree of conftest.py
SMALL = ShardOptions(size=32, jobs=1, shard_samples=6, allow_empty_val=True)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_manifest_says_where_every_picture_is(make_tree: MakeTree, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build_shards(make_tree(6).read(), out, SMALL)
    manifest = read_manifest(out)
    assert manifest.frame.height == 24
    with LocalStore(out) as store:
        for row in manifest.frame.iter_rows(named=True):
            payload = store.read(row["shard"], row["offset"], row["size"])
            with tarfile.open(out / row["shard"]) as tar:
                assert tar.extractfile(row["member"]).read() == payload
    order = manifest.frame.select("shard", "offset")
    assert order.equals(order.sort("shard", "offset"))


def test_pictures_are_the_sources_resized(make_tree: MakeTree, tmp_path: Path) -> None:
    tree, out = make_tree(2), tmp_path / "out"
    build_shards(tree.read(), out, SMALL)
    for row in read_manifest(out).frame.iter_rows(named=True):
        with Image.open(tree.images / row["source"]) as image:
            expected = np.asarray(image.resize((32, 32), Image.Resampling.LANCZOS)).astype(int)
        with (
            tarfile.open(out / row["shard"]) as tar,
            Image.open(tar.extractfile(row["member"])) as image,
        ):
            assert np.abs(np.asarray(image) - expected).mean() < 2
        assert (row["source_height"], row["source_width"]) == (40, 48)


def test_processes_and_row_order_do_not_change_a_byte(make_tree: MakeTree, tmp_path: Path) -> None:
    tree = make_tree(6)
    build_shards(tree.read(), tmp_path / "one", SMALL)
    tree.rows.reverse()
    tree.write()
    two = ShardOptions(size=32, jobs=2, shard_samples=6, allow_empty_val=True)
    build_shards(tree.read(), tmp_path / "two", two)
    first, second = files(tmp_path / "one"), files(tmp_path / "two")
    assert len(first) > 4
    assert first == second


def test_the_report_adds_up_and_is_what_is_on_disk(make_tree: MakeTree, tmp_path: Path) -> None:
    tree, out = make_tree(6), tmp_path / "out"
    (tree.images / tree.rows[3]["image"]).unlink()
    (tree.images / tree.rows[9]["image"]).write_bytes(b"\x89PNG\r\n\x1a\n")
    report = build_shards(
        tree.read(), out, ShardOptions(size=32, jobs=1, allow_missing=2, allow_empty_val=True)
    )
    assert (report.rows_read, report.rows_written) == (24, 22)
    assert report.dropped == {"missing": 1, "unreadable": 1}
    assert [(row.line, row.reason) for row in report.dropped_rows] == [
        (5, "missing"),
        (11, "unreadable"),
    ]
    assert json.loads((out / "report.json").read_text()) == json.loads(json.dumps(report.to_dict()))
    frame = read_manifest(out).frame
    assert sum(split["views"] for split in report.splits.values()) == frame.height == 22
    for name, splits in report.classes.items():
        for split, states in splits.items():
            labels = frame.filter(frame["split"] == split)["label:" + name]
            assert states == {
                "positive": (labels == 1).sum(),
                "negative": (labels == 0).sum(),
                "unknown": labels.null_count(),
            }
    assert report.shards == len(list(out.glob("*.tar")))
    assert report.bytes == sum(path.stat().st_size for path in out.glob("*.tar"))


def test_patients_stay_in_one_split_and_official_splits_stay(
    make_tree: MakeTree, tmp_path: Path
) -> None:
    tree = make_tree(12)
    for row in tree.rows[:8]:
        row["split"] = "test"
    for row in tree.rows[8:]:
        row["split"] = ""
    build_shards(tree.write().read(), tmp_path / "out", SMALL)
    frame = read_manifest(tmp_path / "out").frame
    per_patient = frame.select("patient", "split").unique()
    assert per_patient.height == per_patient["patient"].n_unique() == 12
    assert set(frame.filter(frame["split"] == "test")["patient"]) == {"p0", "p1"}


def test_a_class_without_positives_in_validation_is_noted(
    make_tree: MakeTree, tmp_path: Path
) -> None:
    tree = make_tree(2)
    for row in tree.rows:
        row |= {"split": ("train", "val")[row["patient"] == "p1"], "Mass": "0", "Edema": "1"}
    tree.rows[0]["Mass"] = "1"
    report = build_shards(tree.write().read(), tmp_path / "out", SMALL)
    assert "no positives in val: Mass" in report.notes


def test_an_empty_split_is_noted(make_tree: MakeTree, tmp_path: Path) -> None:
    options = ShardOptions(size=32, jobs=1, val_fraction=0.0)
    report = build_shards(make_tree(2).read(), tmp_path / "out", options)
    assert "split val is empty" in report.notes
    assert list(report.splits) == ["train"]


def test_pictures_that_come_out_nearly_black_are_noted_and_listed(
    make_tree: MakeTree, tmp_path: Path
) -> None:
    tree = make_tree(2)
    twelve_bits = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    Image.fromarray(twelve_bits).save(tree.images / tree.rows[5]["image"])
    report = build_shards(tree.read(), tmp_path / "full", SMALL)
    listed = report.to_dict()["warnings"]
    assert (listed["pictures"], listed["listed"][0]["key"]) == (1, "p1_s2_lateral")
    assert any(note.startswith("1 pictures to look at") for note in report.notes)
    report = build_shards(tree.read(), tmp_path / "bits", replace(SMALL, window="bits"))
    assert report.warnings == ()
    windows = dict(read_manifest(tmp_path / "bits").frame.select("key", "window").iter_rows())
    assert windows["p1_s2_lateral"] == "bits:12"


def test_options_are_in_the_manifest_but_not_what_leaves_the_bytes_alone(
    make_tree: MakeTree, tmp_path: Path
) -> None:
    build_shards(make_tree(2).read(), tmp_path / "out", SMALL)
    assert read_manifest(tmp_path / "out").options == {
        "source": "table",
        "uncertain": "unknown",
        "blank": "unknown",
        "size": 32,
        "renditions": [],
        "quality": 95,
        "fit": "squash",
        "window": "full",
        "encoding": "jpeg",
        "keep_original": True,
        "val_fraction": 0.2,
        "seed": 0,
        "shard_samples": 6,
        "limit": None,
    }


def test_progress_counts_up_to_the_number_of_pictures(make_tree: MakeTree, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int, int]] = []
    tree = make_tree(2)
    options = replace(SMALL, audit=True)
    build_shards(tree.read(), tmp_path / "out", options, lambda *count: seen.append(count))
    sharded = [tick for tick in seen if tick[0] == "sharded"]
    assert [tick[1:3] for tick in sharded] == [(done, 8) for done in range(1, 9)]
    assert sharded[-1][3] == sum(path.stat().st_size for path in tree.images.iterdir())
    stored = int(read_manifest(tmp_path / "out").frame["size"].sum())
    assert seen[-1] == ("audited", 8, 8, stored)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sizes": 0}, {"quality": 101}, {"fit": "stretch"}, {"val_fraction": 1.0},
        {"shard_samples": 0}, {"jobs": 0}, {"allow_missing": -1}, {"limit": 0},
        {"encoding": "gif"}, {"window": "dark"},
    ],
)  # fmt: skip
def test_impossible_options_are_usage_errors_that_name_the_flag(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        ShardOptions(**{name.replace("sizes", "size"): value for name, value in wrong.items()})
    (name,) = wrong
    assert caught.value.where == "--" + name.replace("_", "-")


def test_a_run_that_is_interrupted_before_a_shard_is_finished_leaves_what_was_there(
    make_tree: MakeTree, tmp_path: Path
) -> None:
    def interrupt(_what: str, done: int, _total: int, _n_bytes: int) -> None:
        if done == 5:  # in the first shard
            raise KeyboardInterrupt

    table = make_tree(4).read()
    for out in (tmp_path / "absent", tmp_path / "empty"):
        if out.name == "empty":
            out.mkdir()
        with pytest.raises(KeyboardInterrupt):
            build_shards(table, out, SMALL, interrupt)
    assert not (tmp_path / "absent").exists()
    assert not list((tmp_path / "empty").iterdir())


def test_a_disk_that_fills_up_at_the_manifest_is_a_resource_error(
    make_tree: MakeTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("cxr_engine.shards.manifest.pq.ParquetWriter", full)
    with pytest.raises(ResourceError, match="No space left"):
        build_shards(make_tree(2).read(), tmp_path / "out", SMALL)
    assert not list((tmp_path / "out").glob("manifest*"))
