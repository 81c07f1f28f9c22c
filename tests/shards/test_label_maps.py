"""Findings keep their meaning from one data set to another, by name."""

from __future__ import annotations

import numpy as np
import pytest

from cxr_engine.shards.class_lists import (
    CHEXPERT,
    CLASS_LISTS,
    CXR_LT_2023,
    CXR_LT_2024_TASK1,
    CXR_LT_2024_TASK2,
    CXR_LT_2026,
    NIH,
)
from cxr_engine.shards.errors import UsageError
from cxr_engine.shards.label_maps import (
    canonical,
    class_list,
    map_labels,
    match_classes,
    require_classes,
)


def test_lists_have_their_published_lengths_and_no_repeats() -> None:
    lengths = {name: len(names) for name, names in CLASS_LISTS.items()}
    assert lengths == {
        "nih": 15, "chexpert": 14, "cxr-lt-2023": 26, "cxr-lt-2024-task1": 40,
        "cxr-lt-2024-task2": 26, "cxr-lt-2024-task3": 5, "cxr-lt-2026": 30,
    }  # fmt: skip
    assert all(len(set(names)) == len(names) for names in CLASS_LISTS.values())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Effusion", "Pleural Effusion"),
        ("pleural effusion", "Pleural Effusion"),
        ("Pleural_Thickening", "Pleural Thickening"),
        ("No Finding", "Normal"),
        ("normal", "Normal"),
        ("pneumoperitoneo", "Pneumoperitoneum"),
        ("Round(ed) Atelectasis", "Round(ed) Atelectasis"),
        ("aortic elongation", "aortic elongation"),
        (" My Own Finding ", "My Own Finding"),
    ],
)
def test_one_name_for_findings_that_go_by_several(name: str, expected: str) -> None:
    assert canonical(name) == expected


@pytest.mark.parametrize("names", CLASS_LISTS.values(), ids=CLASS_LISTS)
def test_canonical_names_are_their_own_and_keep_classes_apart(names: tuple[str, ...]) -> None:
    assert len({canonical(name) for name in names}) == len(names)
    assert all(canonical(canonical(name)) == canonical(name) for name in names)
    assert match_classes(names, names) == list(range(len(names)))


def test_the_gold_set_is_a_part_of_the_forty_classes() -> None:
    places = match_classes(CXR_LT_2024_TASK1, CXR_LT_2024_TASK2)
    assert [CXR_LT_2024_TASK1[p] for p in places if p is not None] == list(CXR_LT_2024_TASK2)
    assert None not in match_classes(CXR_LT_2024_TASK1, CXR_LT_2023)
    assert None not in match_classes(CXR_LT_2024_TASK1, NIH)
    assert None not in match_classes(CXR_LT_2023, CHEXPERT)


def test_what_does_not_map_is_unknown() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 2, (50, len(NIH))).astype(np.int8)
    mapped = map_labels(labels, NIH, CXR_LT_2024_TASK1)
    assert mapped.shape == (50, 40)
    effusion = mapped[:, CXR_LT_2024_TASK1.index("Pleural Effusion")]
    np.testing.assert_array_equal(effusion, labels[:, NIH.index("Effusion")])
    known = {canonical(name) for name in NIH}
    for column, name in enumerate(CXR_LT_2024_TASK1):
        if name not in known:
            assert (mapped[:, column] == -1).all()
    np.testing.assert_array_equal(map_labels(mapped, CXR_LT_2024_TASK1, NIH), labels)


def test_a_near_relative_does_not_map() -> None:
    assert match_classes(["aortic elongation", "Rib Fracture"], ["Tortuous Aorta", "Fracture"]) == [
        None,
        None,
    ]


def test_the_exact_name_wins_and_two_others_are_ambiguous() -> None:
    assert match_classes(["normal", "Normal"], ["Normal"]) == [1]
    with pytest.raises(UsageError, match="'Normal' could be 'normal' or 'No Finding'"):
        match_classes(["normal", "No Finding"], ["Normal"])


def test_users_name_lists_or_classes() -> None:
    assert class_list("cxr-lt-2026") == CXR_LT_2026
    assert class_list("Mass, Round(ed) Atelectasis") == ("Mass", "Round(ed) Atelectasis")
    for text in ("", " , ", "Mass,Mass"):
        with pytest.raises(UsageError):
            class_list(text)


def test_classes_that_are_not_there_are_all_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="no class is 'Cardiomegali', 'Goiter'") as caught:
        require_classes(NIH, ["Mass", "Cardiomegali", "Goiter"], "p.parquet")
    assert "'Cardiomegaly'" in caught.value.remedy
    with pytest.raises(UsageError) as caught:
        require_classes(NIH, class_list("cxr-lt-2024-task-2"), "p.parquet")
    assert "'cxr-lt-2024-task2'" in caught.value.remedy
