"""PadChest's table and tree, and the labels of CXR-LT 2026 on the same images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cxr_engine.shards.class_lists import CXR_LT_2026
from cxr_engine.shards.errors import DataError, UsageError
from cxr_engine.shards.findings import LabelPolicy
from cxr_engine.shards.sources.cxr_lt_2026 import read_cxr_lt_2026
from cxr_engine.shards.sources.padchest import read_padchest
from cxr_engine.shards.sources.spreadsheet import is_rounded
from cxr_engine.shards.sources.text_table import read_text_table
from cxr_engine.shards.split import assign_splits

MakeDownload = Callable[..., Path]  # of conftest.py
TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
TRAINING = "CXRLT_2026_training.csv"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_padchest_as_downloaded(make_download: MakeDownload) -> None:
    table = read_padchest(make_download("padchest"))
    frame = table.frame
    assert table.class_names == ("nodule", "normal", "pleural effusion")
    assert frame["view"].to_list() == [
        "frontal", "lateral", "frontal", "unknown", "unknown", "frontal",
    ]  # fmt: skip
    assert frame["view_position"].to_list()[2] == "AP_horizontal"
    assert frame["bits_stored"].to_list() == [12, 12, 15, None, 14, 10]
    assert frame["patient"].to_list() == ["P1", "P1", "P1", "P2", "P3", "P4"]
    assert frame["study"].to_list() == ["1", "1", "2", "3", "4", "5"]
    assert frame["label:nodule"].to_list() == [0, 0, 1, None, 1, None]
    assert frame["label:normal"].to_list() == [1, 1, 0, None, None, None]
    assert all(Path(path).is_file() for path in frame["path"])


def test_a_blank_report_is_negative_only_by_policy(make_download: MakeDownload) -> None:
    table = read_padchest(make_download("padchest"), LabelPolicy(blank="negative"))
    assert table.frame["label:nodule"].to_list() == [0, 0, 1, None, 1, 0]


def test_chosen_classes_are_exact_names(make_download: MakeDownload) -> None:
    folder = make_download("padchest")
    assert read_padchest(folder, labels=("nodule",)).class_names == ("nodule",)
    with pytest.raises(UsageError, match="no image has the finding 'Nodule'") as caught:
        read_padchest(folder, labels=("Nodule",))
    assert "'nodule'" in caught.value.remedy


@pytest.mark.parametrize("home", [".", "images", "images/7"])
def test_flat_copies_are_found(make_download: MakeDownload, home: str) -> None:
    folder = make_download("padchest")
    (folder / home).mkdir(parents=True, exist_ok=True)
    for path in list(folder.glob("*/*.png")):
        path.rename(folder / home / path.name)
    assert all(Path(path).is_file() for path in read_padchest(folder).frame["path"])


def test_a_missing_image_is_expected_in_its_own_folder(make_download: MakeDownload) -> None:
    folder = make_download("padchest")
    (folder / "13" / "2_ccc.png").unlink()
    assert read_padchest(folder).frame["path"][2] == f"{folder.absolute()}/13/2_ccc.png"


@pytest.mark.parametrize(
    "cell",
    ["nodule", "['nodule'", "{'nodule'}", "[1]", "__import__('os')", "[" * 500, "-" * 9000 + "1"],
)
def test_a_cell_that_is_no_list_is_named_and_never_run(
    make_download: MakeDownload, cell: str
) -> None:
    folder = make_download("padchest")
    edit(folder / TABLE, "['normal']", cell)
    with pytest.raises(DataError, match="is not a list of labels") as caught:
        read_padchest(folder)
    assert "line 2, column 'Labels'" in caught.value.where


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",1_aaa.png,", ",../1_aaa.png,", "not the name of an image"),
        (",13,2014", ",../13,2014", "not a folder of PadChest"),
        (",12,", ",17,", "not a number of bits"),
        (",1_bbb.png", ",1_aaa.png", "repeats itself"),
    ],
)
def test_bad_cells_are_named_by_line(
    make_download: MakeDownload, old: str, new: str, message: str
) -> None:
    folder = make_download("padchest")
    edit(folder / TABLE, old, new)
    with pytest.raises(DataError, match=message) as caught:
        read_padchest(folder)
    assert "line" in caught.value.where


def test_missing_columns_are_listed_together(make_download: MakeDownload) -> None:
    folder = make_download("padchest")
    edit(folder / TABLE, "ImageDir", "Folder")
    edit(folder / TABLE, "Projection", "View")
    with pytest.raises(DataError, match="no column 'ImageDir', 'Projection'"):
        read_padchest(folder)


def test_cxr_lt_2026_leaves_out_the_removal_list_by_image(make_download: MakeDownload) -> None:
    folder = make_download("cxr-lt-2026")
    table = read_cxr_lt_2026(folder)
    assert table.class_names == CXR_LT_2026
    assert table.frame["source"].to_list() == [
        "1_aaa.png", "1_bbb.png", "2_ccc.png", "4_eee.png", "5_fff.png",
    ]  # fmt: skip
    dropped = [(row.line, row.source, row.reason) for row in table.dropped]
    assert dropped == [(5, "3_ddd.png", "removed")]
    assert table.frame["study"].to_list()[:3] == ["1", "1", "2"]
    assert table.frame["view"].unique().to_list() == ["unknown"]
    assert any("1 of its 2 images are in the table" in note for note in table.notes)
    kept = read_cxr_lt_2026(folder, removal=False)
    assert (kept.frame.height, kept.dropped) == (6, ())
    assert kept.frame["label:Normal"].to_list() == [1, 0, 0, 0, 0, 0]


def test_rounded_patients_are_said_and_do_not_leak(make_download: MakeDownload) -> None:
    table = read_cxr_lt_2026(make_download("cxr-lt-2026"), removal=False)
    note = next(note for note in table.notes if "spreadsheet" in note)
    assert "6 rows" in note
    assert "3 are left" in note
    real = {"1": "P1", "2": "P1", "3": "P2", "4": "P3", "5": "P4"}
    for seed in range(20):
        frame = assign_splits(table.frame, 0.5, seed)
        splits: dict[str, set[str]] = {}
        for study, split in frame.select("study", "split").iter_rows():
            splits.setdefault(real[study], set()).add(split)
        assert all(len(found) == 1 for found in splits.values())


def test_padchests_own_table_gives_patients_views_and_bits(make_download: MakeDownload) -> None:
    folder = make_download("padchest", into="both")
    make_download("cxr-lt-2026", into="both")
    table = read_cxr_lt_2026(folder)
    assert table.frame["patient"].to_list() == ["P1", "P1", "P1", "P3", "P4"]
    assert table.frame["view"].to_list() == ["frontal", "lateral", "frontal", "unknown", "frontal"]
    assert table.frame["bits_stored"].to_list() == [12, 12, 15, 14, 10]
    assert not any("spreadsheet" in note for note in table.notes)


def test_one_image_that_padchest_lacks_keeps_all_rounded_ids(make_download: MakeDownload) -> None:
    folder = make_download("padchest", into="both")
    make_download("cxr-lt-2026", into="both")
    lines = (folder / TABLE).read_text().splitlines()
    (folder / TABLE).write_text("\n".join(lines[:-1]))
    table = read_cxr_lt_2026(folder)
    assert is_rounded(table.frame["patient"]).all()
    assert table.frame["view"].to_list()[:2] == ["frontal", "lateral"]
    assert any("lacks 1 images" in note for note in table.notes)


def test_cxr_lt_2026_names_all_missing_files_and_classes(
    make_download: MakeDownload, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        read_cxr_lt_2026(tmp_path)
    assert "CXRLT_2026_training.csv" in caught.value.what
    assert "Removal.csv" in caught.value.what
    assert "--no-removal" in caught.value.remedy
    folder = make_download("cxr-lt-2026")
    edit(folder / TRAINING, "cardiomegaly", "Cardiomegaly")
    edit(folder / TRAINING, "sternotomy", "Sternotomy")
    with pytest.raises(DataError, match="no column 'cardiomegaly', 'sternotomy'"):
        read_cxr_lt_2026(folder)


def test_the_real_samples_are_understood(real_data: Path) -> None:
    tables = real_data / "tables"
    names = [line.strip() for line in (tables / "cxr-lt-2026-classes.txt").read_text().splitlines()]
    assert tuple(names) == CXR_LT_2026
    patients = read_text_table(tables / "cxr-lt-2026-removal-head.csv").cells["PatientID"]
    assert is_rounded(patients).mean() > 0.99
