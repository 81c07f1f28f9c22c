"""report.json: where the rows went, and what the splits hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from cxr_engine.shards.findings import LABEL_PREFIX
from cxr_engine.shards.publish import published
from cxr_engine.shards.sources import DroppedRow
from cxr_engine.shards.split import SPLITS

REPORT = "report.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The account of one run; read = written + dropped."""

    source: str
    rows_read: int
    rows_written: int
    dropped: dict[str, int]  # per reason
    dropped_rows: tuple[DroppedRow, ...]
    shards: int
    bytes: int
    splits: dict[str, dict[str, int]]  # split -> patients, studies, views
    views: dict[str, int]
    classes: dict[str, dict[str, dict[str, int]]]  # finding -> split -> positive, negative, unknown
    options: dict[str, Any]
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        assert self.rows_read == self.rows_written + sum(self.dropped.values())
        assert self.rows_written == sum(split["views"] for split in self.splits.values())
        assert len(self.dropped_rows) == sum(self.dropped.values())

    def to_dict(self) -> dict[str, Any]:
        """The content of report.json."""
        return asdict(self)


def count_splits(frame: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Patients, studies and views of each split that has any."""
    counts = {}
    for split, part in _by_split(frame):
        counts[split] = {
            "patients": part["patient"].n_unique(),
            "studies": part["study"].n_unique(),
            "views": part.height,
        }
    return counts


def count_classes(
    frame: pl.DataFrame, class_names: Sequence[str]
) -> dict[str, dict[str, dict[str, int]]]:
    """Views per finding, split and state of the label."""
    counts: dict[str, dict[str, dict[str, int]]] = {name: {} for name in class_names}
    for split, part in _by_split(frame):
        for name in class_names:
            labels = part[LABEL_PREFIX + name]
            counts[name][split] = {
                "positive": int((labels == 1).sum()),
                "negative": int((labels == 0).sum()),
                "unknown": labels.null_count(),
            }
    return counts


def empty_notes(
    splits: dict[str, dict[str, int]], classes: dict[str, dict[str, dict[str, int]]]
) -> list[str]:
    """What training or validation will not see: a split without views, classes without positives."""
    notes = []
    for split in ("train", "val"):
        if split not in splits:
            notes.append(f"split {split} is empty")
            continue
        without = [name for name, counts in classes.items() if not counts[split]["positive"]]
        if without:
            notes.append(f"no positives in {split}: {', '.join(without)}")
    return notes


def write_report(folder: Path, report: Report) -> None:
    """Write report.json; the same report gives the same bytes."""
    text = json.dumps(report.to_dict(), indent=1, sort_keys=True, ensure_ascii=False)
    with published(folder / REPORT) as file:
        file.write(text.encode() + b"\n")


def _by_split(frame: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    parts = [(split, frame.filter(pl.col("split") == split)) for split in SPLITS]
    return [(split, part) for split, part in parts if not part.is_empty()]
