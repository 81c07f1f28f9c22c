"""A dry run counts what a run would, comes near its bytes, and writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxr_engine.shards import DataError, ResourceError, ShardOptions, UsageError, build_shards
from cxr_engine.shards import estimate as dry
from cxr_engine.shards.estimate import estimate_shards

MakeTree = Callable[..., Any]  # returns the Tree of conftest.py
OPTIONS = ShardOptions(
    size=64, renditions=(32,), jobs=1, shard_samples=20, allow_empty_val=True, allow_missing=None
)


@pytest.mark.parametrize("sampled", [200, 11])
def test_an_estimate_is_near_what_a_run_then_does(
    make_tree: MakeTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampled: int
) -> None:
    monkeypatch.setattr(dry, "_SAMPLED", sampled)
    tree, out = make_tree(12), tmp_path / "out"
    (tree.images / tree.rows[3]["image"]).unlink()
    options = replace(OPTIONS, limit=40)
    before = sorted(tmp_path.rglob("*"))
    ticks: list[tuple[Any, ...]] = []
    estimate = estimate_shards(tree.read(), out, options, lambda *tick: ticks.append(tick))
    assert sorted(tmp_path.rglob("*")) == before
    report = build_shards(tree.read(), out, options)
    assert estimate.rows_read == report.rows_read == 48
    assert estimate.rows_to_write == report.rows_written
    assert estimate.dropped == {k: n for k, n in report.dropped.items() if n}
    assert (estimate.splits, estimate.shards) == (report.splits, report.shards)
    assert estimate.sampled == min(sampled, report.rows_written) == len(ticks)
    assert ticks[-1][0] == "sampled"
    assert estimate.shard_bytes == pytest.approx(report.bytes, rel=0.25)
    assert estimate.seconds > 0
    read = sum((tree.images / row["image"]).stat().st_size for row in tree.rows[4:])
    assert estimate.source_bytes == pytest.approx(read * report.rows_written / 44, rel=0.2)


def test_unreadable_pictures_of_the_sample_are_counted(make_tree: MakeTree, tmp_path: Path) -> None:
    tree = make_tree(4)
    for row in tree.rows[:5]:
        (tree.images / row["image"]).write_bytes(b"x")
    estimate = estimate_shards(tree.read(), tmp_path / "out", OPTIONS)
    assert (estimate.sampled, estimate.unreadable) == (16, 5)
    for row in tree.rows:
        (tree.images / row["image"]).write_bytes(b"x")
    with pytest.raises(DataError, match="none of 16 sampled images is readable"):
        estimate_shards(tree.read(), tmp_path / "out", OPTIONS)


def test_what_a_run_would_refuse_a_dry_run_refuses(make_tree: MakeTree, tmp_path: Path) -> None:
    tree, out = make_tree(4), tmp_path / "out"
    (tree.images / tree.rows[3]["image"]).unlink()
    with pytest.raises(DataError, match="1 of 16 images are missing"):
        estimate_shards(tree.read(), out, replace(OPTIONS, allow_missing=0))
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="is not empty"):
        estimate_shards(tree.read(), out, OPTIONS)


def test_a_disk_without_room_is_a_resource_error(make_tree: MakeTree, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    estimate = estimate_shards(make_tree(2).read(), out, OPTIONS)
    assert estimate.free_bytes > 0
    estimate.check_room(out)
    with pytest.raises(ResourceError, match=r"are needed and 0\.0 GB are free") as caught:
        replace(estimate, free_bytes=100).check_room(out)
    assert caught.value.where == str(out)
