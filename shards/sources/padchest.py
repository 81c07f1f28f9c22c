"""PadChest as downloaded: 16-bit PNG and a table whose labels are lists written by Python."""

from __future__ import annotations

import ast
from pathlib import Path

import polars as pl

from cxr_engine.shards.errors import DataError
from cxr_engine.shards.findings import UNKNOWN_STAYS, LabelPolicy
from cxr_engine.shards.sources import SourceTable
from cxr_engine.shards.sources.download import check_folder, require_files
from cxr_engine.shards.sources.label_columns import choose_findings, labels_from_lists
from cxr_engine.shards.sources.padchest_images import REMEDY, TABLE, locate_padchest, read_facts
from cxr_engine.shards.sources.spreadsheet import rounded_notes
from cxr_engine.shards.sources.text_table import TextTable
from cxr_engine.shards.views import views_of

_LABELS = "Labels"
# Remarks on the report. With one of them in the list, what it does not name is unknown:
# "unchanged" points to an earlier report, "exclude" to a picture that should not be judged.
_REMARKS = frozenset({"exclude", "unchanged"})
_BLANK = ("", "nan")  # pandas wrote the reports without labels as nan
_MAX_CELL = 10_000  # characters; a list has some hundred, and Python's parser has a stack to lose


def detect(folder: Path) -> str | None:
    """The file by which the folder is known as a download of this data set."""
    table = TABLE.find([folder])
    return table.name if table else None


def read_padchest(
    folder: Path, policy: LabelPolicy = UNKNOWN_STAYS, labels: tuple[str, ...] | None = None
) -> SourceTable:
    """Rows of the PadChest table; images in folders named by ImageDir or in one flat folder.

    Classes are all labels found, sorted by name, or those given, by their exact names. A blank
    cell of labels follows the policy for blanks; nothing in this table is uncertain.
    """
    check_folder(folder, "the PadChest download")
    (path,) = require_files([folder], [TABLE], "the PadChest download")
    table, facts, study_notes = read_facts(path, _LABELS)
    paths, path_notes = locate_padchest(folder, facts["source"], facts["image_dir"])
    lists, complete = _parse_lists(table)
    class_names = choose_findings(lists, labels, str(path))
    frame = facts.select(
        "source",
        paths,
        "line",
        "patient",
        "study",
        views_of(facts["view_position"]).alias("view"),
        "view_position",
        pl.lit(None, pl.String).alias("split"),
        "bits_stored",
    ).with_columns(labels_from_lists(lists, class_names, complete, policy))
    incomplete = f"in {(~complete).sum()} rows with {' or '.join(sorted(_REMARKS))}"
    notes = (
        f"table: {path.name}",
        *path_notes,
        *study_notes,
        *rounded_notes(frame["patient"]),
        f"labels: {lists.null_count()} rows have none; {incomplete} the rest is unknown",
    )
    return SourceTable("padchest", frame, class_names, notes, path, (), policy)


def _parse_lists(table: TextTable) -> tuple[pl.Series, pl.Series]:
    """Findings of each row, null where the cell is blank, and whether they are all."""
    cells = table.column(_LABELS, "")
    parsed: dict[str, list[str] | None] = {}
    complete: dict[str, bool] = {}
    for cell in cells.unique():
        names = None if cell in _BLANK else _parse_list(cell, table, cells)
        parsed[cell] = [name for name in names if name not in _REMARKS] if names else None
        complete[cell] = not names or not _REMARKS & set(names)
    return (
        cells.replace_strict(parsed, return_dtype=pl.List(pl.String)),
        cells.replace_strict(complete, return_dtype=pl.Boolean),
    )


def _parse_list(cell: str, table: TextTable, cells: pl.Series) -> list[str]:
    try:
        names = ast.literal_eval(cell) if len(cell) <= _MAX_CELL else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        line = table.lines[int((cells == cell).arg_true()[0])]
        raise DataError(
            f"{cell[:60]!r} is not a list of labels",
            f"{table.path}, line {line}, column {_LABELS!r}",
            f"{REMEDY}; a list looks like ['pleural effusion', 'nodule']",
        )
    return [name.strip() for name in names if name.strip()]
