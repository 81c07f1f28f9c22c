"""Each bad input is a three-line error that names file and remedy; nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxr_engine.shards import (
    DataError,
    ResourceError,
    ShardOptions,
    UsageError,
    build_shards,
    read_table,
)

MakeTree = Callable[..., Any]  # returns the Tree of conftest.py
SMALL = ShardOptions(size=32, jobs=1, shard_samples=6, allow_empty_val=True)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_a_missing_image(make_tree: MakeTree, out: Path) -> None:
    tree = make_tree()
    (tree.images / tree.rows[5]["image"]).unlink()
    with pytest.raises(DataError, match="1 of 16 images are missing") as caught:
        build_shards(tree.read(), out, SMALL)
    assert f"labels.csv, line 7: {tree.rows[5]['image']}" in caught.value.where
    assert "--allow-missing 1" in caught.value.remedy
    assert not out.exists()


def test_unreadable_images_are_all_found_in_one_pass(make_tree: MakeTree, out: Path) -> None:
    tree = make_tree()
    for row in (1, 8, 14):
        (tree.images / tree.rows[row]["image"]).write_bytes(b"GIF89a")
    options = ShardOptions(size=32, jobs=2, shard_samples=6, allow_missing=2, allow_empty_val=True)
    with pytest.raises(DataError, match="3 of 16 images are unreadable") as caught:
        build_shards(tree.read(), out, options)
    for line in (3, 10, 16):
        assert f"line {line}: " in caught.value.where
    assert "--allow-missing 3" in caught.value.remedy
    assert not (out / "manifest.parquet").exists()


def test_missing_and_unreadable_share_one_allowance(make_tree: MakeTree, out: Path) -> None:
    tree = make_tree()
    (tree.images / tree.rows[0]["image"]).unlink()
    (tree.images / tree.rows[1]["image"]).write_bytes(b"")
    options = ShardOptions(size=32, jobs=1, allow_missing=1, allow_empty_val=True)
    with pytest.raises(DataError, match="2 of 16 images are missing and unreadable"):
        build_shards(tree.read(), out, options)
    assert not (out / "manifest.parquet").exists()


def test_an_empty_folder_of_images(make_tree: MakeTree, out: Path) -> None:
    tree = make_tree()
    for path in tree.images.iterdir():
        path.unlink()
    with pytest.raises(DataError, match="none of the 16 images is there") as caught:
        build_shards(
            tree.read(), out, ShardOptions(jobs=1, allow_missing=None, allow_empty_val=True)
        )
    assert str(tree.images) in caught.value.where
    assert not out.exists()


def test_no_readable_image_at_all(make_tree: MakeTree, out: Path) -> None:
    tree = make_tree(1)
    for path in tree.images.iterdir():
        path.write_bytes(b"x")
    with pytest.raises(DataError, match="no image is left"):
        build_shards(
            tree.read(), out, ShardOptions(jobs=1, allow_missing=None, allow_empty_val=True)
        )
    assert not (out / "manifest.parquet").exists()


def test_a_table_without_rows(make_tree: MakeTree) -> None:
    tree = make_tree()
    tree.csv.write_text("image,patient,Mass\n")
    with pytest.raises(DataError, match="no rows") as caught:
        read_table(tree.csv, tree.images)
    assert caught.value.where == str(tree.csv)


def test_duplicate_rows_are_named_by_both_lines(make_tree: MakeTree, out: Path) -> None:
    tree = make_tree()
    tree.rows.insert(9, tree.rows[2] | {"Mass": "0"})
    tree.write()
    with pytest.raises(DataError, match="1 duplicate rows") as caught:
        build_shards(tree.read(), out, SMALL)
    assert caught.value.where.endswith("labels.csv, lines 4 and 11")
    assert not out.exists()


def test_one_file_under_two_names_is_a_duplicate(make_tree: MakeTree, out: Path) -> None:
    tree = make_tree()
    tree.rows.append(tree.rows[0] | {"image": "./" + tree.rows[0]["image"]})
    tree.write()
    with pytest.raises(DataError, match=r"the file .* appears twice") as caught:
        build_shards(tree.read(), out, SMALL)
    assert caught.value.where.endswith("lines 2 and 18")


def test_output_folders_that_are_in_use(make_tree: MakeTree, out: Path) -> None:
    table = make_tree().read()
    build_shards(table, out, SMALL)
    with pytest.raises(UsageError, match="finished data set of another command: option quality"):
        build_shards(table, out, replace(SMALL, quality=80))
    (out / "manifest.parquet").unlink()
    with pytest.raises(UsageError, match="neither a manifest nor a journal") as caught:
        build_shards(table, out, SMALL)
    assert "delete this one" in caught.value.remedy
    for path in out.glob("*.tar"):
        path.unlink()
    before = sorted(out.iterdir())
    with pytest.raises(UsageError, match="is not empty"):
        build_shards(table, out, SMALL)
    assert sorted(out.iterdir()) == before != []


def test_an_output_that_is_a_file_stays(make_tree: MakeTree, out: Path) -> None:
    out.write_text("mine")
    with pytest.raises(UsageError, match="not a folder"):
        build_shards(make_tree().read(), out, SMALL)
    assert out.read_text() == "mine"


def test_an_output_below_a_file_is_a_resource_error(make_tree: MakeTree, out: Path) -> None:
    out.write_text("mine")
    with pytest.raises(ResourceError, match="cannot be written"):
        build_shards(make_tree().read(), out / "shards", SMALL)
    assert out.read_text() == "mine"


def test_a_patient_in_two_official_splits(make_tree: MakeTree, out: Path) -> None:
    tree = make_tree()
    for number, row in enumerate(tree.rows):
        row["split"] = ("train", "val")[number == 5]
    with pytest.raises(DataError, match="in more than one split: 1,"):
        build_shards(tree.write().read(), out, SMALL)
    assert not out.exists()


def test_errors_have_exit_codes_and_three_lines(make_tree: MakeTree, out: Path) -> None:
    tree = make_tree()
    (tree.images / tree.rows[0]["image"]).unlink()
    with pytest.raises(DataError) as data:
        build_shards(tree.read(), out, SMALL)
    with pytest.raises(UsageError) as usage:
        ShardOptions(size=-1)
    assert (data.value.exit_code, usage.value.exit_code) == (3, 2)
    assert [len(str(error.value).splitlines()) for error in (data, usage)] == [3, 3]
