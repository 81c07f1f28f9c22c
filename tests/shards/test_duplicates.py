"""The same picture under two patients stops a run; under one it is a note."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cxr_engine.shards import DataError, ShardOptions, build_shards, read_manifest

MakeTree = Callable[..., Any]  # returns the Tree of conftest.py
SMALL = ShardOptions(size=32, jobs=1, allow_empty_val=True)


def copy(tree: Any, source: int, target: int) -> None:
    shutil.copy(tree.images / tree.rows[source]["image"], tree.images / tree.rows[target]["image"])


def test_identical_files_of_two_patients_are_an_error_with_their_lines(
    make_tree: MakeTree, tmp_path: Path
) -> None:
    tree = make_tree(4)
    copy(tree, 1, 14)
    with pytest.raises(DataError, match="1 groups of identical pictures") as caught:
        build_shards(tree.read(), tmp_path / "out", SMALL)
    assert caught.value.where == f"{tree.csv}, lines 3, 16 (same bytes)"
    assert "--allow-duplicates" in caught.value.remedy
    assert not list((tmp_path / "out").glob("manifest*"))


def test_identical_pixels_in_other_bytes_are_found_too(make_tree: MakeTree, tmp_path: Path) -> None:
    tree = make_tree(4)
    with Image.open(tree.images / tree.rows[1]["image"]) as image:
        image.save(tree.images / tree.rows[14]["image"], compress_level=1)
    with pytest.raises(DataError) as caught:
        build_shards(tree.read(), tmp_path / "out", SMALL)
    assert "lines 3, 16 (same pixels)" in caught.value.where


def test_allowed_duplicates_are_written_noted_and_listed(
    make_tree: MakeTree, tmp_path: Path
) -> None:
    tree = make_tree(4)
    for number, row in enumerate(tree.rows):
        row["split"] = "val" if number >= 12 else "train"
    copy(tree, 1, 14)
    copy(tree, 1, 5)
    copy(tree, 2, 3)
    with pytest.raises(DataError, match=r"different patients, 1 of them to different splits"):
        build_shards(tree.write().read(), tmp_path / "out", SMALL)
    options = replace(SMALL, allow_duplicates=True)
    report = build_shards(tree.read(), tmp_path / "out", options)
    assert report.rows_written == 16
    identical = report.duplicates["identical"]
    counts = {name: identical[name] for name in ("groups", "across_patients", "across_splits")}
    assert counts == {"groups": 2, "across_patients": 1, "across_splits": 1}
    assert identical["listed"][0] == {
        "same": "bytes",
        "keys": ("p0_s0_lateral", "p1_s2_lateral", "p3_s7_pa"),
        "lines": (3, 7, 16),
        "splits": ("train", "val"),
        "n_patients": 3,
    }
    assert "identical pictures of different patients, kept: 1 groups" in report.notes
    assert "identical pictures of one and the same patient: 1 groups" in report.notes


def test_identical_pictures_of_one_patient_are_no_error(
    make_tree: MakeTree, tmp_path: Path
) -> None:
    tree = make_tree(4)
    copy(tree, 4, 6)
    report = build_shards(tree.read(), tmp_path / "out", SMALL)
    assert report.duplicates["identical"]["across_patients"] == 0
    assert "identical pictures of one and the same patient: 1 groups" in report.notes


def test_pictures_that_look_alike_are_listed_and_kept(make_tree: MakeTree, tmp_path: Path) -> None:
    tree = make_tree(4)
    with Image.open(tree.images / tree.rows[1]["image"]) as image:
        brighter = image.point(lambda level: min(255, level + 3))
    brighter.save(tree.images / tree.rows[14]["image"])
    report = build_shards(tree.read(), tmp_path / "out", SMALL)
    near = report.duplicates["near"]
    assert near["pairs"] >= 1
    assert ["p0_s0_lateral", "p3_s7_pa"] in [pair["keys"] for pair in near["listed"]]
    assert report.duplicates["identical"]["groups"] == 0
    assert read_manifest(tmp_path / "out").frame.height == 16


def test_the_section_is_the_same_for_any_number_of_processes(
    make_tree: MakeTree, tmp_path: Path
) -> None:
    tree = make_tree(4)
    copy(tree, 1, 14)
    options = replace(SMALL, allow_duplicates=True, shard_samples=5)
    one = build_shards(tree.read(), tmp_path / "one", options)
    two = build_shards(tree.read(), tmp_path / "two", replace(options, jobs=2))
    assert one == two
