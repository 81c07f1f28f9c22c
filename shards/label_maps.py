"""Findings of one data set under the names of another; what does not map is unknown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from cxr_engine.shards.class_lists import CLASS_LISTS
from cxr_engine.shards.errors import UsageError
from cxr_engine.shards.findings import UNKNOWN

# Only names for one and the same finding. A part of a finding (a rib fracture is a fracture) or
# a near relative (aortic elongation, tortuous aorta) does not map: its absence says nothing.
_SYNONYMS = {
    "effusion": "Pleural Effusion",
    "no finding": "Normal",  # as CXR-LT 2024 renamed the class of 2023
    "pneumoperitoneo": "Pneumoperitoneum",  # CXR-LT 2026
    "infiltrates": "Infiltration",  # this and the next three: PadChest
    "pulmonary edema": "Edema",
    "pulmonary fibrosis": "Fibrosis",
    "pulmonary mass": "Mass",
}


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", " ", name).strip().lower()


# CXR-LT 2024's spelling wins over that of the other data sets.
_SPELLING = {
    _plain(name): name
    for names in (*CLASS_LISTS.values(), CLASS_LISTS["cxr-lt-2024-task1"])
    for name in names
} | _SYNONYMS


def canonical(name: str) -> str:
    """The one name of a finding that goes by several; a name that no data set has stays."""
    return _SPELLING.get(_plain(name), name.strip())


def match_classes(from_classes: Sequence[str], to_classes: Sequence[str]) -> list[int | None]:
    """For each of `to_classes`, the position in `from_classes` of the same finding, if there.

    The exact name wins over another name of the finding. Two names of one finding among
    `from_classes`, none of them exact, are a UsageError.
    """
    exact = {name: position for position, name in enumerate(from_classes)}
    named: dict[str, list[int]] = {}
    for position, name in enumerate(from_classes):
        named.setdefault(canonical(name), []).append(position)
    found: list[int | None] = []
    for name in to_classes:
        places = [exact[name]] if name in exact else named.get(canonical(name), [])
        if len(places) > 1:
            raise UsageError(
                f"{name!r} could be {' or '.join(repr(from_classes[place]) for place in places)}",
                f"classes: {', '.join(from_classes)}",
                "name the class by its exact name",
            )
        found.append(places[0] if places else None)
    return found


def map_labels(
    labels: NDArray[np.int8], from_classes: Sequence[str], to_classes: Sequence[str]
) -> NDArray[np.int8]:
    """The labels of one data set in the classes of another.

    labels   (N, C) int8: 1, 0, -1 unknown, in the order of `from_classes`
    returns  (N, C') int8 in the order of `to_classes`; -1 where no class is the same finding
    """
    mapped = np.full((len(labels), len(to_classes)), UNKNOWN, np.int8)
    for column, place in enumerate(match_classes(from_classes, to_classes)):
        if place is not None:
            mapped[:, column] = labels[:, place]
    return mapped


def class_list(text: str) -> tuple[str, ...]:
    """The classes that a user names: a public list such as "cxr-lt-2024-task2", or "A,B,C"."""
    if text in CLASS_LISTS:
        return CLASS_LISTS[text]
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    repeated = sorted({name for name in names if names.count(name) > 1})
    if not names or repeated:
        raise UsageError(
            f"{repeated[0]!r} is named twice" if repeated else "no class is named",
            "--classes",
            f"name each class once, with commas between, or one of: {', '.join(CLASS_LISTS)}",
        )
    return names


def require_classes(from_classes: Sequence[str], wanted: Sequence[str], where: str) -> list[int]:
    """`match_classes` where every class must be there; a UsageError lists all that are not."""
    places = match_classes(from_classes, wanted)
    absent = [name for name, place in zip(wanted, places, strict=True) if place is None]
    if absent:
        choices = {canonical(name): name for name in (*from_classes, *CLASS_LISTS)}
        near = get_close_matches(canonical(absent[0]), choices, n=1, cutoff=0.0)
        raise UsageError(
            f"no class is {', '.join(repr(name) for name in absent)}",
            f"{where}, whose classes are: {', '.join(from_classes)}",
            f"the nearest name to {absent[0]!r} is {choices[near[0]]!r}; leave out what is not there",
        )
    return [place for place in places if place is not None]
