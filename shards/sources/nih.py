"""NIH ChestX-ray14 as downloaded from the Box folder or from Kaggle."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

import polars as pl

from cxr_engine.shards.errors import DataError, UsageError
from cxr_engine.shards.findings import LABEL_PREFIX
from cxr_engine.shards.sources import COLUMNS, SourceTable
from cxr_engine.shards.sources.listing import Listing
from cxr_engine.shards.sources.text_table import TextTable, read_text_table
from cxr_engine.shards.views import views_of

# Order and spelling of the data set's own paper; "No Finding" is a class like any other.
FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia",
    "Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening",
    "Hernia", "No Finding",
)  # fmt: skip

# The later columns' names hold commas ("OriginalImage[Width,Height]") and nothing that we need.
_COLUMNS = (
    "Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age",
    "Patient Gender", "View Position",
)  # fmt: skip
_TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")  # the corrected one first
_TEST_LIST = "test_list.txt"
_TRAIN_VAL_LIST = "train_val_list.txt"
_REMEDY = "download it from the data set's page, nihcc.app.box.com/v/ChestXray-NIHCC"


def read_nih(folder: Path) -> SourceTable:
    """Rows of the NIH table with the images found in `images_0xx/images`, `images` or the folder.

    A study is a patient's follow-up number. Where the official lists are present the test list
    is split test; train and val come from the rest, patient by patient.
    """
    if not folder.is_dir():
        raise UsageError("no such folder", str(folder), "name the folder of the NIH download")
    table = _read_entries(folder)
    cells = {name: table.column(name, "") for name in _COLUMNS}
    index = table.require(cells["Image Index"], _REMEDY)
    patient = table.require(cells["Patient ID"], _REMEDY)
    position = cells["View Position"]
    paths, path_notes = _locate(folder, index)
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


def _read_entries(folder: Path) -> TextTable:
    candidates = [folder / (name + ending) for name in _TABLES for ending in ("", ".gz")]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise DataError(f"no {_TABLES[0]} or {_TABLES[1]} (or .gz)", str(folder), _REMEDY)
    table = read_text_table(path)
    missing = [name for name in _COLUMNS if name not in table.cells.columns]
    if missing:
        raise DataError(f"no column {missing[0]!r}", str(path), f"not the NIH's table: {_REMEDY}")
    return table


def _locate(folder: Path, index: pl.Series) -> tuple[pl.Series, list[str]]:
    """Path of each image; one that is nowhere gets the place where Box would have put it."""
    root = folder.absolute()
    homes = [*sorted(root.glob("images_*/images")), root / "images", root]
    listing = Listing()
    found: dict[str, str] = {}
    twice = 0
    for home in homes:
        for name in listing.files(str(home)):
            twice += name in found and name.endswith(".png")
            found.setdefault(name, f"{home}/{name}")
    expected = root / "images"
    bad = index.str.contains("/", literal=True)
    if bad.any():
        row = int(bad.arg_true()[0])
        what = f"{index[row]!r} is not a file name of the NIH"
        raise DataError(what, f"{folder}, row {row + 1}", f"not the NIH's table: {_REMEDY}")
    paths = [found.get(name) or f"{expected}/{name}" for name in index]
    notes = [f"{twice} images lie in two folders: the first was taken"] if twice else []
    return pl.Series("path", paths, pl.String), notes


def _official_splits(folder: Path, index: pl.Series) -> tuple[pl.Series, list[str]]:
    lists = {
        name: set((folder / name).read_text(encoding="utf-8").split())
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
            f"correct the name, or take the table as shipped: {_REMEDY}",
        )
    # The table names every positive: true is POSITIVE (1), false is NEGATIVE (0).
    return [named.list.contains(name).cast(pl.Int8).alias(LABEL_PREFIX + name) for name in FINDINGS]
