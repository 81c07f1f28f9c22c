"""NIH ChestX-ray14 as downloaded from the Box folder or from Kaggle."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

import polars as pl

from cxr_engine.shards.class_lists import NIH as FINDINGS  # "No Finding" is a class like any other
from cxr_engine.shards.errors import DataError
from cxr_engine.shards.findings import UNKNOWN_STAYS
from cxr_engine.shards.sources import COLUMNS, SourceTable
from cxr_engine.shards.sources.download import (
    NeededFile,
    check_folder,
    read_columns,
    refuse_repeats,
    require_files,
)
from cxr_engine.shards.sources.images import locate, plain_file_names
from cxr_engine.shards.sources.label_columns import labels_from_lists
from cxr_engine.shards.sources.text_table import TextTable, read_text_lines
from cxr_engine.shards.views import views_of

# The later columns' names hold commas ("OriginalImage[Width,Height]") and nothing that we need.
_COLUMNS = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "View Position")
_PAGE = "the data set's page, nihcc.app.box.com/v/ChestXray-NIHCC"
_TABLE = NeededFile(("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv"), _PAGE)  # corrected first
_TEST_LIST = "test_list.txt"
_TRAIN_VAL_LIST = "train_val_list.txt"
_REMEDY = f"take it as shipped, from {_PAGE}"


def detect(folder: Path) -> str | None:
    """The file by which the folder is known as a download of this data set."""
    table = _TABLE.find([folder])
    return table.name if table else None


def read_nih(folder: Path) -> SourceTable:
    """Rows of the NIH table with the images found in `images_0xx/images`, `images` or the folder.

    A study is a patient's follow-up number. Where the official lists are present the test list
    is split test; train and val come from the rest, patient by patient.
    """
    check_folder(folder, "the NIH download")
    (path,) = require_files([folder], [_TABLE], "the NIH download")
    table = read_columns(path, _COLUMNS, f"this is not the NIH's table: {_REMEDY}")
    cells = {name: table.column(name, "") for name in _COLUMNS}
    index = plain_file_names(table, cells["Image Index"], _REMEDY)
    refuse_repeats(table, "Image Index", _REMEDY)
    patient = table.require(cells["Patient ID"], _REMEDY)
    position = cells["View Position"]
    root = folder.absolute()
    expected = pl.repeat(str(root / "images"), len(index), dtype=pl.String, eager=True)
    homes = [*sorted(root.glob("images_*/images")), root / "images", root]
    paths, path_notes = locate(index, homes, expected)
    splits, split_notes = _official_splits(folder, index)
    frame = pl.DataFrame(
        {
            "source": index,
            "path": paths,
            "line": table.lines,
            "patient": patient,
            "study": patient + "-" + table.require(cells["Follow-up #"], _REMEDY),
            "view": views_of(position),
            "view_position": position.set(position == "", None),
            "split": splits,
            "bits_stored": None,
        },
        schema=COLUMNS,
    ).with_columns(_labels(table, cells["Finding Labels"]))
    notes = (f"table: {table.path.name}", *path_notes, *split_notes)
    return SourceTable("nih", frame, FINDINGS, notes, table.path)


def _official_splits(folder: Path, index: pl.Series) -> tuple[pl.Series, list[str]]:
    lists = {
        name: set(read_text_lines(folder / name))
        for name in (_TRAIN_VAL_LIST, _TEST_LIST)
        if (folder / name).is_file()
    }
    if not lists:
        none = pl.Series("split", [None] * len(index), pl.String)
        return none, ["no official lists: split into train and val by patient, no test"]
    for name in (_TRAIN_VAL_LIST, _TEST_LIST):
        if name not in lists:
            remedy = f"{_REMEDY}; or move the other list away to split by patient"
            raise DataError(f"{name} is missing beside the other list", str(folder), remedy)
    both = lists[_TRAIN_VAL_LIST] & lists[_TEST_LIST]
    if both:
        what = f"{len(both)} images are in both official lists, such as {min(both)}"
        raise DataError(what, str(folder), f"the lists are damaged: {_REMEDY}")
    is_test = index.is_in(list(lists[_TEST_LIST]))
    is_listed = is_test | index.is_in(list(lists[_TRAIN_VAL_LIST]))
    split = pl.select(pl.when(is_test).then(pl.lit("test")).alias("split")).to_series()
    notes = ["split: official test list; train and val by patient from the rest"]
    if not is_listed.all():
        notes.append(f"{(~is_listed).sum()} images are in neither official list")
    return split, notes


def _labels(table: TextTable, cells: pl.Series) -> list[pl.Series]:
    table.require(cells, _REMEDY)
    named = cells.str.split("|")
    strange = set(named.explode().unique()) - set(FINDINGS)
    if strange:
        row = next(row for row, names in enumerate(named) if strange & set(names))
        name = next(name for name in named[row] if name in strange)
        near = get_close_matches(name, FINDINGS, n=1, cutoff=0.0)
        raise DataError(
            f"{name!r} is not a finding of the NIH; the nearest is {near[0]!r}",
            f"{table.path}, line {table.lines[row]}, column {cells.name!r}",
            f"correct the name, or {_REMEDY}",
        )
    # The table names every positive, and leaves nothing blank for a policy to decide.
    complete = pl.repeat(True, len(named), dtype=pl.Boolean, eager=True)
    return labels_from_lists(named, FINDINGS, complete, UNKNOWN_STAYS)
