"""`auto` finds the layout of a folder, or says what it looked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cxr_engine.shards.errors import UsageError
from cxr_engine.shards.sources.detect import detect_layout

MakeDownload = Callable[..., Path]  # of conftest.py


@pytest.mark.parametrize("name", ["mimic", "padchest", "cxr-lt-2026", "chexpert"])
def test_each_download_is_known(make_download: MakeDownload, name: str) -> None:
    assert detect_layout(make_download(name)) == name


def test_a_tree_without_tables_is_mimics(make_download: MakeDownload) -> None:
    assert detect_layout(make_download("mimic") / "files") == "mimic"


@pytest.mark.parametrize("name", ["Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv.gz"])
def test_nih_is_known_by_its_table(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert detect_layout(tmp_path) == "nih"


def test_cxr_lt_2026_beside_padchests_table_is_the_challenge(make_download: MakeDownload) -> None:
    make_download("padchest", into="both")
    assert detect_layout(make_download("cxr-lt-2026", into="both")) == "cxr-lt-2026"


def test_dicom_files_come_before_a_single_table(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,Mass\n")
    assert detect_layout(tmp_path) == "table"
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "1").write_bytes(bytes(128) + b"DICM")
    assert detect_layout(tmp_path) == "dicom"


def test_two_data_sets_in_a_folder_are_named(make_download: MakeDownload) -> None:
    make_download("mimic", into="both")
    with pytest.raises(UsageError, match="several data sets") as caught:
        detect_layout(make_download("chexpert", into="both"))
    assert "shard mimic or chexpert" in caught.value.remedy


def test_an_unknown_folder_is_told_what_was_looked_for(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match="not clear") as caught:
        detect_layout(tmp_path)
    for word in ("Data_Entry_2017", "PADCHEST", "tables in it: a.csv, b.csv"):
        assert word in caught.value.where
    with pytest.raises(UsageError, match="no such folder"):
        detect_layout(tmp_path / "nowhere")
