"""cxr-engine shard as typed: each layout from its tree, every flag where it belongs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxr_engine.shards import read_manifest

MakeTree = Callable[..., Any]  # returns the Tree of conftest.py
MakeDownload = Callable[..., Path]
Typed = Callable[..., tuple[int, str, str]]
TREE = ("tree/images", "--table", "tree/labels.csv")  # as `make_tree` makes it
QUICK = ("--sizes", "32", "--jobs", "1", "--allow-empty-val")


def three_lines(err: str) -> dict[str, str]:
    """The last three lines of stderr, by their first word."""
    lines = err.strip().splitlines()[-3:]
    return dict(line.split(": ", 1) for line in lines)


@pytest.mark.parametrize("detected", [True, False])
@pytest.mark.parametrize(
    "layout",  # name, flags, views written, rows dropped per reason
    [
        ("mimic", ("--labels", "mimic/mimic-cxr-2.0.0-chexpert.csv.gz"), 6, {}),
        ("mimic", ("--labels", "mimic/cxr-lt-2024"), 5, {}),
        ("padchest", ("--labels", "nodule,normal", "--window", "bits"), 6, {}),
        ("cxr-lt-2026", (), 5, {"removed": 1}),
        ("cxr-lt-2026", ("--no-removal",), 6, {}),
        ("chexpert", ("--uncertain", "drop"), 3, {"uncertain": 2}),
    ],
)  # fmt: skip
def test_each_layout_is_sharded_from_its_tree(
    make_download: MakeDownload,
    typed: Typed,
    tmp_path: Path,
    layout: tuple[str, tuple[str, ...], int, dict[str, int]],
    *,
    detected: bool,
) -> None:
    name, flags, written, dropped = layout
    make_download(name)
    source = "auto" if detected else name
    allow = ("--allow-duplicates", "--json")
    code, out, err = typed("shard", source, name, "out", *flags, *QUICK, *allow)
    assert code == 0, err
    assert (f"source: {name} (detected)" in err) == detected
    report = json.loads(out)
    assert report["rows_written"] == written == read_manifest(tmp_path / "out").frame.height
    assert {reason: n for reason, n in report["dropped"].items() if n} == dropped
    assert report["options"]["source"] == name


def test_the_account_on_the_screen_adds_up(
    make_tree: MakeTree, typed: Typed, tmp_path: Path
) -> None:
    tree = make_tree(6)
    for row in tree.rows[:3]:
        (tree.images / row["image"]).unlink()
    code, out, err = typed("shard", "table", *TREE, "out", *QUICK, "--allow-missing", "all")
    assert code == 0, err
    account = dict(line.rsplit(maxsplit=1) for line in out.splitlines()[:3])
    assert account == {"rows read": "24", "  missing": "-3", "rows written": "21"}
    with (tmp_path / "out" / "dropped.csv").open(newline="") as file:
        assert [row["line"] for row in csv.DictReader(file)] == ["2", "3", "4"]


def test_a_dry_run_prints_an_estimate_and_writes_nothing(
    make_tree: MakeTree, typed: Typed, tmp_path: Path
) -> None:
    make_tree(6)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = typed("shard", "table", *TREE, "out", *QUICK, "--dry-run")
    assert code == 0, err
    assert "rows to write" in out
    assert "estimated from 24 images; nothing was written" in out
    code, out, _ = typed("shard", "table", *TREE, "out", *QUICK, "--dry-run", "--json")
    assert json.loads(out)["rows_to_write"] == 24
    assert sorted(tmp_path.rglob("*")) == before


def test_sizes_are_the_picture_and_its_smaller_copies(
    make_tree: MakeTree, typed: Typed, tmp_path: Path
) -> None:
    make_tree(2)
    sizes = ("--sizes", "24,64,32", "--encoding", "png8", "--fit", "pad", "--audit")
    code, _, err = typed("shard", "table", *TREE, "out", *QUICK[2:], *sizes)
    assert code == 0, err
    manifest = read_manifest(tmp_path / "out")
    assert manifest.renditions == (24, 32)
    assert set(manifest.frame["height"]) == {64}
    kept = {name: manifest.options[name] for name in ("size", "renditions", "encoding", "fit")}
    assert kept == {"size": 64, "renditions": [24, 32], "encoding": "png8", "fit": "pad"}
    assert not {"jobs", "audit", "allow_missing", "against"} & set(manifest.options)


def test_policies_reach_the_labels_and_the_manifest(
    make_tree: MakeTree, typed: Typed, tmp_path: Path
) -> None:
    make_tree(4)
    policy = ("--uncertain", "positive", "--blank", "negative")
    code, _, err = typed("shard", "table", *TREE, "out", *QUICK, *policy)
    assert code == 0, err
    manifest = read_manifest(tmp_path / "out")
    assert (manifest.options["uncertain"], manifest.options["blank"]) == ("positive", "negative")
    assert manifest.frame["label:Edema"].null_count() == 0


def test_another_data_set_is_compared_by_patient(
    make_tree: MakeTree, typed: Typed, tmp_path: Path
) -> None:
    make_tree(6)
    assert typed("shard", "table", *TREE, "one", *QUICK)[0] == 0
    same = ("shard", "table", *TREE, "two", *QUICK, "--against", "one")
    assert typed(*same)[0] == 0
    other = ("shard", "table", *TREE, "three", *QUICK, "--against", "two", "--against", "one")
    code, _, err = typed(*other, "--seed", "5")
    assert code == 3
    assert "in different splits of two data sets" in three_lines(err)["error"]
    assert not (tmp_path / "three").exists()


def test_a_class_without_positives_in_validation_names_its_flag(
    make_tree: MakeTree, typed: Typed
) -> None:
    make_tree(6)
    code, _, err = typed("shard", "table", *TREE, "out", *QUICK[:-1])
    assert code == 3
    assert "--allow-empty-val" in three_lines(err)["remedy"]


def test_lists_of_findings_and_bits_come_from_the_columns_named(
    make_tree: MakeTree, typed: Typed, tmp_path: Path
) -> None:
    tree = make_tree(4)
    for number, row in enumerate(tree.rows):
        row |= {"depth": "8", "found": ("Mass|Edema", "Edema")[number % 2]}
    tree.write()
    columns = ("--bits", "depth", "--findings", "found", "--labels", "Mass")
    code, _, err = typed("shard", "table", *TREE, "out", *QUICK, *columns)
    assert code == 0, err
    frame = read_manifest(tmp_path / "out").frame
    assert [c for c in frame.columns if c.startswith("label:")] == ["label:Mass"]
    assert frame["label:Mass"].sum() == 8


NONSENSE = [
    ("nih", ("--uncertain", "drop"), "--uncertain: not for SOURCE nih"),
    ("nih", ("--labels", "Mass", "--blank", "negative"), "--labels, --blank"),
    ("chexpert", ("--patient", "Path"), "--patient: not for SOURCE chexpert"),
    ("table", ("--no-removal",), "--removal: not for SOURCE table"),
    ("mimic", ("--id-key", "key"), "--id-key: not for SOURCE mimic"),
    ("mimic", (), "which labels?"),
    ("dicom", (), "which labels?"),
    ("dicom", ("--labels", "in/labels.csv", "--id-key", "absent"), "no such file"),
    ("auto", (), "what this folder holds is not clear"),
    ("table", ("--uncertain", "maybe"), "'maybe'"),
    ("table", ("--allow-missing", "some"), "'some'"),
    ("table", ("--sizes", "small"), "'small'"),
    ("table", ("--sizes", "64,64"), "sizes (64,)"),
    ("table", ("--window", "dark"), "dark"),
    ("table", ("--table", "in/labels.csv", "--against", "nowhere"), "no such folder of shards"),
]


@pytest.mark.parametrize("nonsense", NONSENSE, ids=lambda case: " ".join((case[0], *case[1])))
def test_flags_that_make_no_sense_are_refused_by_name(
    make_tree: MakeTree,
    typed: Typed,
    tmp_path: Path,
    nonsense: tuple[str, tuple[str, ...], str],
) -> None:
    source, flags, named = nonsense
    make_tree(6, "in")
    quick = ("--jobs", "1", "--allow-empty-val")
    code, out, err = typed("shard", source, "in/images", "out", *quick, *flags)
    assert code in {2, 3}, err
    assert named in three_lines(err)["error"]
    assert (out, "Traceback" in err) == ("", False)
    assert not (tmp_path / "out").exists()
