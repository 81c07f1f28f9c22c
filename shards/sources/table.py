"""Any CSV file beside a folder of images."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from cxr_engine.shards.errors import DataError, UsageError
from cxr_engine.shards.findings import UNKNOWN_STAYS, LabelPolicy, check_class_names
from cxr_engine.shards.sources import COLUMNS, SourceTable, distinct_studies
from cxr_engine.shards.sources.images import bits_stored
from cxr_engine.shards.sources.label_columns import (
    UNCERTAIN,
    LabelColumns,
    choose_findings,
    drop_uncertain,
    labels_from_lists,
    read_labels,
)
from cxr_engine.shards.sources.listing import Listing
from cxr_engine.shards.sources.table_columns import (
    BETWEEN,
    TableColumns,
    assign_roles,
    role_notes,
)
from cxr_engine.shards.sources.text_table import TextTable, read_text_table
from cxr_engine.shards.views import views_of

_SPLIT_OF = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validate": "val", "validation": "val",
    "test": "test", "testing": "test",
    "dev": "dev", "development": "dev",
}  # fmt: skip


def read_table(
    csv: Path,
    images: Path,
    columns: TableColumns | None = None,
    policy: LabelPolicy = UNKNOWN_STAYS,
) -> SourceTable:
    """Rows of a CSV file whose images lie under one folder.

    Paths in the table are relative to that folder or to the CSV's own; whatever leads out of
    the folder is refused. Without a study column every image is a study; patients must be named
    (or said to be absent), since the split goes by patient.
    """
    table = read_text_table(csv)
    roles = assign_roles(table, columns or TableColumns())
    assert roles.image is not None
    if not images.is_dir():
        raise UsageError("no such folder of images", str(images), "check its path")
    source, path = _locate(table, table.column(roles.image, "--image"), images)
    patient = source if roles.patient is None else _filled(table, roles.patient, "--patient")
    study, study_notes = _studies(table, roles.study, patient, source)
    position = _optional(table, roles.view, "--view")
    class_names, labels = _labels(table, roles, policy)
    frame = pl.DataFrame(
        {
            "source": source,
            "path": path,
            "line": table.lines,
            "patient": patient,
            "study": study,
            "view": views_of(position),
            "view_position": position,
            "split": _splits(table, roles.split),
            "bits_stored": bits_stored(table, _optional(table, roles.bits, "--bits")),
        },
        schema=COLUMNS,
    ).with_columns(*labels.columns, labels.uncertain.alias(UNCERTAIN))
    frame, dropped = drop_uncertain(frame, policy)
    notes = (*role_notes(roles, columns or TableColumns()), *study_notes, *_view_notes(frame))
    return SourceTable("table", frame, class_names, notes, csv, dropped, policy)


def _labels(
    table: TextTable, roles: TableColumns, policy: LabelPolicy
) -> tuple[tuple[str, ...], LabelColumns]:
    """The classes, in the order of the columns or, from lists, sorted by name; and their labels."""
    if roles.findings is None:
        names = roles.labels or ()
        check_class_names(names, str(table.path))
        return names, read_labels(table, names, policy)
    cells = table.column(roles.findings, "--findings")
    lists = (
        cells.set(cells == "", None).str.split(BETWEEN).list.eval(pl.element().str.strip_chars())
    )
    names = choose_findings(lists, roles.labels, f"{table.path}, column {roles.findings!r}")
    complete = pl.repeat(True, len(lists), dtype=pl.Boolean, eager=True)
    certain = pl.Series([None] * len(lists), dtype=pl.String)
    return names, LabelColumns(labels_from_lists(lists, names, complete, policy), certain)


def _locate(table: TextTable, cells: pl.Series, images: Path) -> tuple[pl.Series, pl.Series]:
    """Source ids and absolute paths of the images."""
    table.require(cells, "give every row an image, or delete the row")
    root = os.path.normpath(images.absolute())
    beside = os.path.normpath(table.path.absolute().parent)
    listing = Listing()
    sources, paths = [], []
    for cell, line in zip(cells, table.lines, strict=True):
        # join() takes an absolute cell as it is: then both candidates are that path.
        candidates = [os.path.normpath(Path(folder, cell)) for folder in (root, beside)]
        inside = [path for path in candidates if path.startswith(root + "/")]
        if not inside:
            raise DataError(
                f"{cell!r} lies outside the folder of images",
                f"{table.path}, line {line}; the folder is {images}",
                "correct the path, or name a folder that holds all images",
            )
        path = next((path for path in inside if path in listing), inside[0])
        paths.append(path)
        sources.append(path[len(root) + 1 :] if cell.startswith("/") else cell)
    return pl.Series("source", sources, pl.String), pl.Series("path", paths, pl.String)


def _filled(table: TextTable, name: str, flag: str) -> pl.Series:
    return table.require(table.column(name, flag), "fill the cells, or delete the rows")


def _optional(table: TextTable, name: str | None, flag: str) -> pl.Series:
    """The cells of a column, null where blank; all null without a column."""
    if name is None:
        return pl.Series(flag, [None] * table.cells.height, pl.String)
    cells = table.column(name, flag)
    return cells.set(cells == "", None)


def _studies(
    table: TextTable, name: str | None, patient: pl.Series, source: pl.Series
) -> tuple[pl.Series, list[str]]:
    study = _optional(table, name, "--study")
    notes = []
    if name is not None and study.null_count():
        notes.append(f"{study.null_count()} rows without a study: each image is its own study")
    study, recurring = distinct_studies(patient, study)
    return study.fill_null(source), notes + recurring


def _splits(table: TextTable, name: str | None) -> pl.Series:
    raw = _optional(table, name, "--split").str.to_lowercase()
    bad = raw.is_not_null() & ~raw.is_in(list(_SPLIT_OF))
    if bad.any():
        row = int(bad.arg_true()[0])
        raise DataError(
            f"{raw[row]!r} is not a split",
            f"{table.path}, line {table.lines[row]}, column {name!r}",
            f"use {', '.join(_SPLIT_OF)} or blank, or leave the column out with --split none",
        )
    return raw.replace_strict(_SPLIT_OF, return_dtype=pl.String)


def _view_notes(frame: pl.DataFrame) -> list[str]:
    strange = frame.filter(pl.col("view") == "unknown")["view_position"].drop_nulls()
    if strange.is_empty():
        return []
    shown = ", ".join(f"{name!r} ({n})" for name, n in strange.value_counts(sort=True).rows()[:5])
    return [f"view positions taken as unknown: {shown}"]
