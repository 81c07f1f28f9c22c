"""Long numbers that a spreadsheet has rounded, such as 1.90E+38."""

from __future__ import annotations

import polars as pl

_ROUNDED = r"^[0-9](?:[.,][0-9]+)?[eE]\+[0-9]+$"


def is_rounded(ids: pl.Series) -> pl.Series:
    """Boolean: True where an id is a number in a spreadsheet's notation, its digits lost."""
    return ids.str.contains(_ROUNDED)


def rounded_notes(patient: pl.Series) -> list[str]:
    """What rounded patient ids mean for the split; nothing where there are none."""
    rounded = patient.filter(is_rounded(patient))
    if rounded.is_empty():
        return []
    before = f"a spreadsheet rounded the patient ids of {len(rounded)} rows"
    after = f"{rounded.n_unique()} are left: patients are merged, so a split by patient is lumpy"
    return [f"{before}; {after}, but does not leak"]
