"""Every row that a source has is written, or dropped for a named reason and listed."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest

from cxr_engine.shards import DataError, ShardOptions, build_shards, read_manifest
from cxr_engine.shards.sources import DroppedRow

MakeTree = Callable[..., Any]  # returns the Tree of conftest.py
SMALL = ShardOptions(size=32, jobs=1, shard_samples=9, allow_empty_val=True)


def listed(out: Path) -> list[dict[str, str]]:
    path = out / "dropped.csv"
    return list(csv.DictReader(path.open(newline=""))) if path.exists() else []


@pytest.mark.parametrize("seed", range(6))
def test_read_is_written_plus_dropped_per_reason(
    make_tree: MakeTree, tmp_path: Path, seed: int
) -> None:
    tree, out, random = make_tree(8), tmp_path / "out", Random(seed)
    table = tree.read()
    for row in tree.rows:
        match random.randrange(6):
            case 0:
                (tree.images / row["image"]).unlink()
            case 1:
                (tree.images / row["image"]).write_bytes(b"no picture")
    left_out = tuple(
        DroppedRow(line, f"x{line}.png", random.choice(("removed", "uncertain")), "as asked")
        for line in range(100, 100 + random.randrange(4))
    )
    options = replace(SMALL, allow_missing=None, limit=random.choice((None, 1, 7, 14, 1000)))
    report = build_shards(replace(table, dropped=left_out), out, options)
    frame = read_manifest(out).frame
    assert report.rows_read == 32 + len(left_out)
    assert report.rows_written == frame.height
    assert report.rows_read == report.rows_written + sum(report.dropped.values())
    rows = listed(out)
    assert Counter(row["reason"] for row in rows) == {
        reason: count for reason, count in report.dropped.items() if count
    }
    assert [int(row["line"]) for row in rows] == sorted(int(row["line"]) for row in rows)
    sources = [row["source"] for row in rows] + frame["source"].to_list()
    assert sorted(sources) == sorted(
        [row["image"] for row in tree.rows] + [row.source for row in left_out]
    )
    assert json.loads((out / "report.json").read_text()) == json.loads(json.dumps(report.to_dict()))


def test_a_run_that_drops_nothing_has_no_list(make_tree: MakeTree, tmp_path: Path) -> None:
    report = build_shards(make_tree(2).read(), tmp_path / "out", SMALL)
    assert report.dropped == {"missing": 0, "unreadable": 0}
    assert not (tmp_path / "out" / "dropped.csv").exists()


def test_a_report_of_many_dropped_rows_stays_small_and_the_list_has_them_all(
    make_tree: MakeTree, tmp_path: Path
) -> None:
    table, out = make_tree(2).read(), tmp_path / "out"
    absent = pl.concat([table.frame.head(1)] * 3000).with_columns(
        source=pl.format("gone/{}.png", pl.int_range(3000)),
        path=pl.format("/nowhere/{}.png", pl.int_range(3000)),
        line=pl.int_range(10, 3010, dtype=pl.Int64),
    )
    rows = replace(table, frame=pl.concat([table.frame, absent]))
    report = build_shards(rows, out, replace(SMALL, allow_missing=None))
    assert report.dropped == {"missing": 3000, "unreadable": 0}
    assert len(json.loads((out / "report.json").read_text())["dropped_rows"]) == 1000
    assert (out / "report.json").stat().st_size < 200_000
    assert [row["source"] for row in listed(out)] == [f"gone/{n}.png" for n in range(3000)]


def test_rows_left_out_on_the_users_word_need_no_allowance(
    make_tree: MakeTree, tmp_path: Path
) -> None:
    tree = make_tree(4)
    table = replace(tree.read(), dropped=(DroppedRow(99, "y.png", "removed", "on the list"),))
    report = build_shards(table, tmp_path / "out", replace(SMALL, limit=4, allow_missing=0))
    assert report.dropped == {"missing": 0, "unreadable": 0, "removed": 1, "limit": 12}


def test_a_smaller_limit_selects_whole_patients_of_a_larger_one(
    make_tree: MakeTree, tmp_path: Path
) -> None:
    tree = make_tree(12)
    chosen = []
    for limit in (1, 4, 5, 17, 48, 1000):
        out = tmp_path / f"out{limit}"
        build_shards(tree.read(), out, replace(SMALL, limit=limit))
        frame = read_manifest(out).frame
        assert frame.height == min(48, -(-limit // 4) * 4)
        assert frame.group_by("patient").len()["len"].to_list() == [4] * (frame.height // 4)
        chosen.append(set(frame["key"]))
    assert all(small <= large for small, large in pairwise(chosen))


def test_a_limit_keeps_the_splits_and_does_not_count_on_missing_pictures(
    make_tree: MakeTree, tmp_path: Path
) -> None:
    tree = make_tree(12)
    build_shards(tree.read(), tmp_path / "all", SMALL)
    split_of = dict(read_manifest(tmp_path / "all").frame.select("patient", "split").iter_rows())
    for row in tree.rows:
        if row["view"] == "LATERAL":
            (tree.images / row["image"]).unlink()
    options = replace(SMALL, limit=6, allow_missing=None)
    report = build_shards(tree.read(), tmp_path / "out", options)
    assert report.dropped == {"missing": 6, "unreadable": 0, "limit": 36}
    frame = read_manifest(tmp_path / "out").frame
    assert frame.height == 6
    assert all(split_of[patient] == split for patient, split in frame["patient", "split"].rows())


def test_the_row_order_does_not_change_what_a_limit_selects(
    make_tree: MakeTree, tmp_path: Path
) -> None:
    tree = make_tree(12)
    build_shards(tree.read(), tmp_path / "one", replace(SMALL, limit=10))
    tree.rows.reverse()
    build_shards(tree.write().read(), tmp_path / "two", replace(SMALL, limit=10))
    for path in (tmp_path / "one").glob("*.tar"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_an_allowance_is_compared_with_missing_rows_only(
    make_tree: MakeTree, tmp_path: Path
) -> None:
    tree = make_tree(4)
    (tree.images / tree.rows[3]["image"]).unlink()
    with pytest.raises(DataError, match="1 of 16 images are missing") as caught:
        build_shards(tree.read(), tmp_path / "out", SMALL)
    assert "--allow-missing 1 (or all)" in caught.value.remedy
    report = build_shards(tree.read(), tmp_path / "out", replace(SMALL, allow_missing=1))
    assert report.dropped == {"missing": 1, "unreadable": 0}
