"""Findings are the classes: their order and its hash, and the three states of a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import polars as pl
import xxhash

from cxr_engine.shards.errors import DataError, UsageError

POSITIVE = 1
NEGATIVE = 0
UNKNOWN = -1  # in NumPy arrays only; tables hold null

LABEL_PREFIX = "label:"

# pandas writes 1.0 as soon as one cell of the column is blank; -1 is CheXpert's "uncertain".
_STATES = {"1": POSITIVE, "1.0": POSITIVE, "0": NEGATIVE, "0.0": NEGATIVE}
_UNCERTAIN_CELLS = ("-1", "-1.0")

Uncertain = Literal["unknown", "positive", "negative", "drop"]
Blank = Literal["unknown", "negative"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelPolicy:
    """What a label cell that holds neither 1 nor 0 stands for; by default it is unknown."""

    uncertain: Uncertain = "unknown"  # -1; drop leaves the whole row out
    blank: Blank = "unknown"

    def __post_init__(self) -> None:
        for name, words in (("uncertain", get_args(Uncertain)), ("blank", get_args(Blank))):
            if getattr(self, name) not in words:
                raise UsageError(
                    f"{getattr(self, name)!r} is not a policy for {name} labels",
                    f"--{name}",
                    f"choose one of: {', '.join(words)}",
                )


UNKNOWN_STAYS = LabelPolicy()
_STATE_OF = {"positive": POSITIVE, "negative": NEGATIVE, "unknown": None, "drop": None}


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
    return bool(found) and found <= {*_STATES, *_UNCERTAIN_CELLS}


def is_uncertain(cells: pl.Series) -> pl.Series:
    """Boolean: True where the cell is -1."""
    return cells.fill_null("").str.strip_chars().is_in(list(_UNCERTAIN_CELLS))


def parse_labels(
    cells: pl.Series, lines: pl.Series, file: str, policy: LabelPolicy = UNKNOWN_STAYS
) -> pl.Series:
    """Text cells of one column as nullable Int8: 1, 0, or null where the label is unknown.

    cells  String, named after its column
    lines  line of the file on which each cell stands, for the error

    With `uncertain="drop"` the label is null: the caller drops the rows by `is_uncertain`.
    """
    text = cells.fill_null("").str.strip_chars()
    states: dict[str, int | None] = {
        **_STATES,
        **dict.fromkeys(_UNCERTAIN_CELLS, _STATE_OF[policy.uncertain]),
        "": _STATE_OF[policy.blank],
    }
    bad = ~text.is_in(list(states))
    if bad.any():
        row = int(bad.arg_true()[0])
        raise DataError(
            f"{text[row]!r} is not a label",
            f"{file}, line {lines[row]}, column {cells.name!r}",
            "a label is 1, 0, -1 (uncertain) or blank; leave other columns out with --labels",
        )
    return text.replace_strict(states, return_dtype=pl.Int8)
