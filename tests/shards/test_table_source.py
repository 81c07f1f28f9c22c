"""Any CSV beside a folder: which column is what, and where the images lie."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxr_engine.shards.errors import DataError, UsageError
from cxr_engine.shards.findings import LabelPolicy
from cxr_engine.shards.sources.table import read_table
from cxr_engine.shards.sources.table_columns import TableColumns

MakeTree = Callable[..., Any]  # returns the Tree of conftest.py


def test_usual_names_are_guessed_and_said(make_tree: MakeTree) -> None:
    table = make_tree(1).read()
    assert table.class_names == ("Mass", "Edema")
    assert "patient: patient (guessed)" in table.notes
    assert "labels: Mass, Edema (guessed)" in table.notes
    assert "split: no column" in table.notes
    assert table.frame["view"].to_list() == ["frontal", "lateral"] * 2
    assert table.frame["label:Edema"].to_list() == [0, 0, 1, 1]
    assert table.frame["line"].to_list() == [2, 3, 4, 5]
    assert all(Path(path).is_file() for path in table.frame["path"])


def test_named_columns_win_over_guesses(make_tree: MakeTree) -> None:
    tree = make_tree(1)
    for row in tree.rows:
        row |= {"owner": row["patient"] + "x", "AP/PA": "LATERAL"}
    tree.write()
    columns = TableColumns(patient="owner", view="AP/PA", study="none", labels=("Edema",))
    table = read_table(tree.csv, tree.images, columns)
    assert table.frame["patient"].to_list() == ["p0x"] * 4
    assert table.frame["view"].unique().to_list() == ["lateral"]
    assert table.frame["study"].to_list() == table.frame["source"].to_list()
    assert table.class_names == ("Edema",)
    assert "patient: owner" in table.notes


def test_a_missing_patient_column_names_the_flag(make_tree: MakeTree) -> None:
    tree = make_tree(1)
    for row in tree.rows:
        del row["patient"]
    tree.write()
    with pytest.raises(UsageError) as caught:
        tree.read()
    assert "--patient none" in caught.value.remedy
    assert str(tree.csv) in caught.value.where
    table = read_table(tree.csv, tree.images, TableColumns(patient="none"))
    assert table.frame["patient"].n_unique() == 4


def test_a_named_column_that_is_absent_is_a_usage_error(make_tree: MakeTree) -> None:
    tree = make_tree(1)
    for columns in (TableColumns(view="veiw"), TableColumns(labels=("Mas",))):
        with pytest.raises(UsageError, match="no column") as caught:
            read_table(tree.csv, tree.images, columns)
        assert caught.value.remedy in ("--view 'view'?", "--labels 'Mass'?")


def test_study_ids_that_recur_get_the_patient_before_them(make_tree: MakeTree) -> None:
    tree = make_tree(2)
    for row in tree.rows:
        row["study"] = str(int(row["study"][1:]) % 2)
    table = tree.write().read()
    assert table.frame["study"].unique().sort().to_list() == ["p0/0", "p0/1", "p1/0", "p1/1"]
    assert any("patient/study" in note for note in table.notes)


def test_images_are_found_from_the_images_folder_and_from_the_table(make_tree: MakeTree) -> None:
    tree = make_tree(1)
    wanted = tree.read().frame["path"]
    absolute = str(tree.images.absolute())
    for prefix in ("images/", "./images/../images/", absolute + "/"):
        moved = [row | {"image": prefix + row["image"]} for row in tree.rows]
        type(tree)(tree.folder, moved).write()
        table = tree.read()
        assert table.frame["path"].equals(wanted)
        assert not table.frame["source"].str.contains(absolute, literal=True).any()


@pytest.mark.parametrize("image", ["../labels.csv", "/etc/passwd", "a/../../../x.png", "..", "."])
def test_paths_out_of_the_images_folder_are_refused(make_tree: MakeTree, image: str) -> None:
    tree = make_tree(1)
    tree.rows[2]["image"] = image
    tree.write()
    with pytest.raises(DataError, match="lies outside") as caught:
        tree.read()
    assert "line 4" in caught.value.where


@pytest.mark.parametrize("column", ["image", "patient"])
def test_blank_images_and_patients_are_named_by_line(make_tree: MakeTree, column: str) -> None:
    tree = make_tree(1)
    tree.rows[1][column] = " "
    tree.write()
    with pytest.raises(DataError, match="is blank in 1 rows") as caught:
        tree.read()
    assert "line 3" in caught.value.where


def test_splits_are_read_by_their_usual_words(make_tree: MakeTree) -> None:
    tree = make_tree(1)
    for row, split in zip(tree.rows, ("Train", "validate", "", "development"), strict=True):
        row["split"] = split
    assert tree.write().read().frame["split"].to_list() == ["train", "val", None, "dev"]
    tree.rows[3]["split"] = "holdout"
    tree.write()
    with pytest.raises(DataError, match="'holdout' is not a split") as caught:
        tree.read()
    assert "line 5" in caught.value.where


def test_a_bad_label_in_a_named_column_is_refused(make_tree: MakeTree) -> None:
    tree = make_tree(1)
    tree.rows[3]["Mass"] = "maybe"
    tree.write()
    assert tree.read().class_names == ("Edema",)
    with pytest.raises(DataError, match="'maybe' is not a label") as caught:
        read_table(tree.csv, tree.images, TableColumns(labels=("Mass",)))
    assert "line 5, column 'Mass'" in caught.value.where


def test_without_any_label_column_the_remedy_names_the_flag(make_tree: MakeTree) -> None:
    tree = make_tree(1)
    for row in tree.rows:
        row |= {"Mass": "", "Edema": "unclear"}
    tree.write()
    with pytest.raises(DataError, match="no label column") as caught:
        tree.read()
    assert "--labels" in caught.value.remedy


def test_an_absent_images_folder_is_a_usage_error(make_tree: MakeTree) -> None:
    tree = make_tree(1)
    with pytest.raises(UsageError, match="no such folder"):
        read_table(tree.csv, tree.folder / "pictures")


def test_unknown_view_positions_are_said(make_tree: MakeTree) -> None:
    tree = make_tree(1)
    tree.rows[0]["view"] = "Axial"
    assert "view positions taken as unknown: 'Axial' (1)" in tree.write().read().notes


def test_columns_of_lists_are_guessed_where_no_column_holds_labels(make_tree: MakeTree) -> None:
    tree = make_tree(1)
    lists = ("Mass | Edema", "", "normal", "Edema")
    for row, cell in zip(tree.rows, lists, strict=True):
        del row["Mass"], row["Edema"]
        row |= {"Finding Labels": cell, "findings": "The heart is | of normal size."}
    table = tree.write().read()
    assert table.class_names == ("Edema", "Mass", "normal")
    assert table.frame["label:Edema"].to_list() == [1, None, 0, 1]
    assert "findings: Finding Labels (guessed)" in table.notes
    negative = read_table(tree.csv, tree.images, policy=LabelPolicy(blank="negative"))
    assert negative.frame["label:Edema"].to_list() == [1, 0, 0, 1]
    chosen = TableColumns(findings="Finding Labels", labels=("Mass",))
    assert read_table(tree.csv, tree.images, chosen).class_names == ("Mass",)
    wrong = TableColumns(findings="Finding Labels", labels=("Maas",))
    with pytest.raises(UsageError, match="no image has the finding 'Maas'") as caught:
        read_table(tree.csv, tree.images, wrong)
    assert "'Mass'" in caught.value.remedy


def test_a_column_of_zeros_and_ones_named_labels_is_a_class(make_tree: MakeTree) -> None:
    tree = make_tree(1)
    for row in tree.rows:
        del row["Edema"]
        row["labels"] = row.pop("Mass")
    assert tree.write().read().class_names == ("labels",)


def test_uncertain_labels_follow_the_policy(make_tree: MakeTree) -> None:
    tree = make_tree(2)  # Edema: 0 and 1 twice each, then two blanks and two -1
    for uncertain, label in (("unknown", None), ("positive", 1), ("negative", 0)):
        table = read_table(tree.csv, tree.images, policy=LabelPolicy(uncertain=uncertain))
        assert table.frame["label:Edema"].to_list() == [0, 0, 1, 1, None, None, label, label]
    dropped = read_table(tree.csv, tree.images, policy=LabelPolicy(uncertain="drop"))
    assert dropped.frame.height == 6
    assert [(row.line, row.reason) for row in dropped.dropped] == [
        (8, "uncertain"),
        (9, "uncertain"),
    ]


def test_bits_of_the_pixels_are_read_where_the_table_has_them(make_tree: MakeTree) -> None:
    tree = make_tree(1)
    for row, bits in zip(tree.rows, ("12.0", "", "8", "16"), strict=True):
        row["bits_stored"] = bits
    assert tree.write().read().frame["bits_stored"].to_list() == [12, None, 8, 16]
    tree.rows[2]["bits_stored"] = "many"
    with pytest.raises(DataError, match="'many' is not a number of bits"):
        tree.write().read()


def test_the_iu_table_keeps_its_pairs_of_views(real_data: Path, tmp_path: Path) -> None:
    csv_path = real_data / "tables" / "iu_xray_7470.csv.gz"
    with gzip.open(csv_path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    pairs: dict[str, list[str]] = {}
    for row in rows:
        side = "lateral" if row["view"] == "Lateral" else "frontal"
        pairs.setdefault(row["study_id"], []).append(side)
    table = read_table(csv_path, tmp_path)
    frame = table.frame
    assert (frame.height, frame["study"].n_unique()) == (7470, 3851)
    found = dict(frame.group_by("study").agg("view").iter_rows())
    assert {study: sorted(views) for study, views in found.items()} == {
        study: sorted(views) for study, views in pairs.items()
    }
    assert sum(set(views) == {"frontal", "lateral"} for views in found.values()) > 3300
    assert len(table.class_names) == 121
    assert frame["label:normal"].sum() == sum("normal" in r["labels"].split("|") for r in rows)
