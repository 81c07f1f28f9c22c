"""A patient in different splits of two data sets is found, whatever the data sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxr_engine.shards import DataError, ShardOptions, build_shards, check_leaks

MakeTree = Callable[..., Any]  # returns the Tree of conftest.py
SMALL = ShardOptions(size=32, jobs=1, allow_empty_val=True)


def build(make_tree: MakeTree, out: Path, splits: dict[str, str], options: Any = SMALL) -> Path:
    """Shards of four patients, each in the split named, p0 without a name of its own."""
    tree = make_tree(4, out.name + "-tree")
    for row in tree.rows:
        row["split"] = splits[row["patient"]]
        row["patient"] = row["patient"].replace("p", "secret-")
    build_shards(tree.write().read(), out, options)
    return out


SPLITS = {"p0": "train", "p1": "train", "p2": "val", "p3": "test"}


def test_the_same_splits_do_not_leak(make_tree: MakeTree, tmp_path: Path) -> None:
    folders = [build(make_tree, tmp_path / name, SPLITS) for name in ("a", "b")]
    check_leaks(folders)
    build(make_tree, tmp_path / "c", SPLITS, replace(SMALL, against=tuple(folders)))


def test_leaks_name_counts_and_rows_and_no_patient(make_tree: MakeTree, tmp_path: Path) -> None:
    first = build(make_tree, tmp_path / "a", SPLITS)
    second = build(make_tree, tmp_path / "b", SPLITS | {"p1": "test", "p2": "train"})
    with pytest.raises(DataError) as caught:
        check_leaks([first, second])
    assert caught.value.what == (
        "2 patients (8 rows) are in different splits of two data sets: "
        "1 in train and test, 1 in val and train"
    )
    assert f"{first}: manifest" in caught.value.where
    assert f"{second}: manifest" in caught.value.where
    assert "secret" not in str(caught.value)


def test_a_leak_against_another_data_set_stops_a_run_before_it_writes(
    make_tree: MakeTree, tmp_path: Path
) -> None:
    first = build(make_tree, tmp_path / "a", SPLITS)
    with pytest.raises(DataError, match=r"1 patients \(4 rows\) are in different splits") as caught:
        build(
            make_tree,
            tmp_path / "b",
            SPLITS | {"p3": "train"},
            replace(SMALL, against=(first,)),
        )
    assert "labels.csv: line 14;" in caught.value.where
    assert not (tmp_path / "b").exists()


def test_rows_beyond_a_limit_do_not_leak(make_tree: MakeTree, tmp_path: Path) -> None:
    other = dict.fromkeys(SPLITS, "dev")
    first = build(make_tree, tmp_path / "a", SPLITS, replace(SMALL, limit=1))
    with pytest.raises(DataError, match=r"1 patients \(4 rows\)"):
        build(make_tree, tmp_path / "b", other, replace(SMALL, against=(first,)))


def test_one_leak_among_three_data_sets_is_found(make_tree: MakeTree, tmp_path: Path) -> None:
    folders = [build(make_tree, tmp_path / name, SPLITS) for name in ("a", "b")]
    folders.append(build(make_tree, tmp_path / "c", SPLITS | {"p0": "val"}))
    with pytest.raises(DataError, match="1 in train and val"):
        check_leaks(folders)
    check_leaks(folders[:1])
    check_leaks([])
