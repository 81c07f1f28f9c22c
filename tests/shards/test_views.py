"""View positions become frontal, lateral or unknown by whole words."""

from __future__ import annotations

import polars as pl
import pytest

from cxr_engine.shards.views import VIEWS, view_of, views_of

# spec: the vocabulary of CXR-LT 2024's train list, then of the other data sets
EXPECTED = {
    "AP": "frontal", "PA": "frontal", "LATERAL": "lateral", "LL": "lateral",
    "LAO": "unknown", "RAO": "unknown", "PA LLD": "frontal", "XTABLE LATERAL": "lateral",
    "AP AXIAL": "frontal", "AP LLD": "frontal", "AP RLD": "frontal", "PA RLD": "frontal",
    "": "unknown",
    "L": "lateral", "AP_horizontal": "frontal", "COSTAL": "unknown", "EXCLUDE": "unknown",
    "Frontal": "frontal", "Lateral": "lateral", "AP Supine": "frontal", "Axial": "unknown",
}  # fmt: skip


@pytest.mark.parametrize(("position", "view"), EXPECTED.items())
def test_vocabulary(position: str, view: str) -> None:
    assert view_of(position) == view
    assert view_of(f"  {position.lower()} ") == view


@pytest.mark.parametrize("position", ["PAP", "APPLE", "LATERALITY", "CAP", "PA?", "LLL"])
def test_a_known_word_inside_another_does_not_count(position: str) -> None:
    assert view_of(position) == "unknown"


def test_columns_agree_with_single_values_and_null_is_unknown() -> None:
    positions = [None, *EXPECTED]
    assert views_of(pl.Series(positions)).to_list() == [view_of(p) for p in positions]
    assert views_of(pl.Series([None, None], dtype=pl.String)).to_list() == ["unknown"] * 2


def test_codes_are_those_of_the_engine_and_the_kernels() -> None:
    assert VIEWS == ("frontal", "lateral", "unknown")
