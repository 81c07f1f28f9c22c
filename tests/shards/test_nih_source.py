"""NIH ChestX-ray14 in the forms in which it is downloaded."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from cxr_engine.shards.build import ShardOptions, build_shards
from cxr_engine.shards.errors import DataError
from cxr_engine.shards.manifest import read_manifest
from cxr_engine.shards.sources.nih import FINDINGS, read_nih

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS = (
    ("00000001_000.png", "Cardiomegaly|Emphysema", "0", "1", "PA"),
    ("00000001_001.png", "No Finding", "1", "1", "AP"),
    ("00000002_000.png", "Pleural_Thickening", "0", "2", "PA"),
    ("00000003_000.png", "Hernia", "0", "3", "PA"),
)
GENERATIONS = {
    "Data_Entry_2017_v2020.csv": (HEADER, "057", ""),
    "Data_Entry_2017.csv": (HEADER + ",", "057Y", ","),  # a twelfth, empty column
}


def write_table(folder: Path, name: str, rows: tuple[tuple[str, ...], ...] = ROWS) -> None:
    header, age, end = GENERATIONS[name.removesuffix(".gz")]
    lines = [
        f"{image},{findings},{follow_up},{patient},{age},M,{view},2682,2749,0.143,0.143{end}"
        for image, findings, follow_up, patient, view in rows
    ]
    text = "\n".join([header, *lines, ""]).encode()
    (folder / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)


def write_images(folder: Path, layout: str) -> None:
    for number, (image, *_) in enumerate(ROWS):
        home = folder / layout.format(number // 2 + 1)
        home.mkdir(parents=True, exist_ok=True)
        # The NIH shipped a few of its gray pictures as RGBA.
        mode = "RGBA" if number == 2 else "L"
        Image.linear_gradient("L").rotate(90 * number).convert(mode).save(home / image)


@pytest.mark.parametrize("layout", ["images_{:03d}/images", "images", "."])
@pytest.mark.parametrize("name", [*GENERATIONS, "Data_Entry_2017_v2020.csv.gz"])
def test_layouts_and_generations(tmp_path: Path, layout: str, name: str) -> None:
    write_table(tmp_path, name)
    write_images(tmp_path, layout)
    table = read_nih(tmp_path)
    assert table.class_names == FINDINGS
    assert table.frame["study"].to_list() == ["1-0", "1-1", "2-0", "3-0"]
    assert table.frame["view"].unique().to_list() == ["frontal"]
    assert table.frame["split"].null_count() == 4
    positives = [
        [name for name in FINDINGS if row["label:" + name] == 1]
        for row in table.frame.iter_rows(named=True)
    ]
    assert positives == [sorted(row[1].split("|"), key=FINDINGS.index) for row in ROWS]
    assert all(Path(path).is_file() for path in table.frame["path"])


def test_sharding_gives_the_gray_plane_of_every_picture(tmp_path: Path) -> None:
    source, out = tmp_path / "nih", tmp_path / "out"
    source.mkdir()
    write_table(source, "Data_Entry_2017.csv")
    write_images(source, "images_{:03d}/images")
    report = build_shards(
        read_nih(source), out, ShardOptions(size=32, jobs=1, allow_empty_val=True)
    )
    assert (report.rows_read, report.rows_written) == (4, 4)
    assert sorted(read_manifest(out).frame["key"]) == [row[0][:-4] for row in ROWS]


def test_official_lists_give_the_test_split(tmp_path: Path) -> None:
    write_table(tmp_path, "Data_Entry_2017.csv")
    (tmp_path / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n")
    (tmp_path / "test_list.txt").write_text("00000002_000.png")
    table = read_nih(tmp_path)
    assert table.frame["split"].to_list() == [None, None, "test", None]
    assert "1 images are in neither official list" in table.notes


def test_one_official_list_alone_or_an_overlap_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path, "Data_Entry_2017.csv")
    (tmp_path / "test_list.txt").write_text("00000002_000.png\n")
    with pytest.raises(DataError, match=r"train_val_list\.txt is missing"):
        read_nih(tmp_path)
    (tmp_path / "train_val_list.txt").write_text("00000002_000.png\n")
    with pytest.raises(DataError, match="both official lists"):
        read_nih(tmp_path)


def test_a_list_that_is_not_text_is_named(tmp_path: Path) -> None:
    write_table(tmp_path, "Data_Entry_2017.csv")
    (tmp_path / "train_val_list.txt").write_text("00000001_000.png\n")
    (tmp_path / "test_list.txt").write_bytes(b"\xff\xfe0\x000\x00")
    with pytest.raises(DataError, match="not UTF-8") as caught:
        read_nih(tmp_path)
    assert caught.value.where.endswith("test_list.txt")


def test_an_image_named_twice_is_refused_by_its_lines(tmp_path: Path) -> None:
    write_table(tmp_path, "Data_Entry_2017.csv", (*ROWS, ROWS[1]))
    with pytest.raises(DataError, match="repeats itself in 2 rows") as caught:
        read_nih(tmp_path)
    assert caught.value.where.endswith("lines 3 and 6")


def test_an_unknown_finding_names_the_nearest(tmp_path: Path) -> None:
    rows = (*ROWS[:2], ("00000002_000.png", "Mass|Pleural Thickening", "0", "2", "PA"))
    write_table(tmp_path, "Data_Entry_2017.csv", rows)
    with pytest.raises(DataError) as caught:
        read_nih(tmp_path)
    assert "'Pleural_Thickening'" in caught.value.what
    assert "line 4" in caught.value.where


def test_a_missing_table_and_a_foreign_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lacks Data_Entry_2017_v2020\.csv"):
        read_nih(tmp_path)
    (tmp_path / "Data_Entry_2017.csv").write_text("path,label\na.png,1\n")
    with pytest.raises(DataError, match="no column 'Image Index'"):
        read_nih(tmp_path)


def test_an_image_index_with_a_folder_is_refused(tmp_path: Path) -> None:
    rows = (ROWS[0], ("../../secret.png", "Mass", "0", "2", "PA"))
    write_table(tmp_path, "Data_Entry_2017.csv", rows)
    with pytest.raises(DataError, match="not the name of an image"):
        read_nih(tmp_path)


def test_the_real_table_counts_as_published(real_data: Path, tmp_path: Path) -> None:
    table = real_data / "tables" / "Data_Entry_2017_v2020.csv.gz"
    (tmp_path / table.name).symlink_to(table)
    source = read_nih(tmp_path)
    published = (11559, 2776, 13317, 19894, 5782, 6331, 1431, 5302, 4667, 2303, 2516, 1686, 3385,
                 227, 60361)  # fmt: skip
    counts = source.frame.select(pl.col("^label:.*$").cast(pl.Int64).sum()).row(0)
    assert counts == published
    assert source.frame["patient"].n_unique() == 30_805
    assert source.frame["view_position"].value_counts().sort("count").rows() == [
        ("AP", 44_810),
        ("PA", 67_310),
    ]


def test_missing_images_of_the_real_table_are_counted(real_data: Path, tmp_path: Path) -> None:
    table = real_data / "tables" / "Data_Entry_2017_v2020.csv.gz"
    source = tmp_path / "nih"
    images = source / "images_001" / "images"
    images.mkdir(parents=True)
    (source / table.name).symlink_to(table)
    for path in sorted((real_data / "cxr-dev" / "images" / "nih").iterdir())[:20]:
        (images / path.name).symlink_to(path)
    options = ShardOptions(size=32, jobs=1, allow_missing=112_100)
    rows = read_nih(source)
    report = build_shards(rows, tmp_path / "out", options)
    assert report.rows_written == 20
    assert report.dropped == {"missing": 112_100, "unreadable": 0}
    with pytest.raises(DataError, match="112100 of 112120 images are missing"):
        build_shards(rows, tmp_path / "out2", ShardOptions(allow_missing=100))
    assert not (tmp_path / "out2").exists()
