"""MIMIC-CXR-JPG with the labels of CXR-LT 2023, CXR-LT 2024 and CheXpert."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from cxr_engine.shards.class_lists import (
    CHEXPERT,
    CXR_LT_2023,
    CXR_LT_2024_TASK1,
    CXR_LT_2024_TASK2,
    CXR_LT_2024_TASK3,
)
from cxr_engine.shards.errors import DataError, UsageError
from cxr_engine.shards.findings import LabelPolicy
from cxr_engine.shards.sources import SourceTable
from cxr_engine.shards.sources.mimic import read_mimic

MakeDownload = Callable[[str], Path]  # of conftest.py
CHEXPERT_CSV = "mimic-cxr-2.0.0-chexpert.csv.gz"


@pytest.fixture
def mimic(make_download: MakeDownload) -> Path:
    return make_download("mimic")


def labels_of(table: SourceTable, row: int) -> dict[str, int | None]:
    values = table.frame.row(row, named=True)
    return {name: values["label:" + name] for name in table.class_names}


def positives(table: SourceTable, row: int) -> list[str]:
    return [name for name, label in labels_of(table, row).items() if label == 1]


def edit(path: Path, old: str, new: str) -> None:
    packed = path.suffix == ".gz"
    text = gzip.decompress(path.read_bytes()).decode() if packed else path.read_text()
    assert old in text
    changed = text.replace(old, new, 1).encode()
    path.write_bytes(gzip.compress(changed) if packed else changed)


def test_cxr_lt_2024_gives_forty_classes_and_task_three_only_where_it_is_labelled(
    mimic: Path,
) -> None:
    table = read_mimic(mimic, mimic / "cxr-lt-2024")
    assert table.class_names == CXR_LT_2024_TASK1 + CXR_LT_2024_TASK3
    assert table.frame["split"].to_list() == [None, None, None, "dev", "test"]
    assert table.frame["view"].to_list() == ["frontal", "lateral", "unknown", "frontal", "frontal"]
    assert table.frame["study"].to_list()[:3] == ["50414267", "50414267", "53189527"]
    assert table.frame["patient"].to_list()[:3] == ["10000032"] * 3
    assert all(Path(path).is_file() for path in table.frame["path"])
    assert positives(table, 2) == list(CXR_LT_2024_TASK1[2:4])
    bulla = table.frame["label:Bulla"].to_list()
    assert bulla == [None, None, None, 0, None], "absent from a table is unknown, never 0"
    assert any("test_labeled_task2.csv" in note for note in table.notes)


def test_gold_labels_of_task_two_are_read_alone_and_by_name(mimic: Path) -> None:
    table = read_mimic(mimic, mimic / "cxr-lt-2024" / "test_labeled_task2.csv")
    assert table.class_names == CXR_LT_2024_TASK2
    assert positives(table, 0) == list(CXR_LT_2024_TASK2[4:6])
    assert table.frame["split"].to_list() == ["test"]


def test_gold_labels_that_contradict_report_labels_are_not_mixed(mimic: Path) -> None:
    kit = mimic / "cxr-lt-2024"
    (kit / "test_labeled_task1.csv").rename(kit / "test_labeled.csv")
    (kit / "development_labeled_task1.csv").unlink()
    with pytest.raises(DataError, match="contradict each other") as caught:
        read_mimic(mimic, kit)
    assert "test_labeled_task2.csv" in caught.value.where


def test_cxr_lt_2023_is_known_by_its_column_path(mimic: Path) -> None:
    folder = mimic / "cxr-lt-2023"
    for path in folder.iterdir():
        edit(path, "dicom_id,", "image,")
    table = read_mimic(mimic, folder)
    assert table.class_names == CXR_LT_2023
    assert table.frame.height == 5
    assert positives(table, 0) == list(CXR_LT_2023[:2])
    only_train = read_mimic(mimic, folder / "train.csv")
    assert only_train.frame["split"].null_count() == only_train.frame.height == 3


def test_labels_with_a_split_column_need_no_file_name(mimic: Path) -> None:
    path = mimic / "labels.csv"
    text = (mimic / "cxr-lt-2024" / "train_labeled.csv").read_text().splitlines()
    words = ("split", "train", "development", "test")
    path.write_text("\n".join(f"{line},{word}" for line, word in zip(text, words, strict=True)))
    assert read_mimic(mimic, path).frame["split"].to_list() == [None, "dev", "test"]


def test_columns_in_any_order_give_the_same_labels(mimic: Path) -> None:
    path = mimic / "cxr-lt-2024" / "train_labeled.csv"
    plain = read_mimic(mimic, path)
    rows = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("\n".join(",".join(reversed(row)) for row in rows))
    turned = read_mimic(mimic, path)
    assert turned.class_names == plain.class_names[::-1]
    assert turned.frame.select(plain.frame.columns).equals(plain.frame)


def test_a_name_that_is_nearly_a_class_is_refused(mimic: Path) -> None:
    path = mimic / "cxr-lt-2024" / "train_labeled.csv"
    edit(path, "Pleural Effusion", "Pleural effusion")
    with pytest.raises(DataError, match="the nearest is 'Pleural Effusion'"):
        read_mimic(mimic, path)


def test_a_list_without_labels_says_which_tables_have_them(mimic: Path) -> None:
    path = mimic / "development.csv"
    path.write_text("dicom_id,fpath\na,files/a.jpg\n")
    with pytest.raises(DataError, match="no column is a class") as caught:
        read_mimic(mimic, path)
    assert "train_labeled.csv" in caught.value.remedy


def test_chexpert_labels_are_a_studys_and_the_split_is_mimics(mimic: Path) -> None:
    table = read_mimic(mimic, mimic / CHEXPERT_CSV)
    assert table.class_names == CHEXPERT
    assert table.frame.height == 6
    assert table.frame["split"].to_list() == ["train", "train", "train", "val", "test", "train"]
    assert labels_of(table, 0) == labels_of(table, 1)
    assert labels_of(table, 4)["Pneumonia"] is None
    assert labels_of(table, 4)["Pleural Effusion"] == 0
    assert set(labels_of(table, 5).values()) == {None}
    assert any("1 images are of studies without a row" in note for note in table.notes)


def test_no_finding_is_negative_beside_a_finding_and_unknown_beside_devices(mimic: Path) -> None:
    table = read_mimic(mimic, mimic / CHEXPERT_CSV)
    assert table.frame["label:No Finding"].to_list() == [1, 1, 0, None, 0, None]


def test_uncertain_and_blank_follow_the_policy(mimic: Path) -> None:
    labels = mimic / CHEXPERT_CSV
    expected = {"unknown": None, "positive": 1, "negative": 0}
    for uncertain, label in expected.items():
        table = read_mimic(mimic, labels, LabelPolicy(uncertain=uncertain))
        assert labels_of(table, 4)["Pneumonia"] == label
        assert labels_of(table, 4)["Edema"] is None
    table = read_mimic(mimic, labels, LabelPolicy(blank="negative"))
    assert labels_of(table, 4)["Edema"] == 0
    assert labels_of(table, 3)["No Finding"] == 0
    assert table.policy.blank == "negative"


def test_dropping_uncertain_rows_accounts_for_each(mimic: Path) -> None:
    table = read_mimic(mimic, mimic / CHEXPERT_CSV, LabelPolicy(uncertain="drop"))
    assert table.frame.height + len(table.dropped) == 6
    assert [(row.line, row.reason, row.what) for row in table.dropped] == [
        (4, "uncertain", "label Pneumonia is uncertain"),
        (6, "uncertain", "label Pneumonia is uncertain"),
    ]


@pytest.mark.parametrize("place", ["files-512", "derived/files", "."])
def test_derived_trees_are_found(mimic: Path, place: str) -> None:
    files = mimic / "files"
    folder = mimic / "derived" if place == "derived/files" else mimic
    if place == ".":
        folder = files
    else:
        (mimic / place).parent.mkdir(exist_ok=True)
        files.rename(mimic / place)
    table = read_mimic(folder, mimic / "cxr-lt-2024")
    assert all(Path(path).is_file() for path in table.frame["path"])


def test_two_trees_take_the_full_size_and_say_so(mimic: Path) -> None:
    (mimic / "files-512" / "p10").mkdir(parents=True)
    table = read_mimic(mimic, mimic / "cxr-lt-2024")
    assert all("/files/p1" in path for path in table.frame["path"])
    assert any("not read: files-512" in note for note in table.notes)


def test_all_missing_files_are_named_at_once(mimic: Path) -> None:
    for name in ("metadata", "split"):
        (mimic / f"mimic-cxr-2.0.0-{name}.csv.gz").unlink()
    with pytest.raises(DataError) as caught:
        read_mimic(mimic, mimic / CHEXPERT_CSV)
    assert "metadata.csv[.gz], and mimic-cxr-2.?.?-split.csv[.gz]" in caught.value.what
    assert "physionet.org/content/mimic-cxr-jpg" in caught.value.remedy
    with pytest.raises(UsageError, match="no such labels, and no mimic") as usage:
        read_mimic(mimic, mimic / "nowhere.csv")
    assert "cxr-lt-iccv-workshop-cvamd" in usage.value.remedy


def test_a_foreign_table_of_labels_is_told_apart(mimic: Path) -> None:
    path = mimic / "x.csv"
    path.write_text("image,Mass\na.png,1\n")
    with pytest.raises(DataError, match="neither a table of CXR-LT"):
        read_mimic(mimic, path)


def test_labels_of_images_that_the_metadata_lacks_are_refused(mimic: Path) -> None:
    edit(mimic / "mimic-cxr-2.0.0-metadata.csv.gz", "02aa804e", "02aa804f")
    with pytest.raises(DataError, match="1 images with labels are not in MIMIC's metadata"):
        read_mimic(mimic, mimic / "cxr-lt-2024")


def test_labels_of_another_study_are_refused(mimic: Path) -> None:
    edit(mimic / "cxr-lt-2024" / "train_labeled.csv", ",s50414267", ",s50414268")
    with pytest.raises(DataError, match="belong to another study"):
        read_mimic(mimic, mimic / "cxr-lt-2024")


def test_ids_that_would_lead_out_of_the_tree_are_refused(mimic: Path) -> None:
    edit(mimic / "mimic-cxr-2.0.0-metadata.csv.gz", "02aa804e", "../../..")
    with pytest.raises(DataError, match="'dicom_id' holds what is not an id") as caught:
        read_mimic(mimic, mimic / "cxr-lt-2024")
    assert caught.value.where.endswith("line 2")


def test_an_image_twice_in_a_table_is_named_by_its_lines(mimic: Path) -> None:
    path = mimic / "cxr-lt-2024" / "train_labeled.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(DataError, match="repeats itself") as caught:
        read_mimic(mimic, path)
    assert caught.value.where.endswith("lines 2 and 5")


def test_the_sixth_image_without_labels_is_counted(mimic: Path) -> None:
    table = read_mimic(mimic, mimic / "cxr-lt-2024")
    assert any("1 of 6 images have no row" in note for note in table.notes)
    assert table.frame.select(pl.col("bits_stored").null_count()).item() == 5
