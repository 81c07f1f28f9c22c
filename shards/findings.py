"""Findings are the classes: their order and its hash, and the three states of a label."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import xxhash

from cxr_engine.shards.errors import DataError

POSITIVE = 1
NEGATIVE = 0
UNKNOWN = -1  # in NumPy arrays only; tables hold null

LABEL_PREFIX = "label:"

# pandas writes 1.0 as soon as one cell of the column is blank; -1 is CheXpert's "uncertain".
_STATES = {"1": POSITIVE, "1.0": POSITIVE, "0": NEGATIVE, "0.0": NEGATIVE}
_UNKNOWN_CELLS = ("", "-1", "-1.0")


def class_hash(names: Sequence[str]) -> str:
    """Sixteen hex digits that stand for an ordered class list."""
    return xxhash.xxh3_64_hexdigest("\n".join(names).encode())


def check_class_names(names: Sequence[str], where: str) -> None:
    """Refuse a class list that is empty, repeats a name, or has a name that is not one line."""
    remedy = "name the label columns, each once: --labels 'Mass,Nodule'"
    if not names:
        raise DataError("no label column", where, remedy)
    seen: set[str] = set()
    for name in names:
        if not name.strip() or not name.isprintable():
            raise DataError(f"{name!r} cannot be the name of a finding", where, remedy)
        if name in seen:
            raise DataError(f"finding {name!r} appears twice", where, remedy)
        seen.add(name)


def is_label_column(cells: pl.Series) -> bool:
    """True where every filled cell is a label and at least one cell is filled."""
    found = set(cells.str.strip_chars().unique().drop_nulls()) - {""}
    return bool(found) and found <= {*_STATES, *_UNKNOWN_CELLS}


def parse_labels(cells: pl.Series, lines: pl.Series, file: str) -> pl.Series:
    """Text cells of one column as nullable Int8: 1, 0, or null where the label is unknown.

    cells  String, named after its column
    lines  line of the file on which each cell stands, for the error
    """
    text = cells.fill_null("").str.strip_chars()
    known = text.is_in(list(_STATES))
    bad = ~(known | text.is_in(list(_UNKNOWN_CELLS)))
    if bad.any():
        row = int(bad.arg_true()[0])
        raise DataError(
            f"{text[row]!r} is not a label",
            f"{file}, line {lines[row]}, column {cells.name!r}",
            "a label is 1, 0, or blank (or -1) for unknown; leave other columns out with --labels",
        )
    return text.replace_strict(_STATES, default=None, return_dtype=pl.Int8)
