"""The same picture twice: an error over patients, a note within one, and what looks alike."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from cxr_engine.shards.errors import DataError
from cxr_engine.shards.near import NEAR_BITS, near_pairs

FACTS = ("source_xxh3", "plane_xxh3", "dhash")  # what is known of each picture's content
_SHOWN = 20  # groups and pairs listed in a report
_NAMED = 5  # groups named in an error


@dataclass(frozen=True, slots=True)
class Group:
    """Rows whose pictures are identical."""

    same: str  # bytes | pixels
    keys: tuple[str, ...]
    lines: tuple[int, ...]  # of the source's table
    splits: tuple[str, ...]  # without repetition
    n_patients: int


@dataclass(frozen=True, slots=True)
class Duplicates:
    """All groups, by first key, and the near pairs as the report lists them."""

    groups: tuple[Group, ...]
    near: dict[str, Any]

    @property
    def across_patients(self) -> list[Group]:
        return [group for group in self.groups if group.n_patients > 1]

    @property
    def notes(self) -> list[str]:
        across = len(self.across_patients)
        within = len(self.groups) - across
        notes = []
        if across:
            notes.append(f"identical pictures of different patients, kept: {across} groups")
        if within:
            notes.append(f"identical pictures of one and the same patient: {within} groups")
        return notes

    def to_dict(self) -> dict[str, Any]:
        """The section of report.json."""
        listed = sorted(self.groups, key=lambda group: (group.n_patients == 1, group.keys))
        return {
            "identical": {
                "groups": len(self.groups),
                "across_patients": len(self.across_patients),
                "across_splits": sum(len(group.splits) > 1 for group in self.groups),
                "listed": [asdict(group) for group in listed[:_SHOWN]],
            },
            "near": self.near,
        }


def find_duplicates(frame: pl.DataFrame) -> Duplicates:
    """Compare all pictures with each other.

    frame  columns key, line, patient, split and FACTS; its row order does not matter
    """
    frame = frame.sort("key")
    return Duplicates(_groups(frame), _near(frame))


def refuse_duplicates(found: Duplicates, table: Path) -> None:
    """Identical pictures of different patients are an error: a label or a patient id is wrong."""
    across = found.across_patients
    if not across:
        return
    over_splits = sum(len(group.splits) > 1 for group in across)
    shown = "; ".join(
        f"lines {', '.join(str(line) for line in group.lines[:_NAMED])} (same {group.same})"
        for group in across[:_NAMED]
    )
    raise DataError(
        f"{len(across)} groups of identical pictures belong to different patients, "
        f"{over_splits} of them to different splits",
        f"{table}, {shown}{'; …' if len(across) > _NAMED else ''}",
        "delete the rows that are wrong, correct the patient, or keep all with --allow-duplicates",
    )


def _groups(frame: pl.DataFrame) -> tuple[Group, ...]:
    groups: dict[tuple[str, ...], Group] = {}
    # Bytes first: a group that agrees in both is called by the stronger word.
    for same, fact in (("bytes", "source_xxh3"), ("pixels", "plane_xxh3")):
        alike = (
            frame.group_by(fact, maintain_order=True)
            .agg(
                "key",
                "line",
                splits=pl.col("split").unique().sort(),
                n_patients=pl.col("patient").n_unique(),
            )
            .filter(pl.col("key").list.len() > 1)
        )
        for keys, lines, splits, n_patients in alike.drop(fact).iter_rows():
            group = Group(same, tuple(keys), tuple(lines), tuple(splits), n_patients)
            groups.setdefault(group.keys, group)
    return tuple(groups[keys] for keys in sorted(groups))


def _near(frame: pl.DataFrame) -> dict[str, Any]:
    patients = frame["patient"].rank("dense").cast(pl.Int64).to_numpy()
    near = near_pairs(frame["dhash"].to_numpy(), patients, _SHOWN)
    rule = f"difference hashes within {NEAR_BITS} of 64 bits, different patients"
    if near is None:
        return {"rule": rule, "pairs": None, "skipped": "too many pictures to compare in seconds"}
    keys = frame["key"]
    return {
        "rule": rule,
        "pairs": near.count,
        "listed": [{"keys": [keys[i], keys[j]], "bits": bits} for i, j, bits in near.first],
    }
