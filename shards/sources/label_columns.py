"""Label columns of the common schema, from cells of 1, 0, -1 or from lists of findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import polars as pl

from cxr_engine.shards.errors import UsageError
from cxr_engine.shards.findings import (
    LABEL_PREFIX,
    LabelPolicy,
    check_class_names,
    is_uncertain,
    parse_labels,
)
from cxr_engine.shards.sources import DroppedRow, dropped_rows
from cxr_engine.shards.sources.text_table import TextTable

UNCERTAIN = "uncertain"  # also the name of the column that marks the rows, until they are dropped


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """The labels of a table, row by row.

    columns    `label:<finding>` per class, nullable Int8
    uncertain  String, null: the name of a class that the row is uncertain about
    """

    columns: list[pl.Series]
    uncertain: pl.Series


def read_labels(
    table: TextTable, class_names: Sequence[str], policy: LabelPolicy, flag: str = "--labels"
) -> LabelColumns:
    """Columns of label cells, each named after its class."""
    columns = []
    doubts = []
    for name in class_names:
        cells = table.column(name, flag)
        labels = parse_labels(cells, table.lines, str(table.path), policy)
        columns.append(labels.alias(LABEL_PREFIX + name))
        doubts.append(pl.when(is_uncertain(cells)).then(pl.lit(name)).otherwise(None))
    uncertain = pl.select(pl.coalesce(*doubts).cast(pl.String).alias(UNCERTAIN)).to_series()
    return LabelColumns(columns, uncertain)


def choose_findings(
    lists: pl.Series, wanted: tuple[str, ...] | None, where: str
) -> tuple[str, ...]:
    """The classes of a column of lists: all findings sorted by name, or those wanted."""
    found = sorted(set(lists.explode().drop_nulls()) - {""})
    names = tuple(found) if wanted is None else wanted
    check_class_names(names, where)
    absent = [name for name in names if name not in found]
    if absent:
        near = get_close_matches(absent[0], found, n=1, cutoff=0.0)
        raise UsageError(
            f"no image has the finding {', '.join(repr(name) for name in absent)}",
            where,
            f"the nearest is {near[0]!r}; correct --labels" if near else "leave --labels out",
        )
    return names


def labels_from_lists(
    lists: pl.Series, class_names: Sequence[str], complete: pl.Series, policy: LabelPolicy
) -> list[pl.Series]:
    """Label columns from a column of lists of findings.

    lists     List(String); null where the cell is blank
    complete  Boolean; False where the list does not name every finding of the image

    What a list names is positive. What a complete list does not name is negative; what an
    incomplete one does not name is unknown; a blank cell follows the policy for blanks.
    """
    is_negative = pl.when(lists.is_null()).then(policy.blank == "negative").otherwise(complete)
    rest = pl.select(pl.when(is_negative).then(pl.lit(0, pl.Int8))).to_series()
    columns = []
    for name in class_names:
        named = lists.list.contains(name).fill_null(False)
        label = pl.select(pl.when(named).then(pl.lit(1, pl.Int8)).otherwise(rest)).to_series()
        columns.append(label.alias(LABEL_PREFIX + name))
    return columns


def drop_uncertain(
    frame: pl.DataFrame, policy: LabelPolicy
) -> tuple[pl.DataFrame, tuple[DroppedRow, ...]]:
    """The frame without its column UNCERTAIN, and, if the policy says so, without those rows.

    frame  has columns line, source and UNCERTAIN
    """
    if policy.uncertain != "drop":
        return frame.drop(UNCERTAIN), ()
    out = frame.filter(pl.col(UNCERTAIN).is_not_null()).with_columns(
        what=pl.format("label {} is uncertain", UNCERTAIN)
    )
    return frame.filter(pl.col(UNCERTAIN).is_null()).drop(UNCERTAIN), dropped_rows(out, UNCERTAIN)
