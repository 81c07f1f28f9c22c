"""CheXpert as downloaded, whatever its folder is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cxr_engine.shards.class_lists import CHEXPERT
from cxr_engine.shards.errors import DataError, UsageError
from cxr_engine.shards.findings import LabelPolicy
from cxr_engine.shards.sources.chexpert import read_chexpert

MakeDownload = Callable[[str], Path]  # of conftest.py


def test_both_tables_are_one_data_set(make_download: MakeDownload) -> None:
    table = read_chexpert(make_download("chexpert"))
    frame = table.frame
    assert table.class_names == CHEXPERT
    assert frame["split"].to_list() == ["train"] * 4 + ["val"]
    assert frame["view"].to_list() == ["frontal", "frontal", "lateral", "frontal", "frontal"]
    assert frame["view_position"].to_list() == ["AP", "PA", "Lateral", "LL", "AP"]
    assert frame["study"].to_list()[1:4] == [
        "patient00002/study1", "patient00002/study1", "patient00002/study2",
    ]  # fmt: skip
    assert frame["line"].to_list() == [2, 3, 4, 5, 7]
    assert all(Path(path).is_file() for path in frame["path"])


def test_no_finding_is_settled_by_the_other_findings(make_download: MakeDownload) -> None:
    frame = read_chexpert(make_download("chexpert")).frame
    assert frame["label:No Finding"].to_list() == [1, 0, 0, None, 0]
    assert frame["label:Edema"].to_list() == [None, None, None, None, 0]
    assert frame["label:Fracture"].to_list() == [None, None, None, None, 1]


def test_policies_change_only_what_they_name(make_download: MakeDownload) -> None:
    folder = make_download("chexpert")
    ones = read_chexpert(folder, LabelPolicy(uncertain="positive")).frame
    assert ones["label:Edema"].to_list() == [None, 1, 1, None, 0]
    zeros = read_chexpert(folder, LabelPolicy(uncertain="negative", blank="negative")).frame
    assert zeros["label:Edema"].to_list() == [0, 0, 0, 0, 0]
    dropped = read_chexpert(folder, LabelPolicy(uncertain="drop"))
    assert dropped.frame.height == 3
    assert [row.line for row in dropped.dropped] == [3, 4]
    with pytest.raises(UsageError, match="not a policy for blank labels"):
        LabelPolicy(blank="positive")


def test_both_missing_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lacks train\.csv\[\.gz\], and valid\.csv"):
        read_chexpert(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        read_chexpert(tmp_path / "nowhere")


@pytest.mark.parametrize("path", ["../../etc/passwd", "x/train/../../view1_frontal.jpg", "x"])
def test_paths_of_another_form_are_refused(make_download: MakeDownload, path: str) -> None:
    folder = make_download("chexpert")
    text = (folder / "train.csv").read_text()
    old = "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg"
    (folder / "train.csv").write_text(text.replace(old, path))
    with pytest.raises(DataError, match="is not a path of CheXpert") as caught:
        read_chexpert(folder)
    assert "line 2" in caught.value.where
