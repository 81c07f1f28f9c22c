"""Label tables of CXR-LT 2023 and 2024: one row per image of MIMIC-CXR-JPG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import polars as pl

from cxr_engine.shards.class_lists import (
    CXR_LT_2023,
    CXR_LT_2024_TASK1,
    CXR_LT_2024_TASK3,
)
from cxr_engine.shards.errors import DataError
from cxr_engine.shards.findings import LABEL_PREFIX, LabelPolicy, is_label_column
from cxr_engine.shards.sources.download import refuse_repeats
from cxr_engine.shards.sources.label_columns import UNCERTAIN, read_labels
from cxr_engine.shards.sources.text_table import TextTable

PAGE = "physionet.org/content/cxr-lt-iccv-workshop-cvamd"
_REMEDY = f"take it as shipped, from {PAGE}"
_CLASSES = frozenset((*CXR_LT_2023, *CXR_LT_2024_TASK1, *CXR_LT_2024_TASK3))
_PATHS = ("path", "fpath")  # 2023, 2024
# train.csv, train_labeled.csv, development_labeled_task1.csv, test.csv …; labels.csv has a column.
_SPLIT_OF = {"train": "train", "dev": "dev", "test": "test"}


@dataclass(frozen=True, slots=True)
class ImageLabels:
    """Labels of images of MIMIC.

    frame  dicom_id, study (digits; null where the table has none), split (train, dev, test or
           null), UNCERTAIN, `label:<finding>` per class; one row per image
    """

    frame: pl.DataFrame
    class_names: tuple[str, ...]
    notes: tuple[str, ...]


def is_cxr_lt(table: TextTable) -> bool:
    """True for a table with a row per image; which labels it has is another question."""
    return bool({"dicom_id", *_PATHS} & set(table.cells.columns))


def read_cxr_lt(tables: Sequence[TextTable], policy: LabelPolicy) -> ImageLabels:
    """The labels of one table or several; a class that a table lacks is unknown for its images.

    An image in two tables gets the labels of both; where these differ, or the splits do, it is a
    DataError. Classes come in the order of the first table, then what the next ones add.
    """
    parts = [_read_one(table, policy) for table in tables]
    names = tuple(dict.fromkeys(name for part in parts for name in part.class_names))
    frame = pl.concat([part.frame for part in parts], how="diagonal")
    if frame["dicom_id"].is_duplicated().any():
        frame = _merge(frame, [LABEL_PREFIX + name for name in names], tables)
    shown = ", ".join(f"{t.path.name} ({t.cells.height} images)" for t in tables)
    return ImageLabels(frame, names, (f"labels: {shown}; {len(names)} classes",))


def _read_one(table: TextTable, policy: LabelPolicy) -> ImageLabels:
    images = _dicom_ids(table)
    names = _class_names(table)
    labels = read_labels(table, names, policy)
    frame = pl.DataFrame(
        {
            "dicom_id": images,
            "study": _optional(table, "study_id").str.strip_prefix("s"),
            "split": _splits(table),
            UNCERTAIN: labels.uncertain,
        }
    ).with_columns(*labels.columns)
    return ImageLabels(frame, names, ())


def _dicom_ids(table: TextTable) -> pl.Series:
    columns = table.cells.columns
    name = "dicom_id" if "dicom_id" in columns else next(p for p in _PATHS if p in columns)
    refuse_repeats(table, name, _REMEDY)
    cells = table.require(table.column(name, "--labels"), _REMEDY)
    if name == "dicom_id":
        return cells
    return cells.str.split("/").list.last().str.strip_suffix(".jpg").alias("dicom_id")


def _class_names(table: TextTable) -> tuple[str, ...]:
    """The columns that are classes by their exact names, in the order of the table."""
    names = tuple(name for name in table.cells.columns if name in _CLASSES)
    if not names:
        raise DataError(
            "no column is a class of CXR-LT",
            str(table.path),
            "this is a challenge kit's list without labels; the released tables, "
            f"train_labeled.csv and others, are at {PAGE}",
        )
    for name in table.cells.columns:
        near = get_close_matches(name, sorted(_CLASSES), n=1, cutoff=0.8)
        if near and name not in _CLASSES and is_label_column(table.cells[name]):
            raise DataError(
                f"column {name!r} is not a class of CXR-LT; the nearest is {near[0]!r}",
                f"{table.path}, line 1",
                f"correct the name, or {_REMEDY}",
            )
    return names


def _optional(table: TextTable, name: str) -> pl.Series:
    if name not in table.cells.columns:
        return pl.Series(name, [None] * table.cells.height, dtype=pl.String)
    cells = table.column(name, "--labels")
    return cells.set(cells == "", None)


def _splits(table: TextTable) -> pl.Series:
    """Split by the table's own column, else by the beginning of its file name."""
    if "split" not in table.cells.columns:
        split = next((s for s in _SPLIT_OF if table.path.name.startswith(s)), None)
        return pl.Series([split] * table.cells.height, dtype=pl.String)
    cells = table.column("split", "--labels").str.to_lowercase()
    found = cells.replace_strict({**_SPLIT_OF, "development": "dev"}, default=None)
    bad = found.is_null()
    if bad.any():
        row = int(bad.arg_true()[0])
        raise DataError(
            f"{cells[row]!r} is not a split of CXR-LT (train, development, test)",
            f"{table.path}, line {table.lines[row]}, column 'split'",
            _REMEDY,
        )
    return found


def _merge(frame: pl.DataFrame, labels: list[str], tables: Sequence[TextTable]) -> pl.DataFrame:
    checked = ["study", "split", *labels]
    together = frame.group_by("dicom_id", maintain_order=True).agg(
        pl.col(UNCERTAIN).drop_nulls().first(),
        *(pl.col(name).drop_nulls().first() for name in checked),
        *(pl.col(name).drop_nulls().n_unique().alias(f"n:{name}") for name in checked),
    )
    for name in checked:
        n = int((together[f"n:{name}"] > 1).sum())
        if n:
            raise DataError(
                f"the tables contradict each other on {name!r} of {n} images",
                ", ".join(str(table.path) for table in tables),
                "name one table, or a folder whose tables agree, with --labels; gold labels "
                "(task 2) and report labels (task 1) of one image need two sets of shards",
            )
    return together.select(frame.columns)
