"""Which labels a user has for MIMIC-CXR-JPG: the tables are told apart by their columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cxr_engine.shards.class_lists import CHEXPERT
from cxr_engine.shards.errors import DataError
from cxr_engine.shards.findings import LabelPolicy
from cxr_engine.shards.sources.chexpert_labels import read_chexpert_labels
from cxr_engine.shards.sources.cxr_lt import ImageLabels, is_cxr_lt, read_cxr_lt
from cxr_engine.shards.sources.download import refuse_repeats
from cxr_engine.shards.sources.label_columns import UNCERTAIN
from cxr_engine.shards.sources.text_table import TextTable, read_text_table

_ORDER = ("train", "dev", "test")  # beginnings of file names; the first table leads the classes


@dataclass(frozen=True, slots=True)
class StudyLabels:
    """Labels of studies of MIMIC, as CheXpert's and NegBio's labellers gave them.

    frame  study (digits), UNCERTAIN, `label:<finding>` per class; one row per study
    """

    frame: pl.DataFrame
    class_names: tuple[str, ...]
    notes: tuple[str, ...]


def read_mimic_labels(labels: Path, policy: LabelPolicy) -> ImageLabels | StudyLabels:
    """Labels from a table, or CXR-LT's from all of its tables in a folder.

    In a folder, the gold tables of task 2 are left out beside those of task 1: they label the
    same images, by hand and otherwise.
    """
    if labels.is_dir():
        tables, notes = _tables_of(labels)
        found = read_cxr_lt(tables, policy)
        return ImageLabels(found.frame, found.class_names, (*found.notes, *notes))
    table = read_text_table(labels)
    if is_cxr_lt(table):
        return read_cxr_lt([table], policy)
    if set(CHEXPERT) <= set(table.cells.columns) and "study_id" in table.cells.columns:
        return _read_studies(table, policy)
    raise DataError(
        "neither a table of CXR-LT (dicom_id, path or fpath, and its classes) nor one of CheXpert "
        "or NegBio (study_id and the fourteen findings)",
        f"{labels}, which has: {', '.join(table.cells.columns)}",
        "name such a table with --labels",
    )


def _tables_of(folder: Path) -> tuple[Sequence[TextTable], list[str]]:
    names = sorted(
        path.name
        for path in folder.iterdir()
        if path.name.removesuffix(".gz").endswith(".csv")
        and path.name.startswith((*_ORDER, "labels"))
    )
    gold = [name for name in names if "_task2" in name]
    if any("_task1" in name for name in names):
        names = [name for name in names if name not in gold]
        notes = [f"not read: {name}; for its gold labels give it alone" for name in gold]
    else:
        notes = []
    tables = [read_text_table(folder / name) for name in sorted(names, key=_rank)]
    if not tables or not all(is_cxr_lt(table) for table in tables):
        raise DataError(
            "not a folder of CXR-LT's tables (train*.csv, development*.csv, test*.csv, labels.csv)",
            f"{folder}, tables in it: {', '.join(names) or 'none'}",
            "name one table with --labels",
        )
    return tables, notes


def _rank(name: str) -> int:
    return next((i for i, word in enumerate(_ORDER) if name.startswith(word)), len(_ORDER))


def _read_studies(table: TextTable, policy: LabelPolicy) -> StudyLabels:
    remedy = "take the table as shipped, from physionet.org/content/mimic-cxr-jpg"
    refuse_repeats(table, "study_id", remedy)
    study = table.require(table.column("study_id", "--labels"), remedy)
    labels = read_chexpert_labels(table, policy)
    frame = pl.DataFrame(
        {"study": study.str.strip_prefix("s"), UNCERTAIN: labels.uncertain}
    ).with_columns(*labels.columns)
    notes = (f"labels: {table.path.name} ({table.cells.height} studies)",)
    return StudyLabels(frame, CHEXPERT, notes)
