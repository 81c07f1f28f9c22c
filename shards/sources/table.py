"""Any CSV file beside a folder of images."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from pathlib import Path

import polars as pl

from cxr_engine.shards.errors import DataError, UsageError
from cxr_engine.shards.findings import (
    LABEL_PREFIX,
    check_class_names,
    is_label_column,
    parse_labels,
)
from cxr_engine.shards.sources import COLUMNS, SourceTable
from cxr_engine.shards.sources.listing import Listing
from cxr_engine.shards.sources.text_table import TextTable, read_text_table
from cxr_engine.shards.views import views_of

NONE = "none"  # as the name of a column: there is none, do not guess

# Lower case, letters and digits only; the first that fits wins.
_USUAL_NAMES = {
    "image": ("image", "imagepath", "path", "fpath", "filepath", "filename", "file",
              "imageindex", "imagefile", "imagename", "imageid", "img", "dicomid"),
    "patient": ("patient", "patientid", "subject", "subjectid"),
    "study": ("study", "studyid", "studyinstanceuid", "accession", "accessionnumber"),
    "view": ("view", "viewposition", "projection"),
    "split": ("split", "subset", "partition"),
}  # fmt: skip
_OPTIONAL = ("patient", "study", "view", "split")
_SPLIT_OF = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validate": "val", "validation": "val",
    "test": "test", "testing": "test",
    "dev": "dev", "development": "dev",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class TableColumns:
    """Which column holds what; None = guess by the usual names, "none" = no such column."""

    image: str | None = None
    patient: str | None = None
    study: str | None = None
    view: str | None = None
    split: str | None = None
    labels: tuple[str, ...] | None = None


def read_table(csv: Path, images: Path, columns: TableColumns | None = None) -> SourceTable:
    """Rows of a CSV file whose images lie under one folder.

    Paths in the table are relative to that folder or to the CSV's own; whatever leads out of
    the folder is refused. Without a study column every image is a study; patients must be named
    (or said to be absent), since the split goes by patient.
    """
    table = read_text_table(csv)
    roles = _assign_roles(table, columns or TableColumns())
    assert roles.image is not None
    if not images.is_dir():
        raise UsageError("no such folder of images", str(images), "check its path")
    source, path = _locate(table, table.column(roles.image, "--image"), images)
    patient = source if roles.patient is None else _filled(table, roles.patient, "--patient")
    study, study_notes = _studies(table, roles.study, patient, source)
    position = _optional(table, roles.view, "--view")
    class_names = roles.labels or ()
    check_class_names(class_names, str(csv))
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
            "bits_stored": None,
        },
        schema=COLUMNS,
    ).with_columns(
        parse_labels(table.column(name, "--labels"), table.lines, str(csv)).alias(
            LABEL_PREFIX + name
        )
        for name in class_names
    )
    notes = (*_role_notes(roles, columns or TableColumns()), *study_notes, *_view_notes(frame))
    return SourceTable("table", frame, class_names, notes, csv)


def _assign_roles(table: TextTable, columns: TableColumns) -> TableColumns:
    """The column of each role, given or guessed; None where there is none."""
    found: dict[str, str | None] = {}
    for role, usual in _USUAL_NAMES.items():
        given: str | None = getattr(columns, role)
        if given is None:
            found[role] = _guess(table, usual)
        elif given == NONE and role in _OPTIONAL:
            found[role] = None
        else:
            found[role] = table.column(given, f"--{role}").name
    if found["image"] is None:
        raise _unnamed(table, "image", "name it with --image COLUMN")
    if found["patient"] is None and columns.patient is None:
        raise _unnamed(
            table,
            "patient",
            "name it with --patient COLUMN, or --patient none if each image is its own patient",
        )
    labels = columns.labels
    if labels is None:
        taken = set(found.values())
        labels = tuple(
            cells.name
            for cells in table.cells
            if cells.name not in taken
            and not cells.name.startswith("(column ")
            and is_label_column(cells)
        )
    return TableColumns(**found, labels=labels)


def _guess(table: TextTable, usual: tuple[str, ...]) -> str | None:
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in table.cells.columns}
    return next((plain[name] for name in usual if name in plain), None)


def _unnamed(table: TextTable, role: str, remedy: str) -> UsageError:
    where = f"{table.path}, which has: {', '.join(table.cells.columns)}"
    return UsageError(f"which column holds the {role} is not clear", where, remedy)


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
    pairs = pl.DataFrame({"patient": patient, "study": study}).drop_nulls().unique()
    if pairs["study"].n_unique() < pairs.height:
        study = patient + "/" + study
        notes.append("study ids recur between patients: written as patient/study")
    return study.fill_null(source), notes


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


def _role_notes(roles: TableColumns, given: TableColumns) -> list[str]:
    notes = []
    for field in fields(roles):
        found = getattr(roles, field.name)
        shown = ", ".join(found) if isinstance(found, tuple) else found
        origin = " (guessed)" if getattr(given, field.name) is None and found else ""
        notes.append(f"{field.name}: {shown or 'no column'}{origin}")
    return notes


def _view_notes(frame: pl.DataFrame) -> list[str]:
    strange = frame.filter(pl.col("view") == "unknown")["view_position"].drop_nulls()
    if strange.is_empty():
        return []
    shown = ", ".join(f"{name!r} ({n})" for name, n in strange.value_counts(sort=True).rows()[:5])
    return [f"view positions taken as unknown: {shown}"]
