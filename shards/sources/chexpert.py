"""CheXpert v1.0, full size or small, as downloaded."""

from __future__ import annotations

import csv
from pathlib import Path

import polars as pl

from cxr_engine.shards.class_lists import CHEXPERT
from cxr_engine.shards.errors import DataError
from cxr_engine.shards.findings import UNKNOWN_STAYS, LabelPolicy
from cxr_engine.shards.sources import COLUMNS, SourceTable
from cxr_engine.shards.sources.chexpert_labels import read_chexpert_labels
from cxr_engine.shards.sources.download import (
    NeededFile,
    check_folder,
    read_columns,
    refuse_repeats,
    require_files,
)
from cxr_engine.shards.sources.label_columns import UNCERTAIN, drop_uncertain
from cxr_engine.shards.sources.text_table import TextTable
from cxr_engine.shards.views import views_of

_PAGE = "the data set's page, stanfordmlgroup.github.io/competitions/chexpert"
_TABLES = (NeededFile(("train.csv",), _PAGE), NeededFile(("valid.csv",), _PAGE))
_SPLITS = ("train", "val")  # of the tables, as the data set's authors use them
_COLUMNS = ("Path", "Frontal/Lateral", "AP/PA", *CHEXPERT)
_REMEDY = f"take it as shipped, from {_PAGE}"
# The first part is the folder's name at the authors' (CheXpert-v1.0-small), not at the user's.
_PATH = r"^[^/]+/((?:train|valid)/(patient[0-9]+)/(study[0-9]+)/view[0-9]+_[a-z]+\.jpg)$"


def detect(folder: Path) -> str | None:
    """The file by which the folder is known as a download of this data set."""
    path = folder / "train.csv"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader([file.readline(10_000)]), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
    return path.name if {"Path", "Frontal/Lateral", "AP/PA"} <= set(header) else None


def read_chexpert(folder: Path, policy: LabelPolicy = UNKNOWN_STAYS) -> SourceTable:
    """Rows of train.csv and of valid.csv, which is split val; `line` counts on from one to the next.

    A frontal's position is AP or PA, a lateral's the word Lateral, since that column is blank.
    """
    check_folder(folder, "the CheXpert download, the one with train.csv")
    paths = require_files([folder], _TABLES, "the CheXpert download")
    frames = []
    for path, split in zip(paths, _SPLITS, strict=True):
        table = read_columns(path, _COLUMNS, f"this is not CheXpert's table: {_REMEDY}")
        refuse_repeats(table, "Path", _REMEDY)
        frames.append(_rows(table, folder.absolute(), split, policy))
    last = frames[0]["line"][-1]
    frames[1] = frames[1].with_columns(pl.col("line") + last)
    frame, dropped = drop_uncertain(pl.concat(frames), policy)
    notes = (
        "split: train.csv is train, valid.csv is val, no test",
        f"line numbers: those of valid.csv count on from the end of train.csv ({last})",
    )
    return SourceTable("chexpert", frame, CHEXPERT, notes, paths[0], dropped, policy)


def _rows(table: TextTable, root: Path, split: str, policy: LabelPolicy) -> pl.DataFrame:
    source = table.require(table.column("Path", ""), _REMEDY)
    parts = source.str.extract_groups(_PATH).struct.unnest()
    bad = parts["1"].is_null()
    if bad.any():
        row = int(bad.arg_true()[0])
        raise DataError(
            f"{source[row]!r} is not a path of CheXpert",
            f"{table.path}, line {table.lines[row]}, column 'Path'",
            _REMEDY,
        )
    side = table.column("Frontal/Lateral", "")
    position = table.column("AP/PA", "")
    labels = read_chexpert_labels(table, policy)
    return pl.DataFrame(
        {
            "source": parts["1"],
            "path": f"{root}/" + parts["1"],
            "line": table.lines,
            "patient": parts["2"],
            "study": parts["2"] + "/" + parts["3"],
            "view": views_of(side),
            "view_position": pl.select(
                pl.when(position != "").then(position).when(side != "").then(side)
            ).to_series(),
            "split": pl.repeat(split, len(source), dtype=pl.String, eager=True),
            "bits_stored": None,
        },
        schema=COLUMNS,
    ).with_columns(*labels.columns, labels.uncertain.alias(UNCERTAIN))
