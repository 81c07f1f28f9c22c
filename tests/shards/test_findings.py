"""Labels are 1, 0 or unknown; anything else is named and refused."""

from __future__ import annotations

import random

import polars as pl
import pytest

from cxr_engine.shards.errors import DataError, UsageError
from cxr_engine.shards.findings import (
    LabelPolicy,
    check_class_names,
    class_hash,
    is_label_column,
    is_uncertain,
    parse_labels,
)


def parse(*cells: str | None) -> list[int | None]:
    series = pl.Series("Mass", cells, pl.String)
    lines = pl.Series(range(2, 2 + len(cells)), dtype=pl.Int64)
    return parse_labels(series, lines, "t.csv").to_list()


def test_the_written_forms_of_a_label() -> None:
    cells = ("1", "1.0", " 1 ", "0", "0.0", "", "  ", None, "-1", "-1.0")
    assert parse(*cells) == [1, 1, 1, 0, 0, None, None, None, None, None]


@pytest.mark.parametrize("cell", ["2", "nan", "NaN", "inf", "yes", "1,0", "0.5", "--1", "1e0", "٣"])
def test_other_cells_are_refused_with_file_line_column_and_value(cell: str) -> None:
    with pytest.raises(DataError) as caught:
        parse("1", "0", cell)
    assert repr(cell) in caught.value.what
    assert caught.value.where == "t.csv, line 4, column 'Mass'"


def test_no_mutated_label_becomes_another_number() -> None:
    rng = random.Random(0)
    allowed = {"1": 1, "1.0": 1, "0": 0, "0.0": 0, "": None, "-1": None, "-1.0": None}
    for _ in range(2000):
        cell = list(rng.choice(list(allowed)))
        for _ in range(rng.randint(1, 2)):
            cell.insert(rng.randint(0, len(cell)), rng.choice("01.-+eE2 \t\0x"))
        text = "".join(cell)
        if text.strip() in allowed:
            assert parse(text) == [allowed[text.strip()]]
        else:
            with pytest.raises(DataError):
                parse(text)


def test_label_columns_hold_only_labels_and_at_least_one() -> None:
    assert is_label_column(pl.Series(["1", "", "0.0", "-1"]))
    assert not is_label_column(pl.Series(["", "", " "]))
    assert not is_label_column(pl.Series(["1", "0", "57"]))
    assert not is_label_column(pl.Series(["M", "F"]))


def test_class_hash_depends_on_names_and_order() -> None:
    names = ["Mass", "Edema", "No Finding"]
    hashes = {class_hash(names), class_hash(names[::-1]), class_hash(names[:2])}
    assert len(hashes) == 3
    assert class_hash(names) == class_hash(tuple(names))
    assert all(len(digest) == 16 and int(digest, 16) >= 0 for digest in hashes)


@pytest.mark.parametrize("names", [[], ["Mass", "Mass"], [" "], ["Mass\nEdema"]])
def test_class_lists_that_cannot_be_told_apart_are_refused(names: list[str]) -> None:
    with pytest.raises(DataError):
        check_class_names(names, "t.csv")


def test_policies_decide_what_minus_one_and_blank_are() -> None:
    cells = pl.Series("Mass", ["1", "0", "-1", "-1.0", "", None])
    lines = pl.Series(range(6), dtype=pl.Int64)
    expected = {
        ("unknown", "unknown"): [1, 0, None, None, None, None],
        ("positive", "unknown"): [1, 0, 1, 1, None, None],
        ("negative", "negative"): [1, 0, 0, 0, 0, 0],
        ("drop", "negative"): [1, 0, None, None, 0, 0],
    }
    for (uncertain, blank), labels in expected.items():
        policy = LabelPolicy(uncertain=uncertain, blank=blank)
        assert parse_labels(cells, lines, "t.csv", policy).to_list() == labels
    assert is_uncertain(cells).to_list() == [False, False, True, True, False, False]


@pytest.mark.parametrize("words", [{"uncertain": "maybe"}, {"blank": "drop"}])
def test_a_policy_that_does_not_exist_is_refused_with_the_choices(words: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="is not a policy") as caught:
        LabelPolicy(**words)
    assert caught.value.where == f"--{next(iter(words))}"
    assert "negative" in caught.value.remedy
