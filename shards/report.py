"""report.json and dropped.csv: where the rows went, and what the splits hold."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import polars as pl

from cxr_engine.shards.errors import IntegrityError
from cxr_engine.shards.findings import LABEL_PREFIX
from cxr_engine.shards.publish import published
from cxr_engine.shards.sources import DroppedRow
from cxr_engine.shards.split import SPLITS

REPORT = "report.json"
DROPPED = "dropped.csv"
LISTED = 1000  # dropped rows and warnings in report.json


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The account of one run; read = written + dropped."""

    source: str
    rows_read: int
    rows_written: int
    dropped: dict[str, int]  # per reason
    dropped_rows: tuple[DroppedRow, ...]  # by line
    shards: int
    bytes: int
    splits: dict[str, dict[str, int]]  # split -> patients, studies, views
    views: dict[str, int]
    classes: dict[str, dict[str, dict[str, int]]]  # finding -> split -> positive, negative, unknown
    prevalence: dict[str, dict[str, float | None]]  # finding -> train, val, val less train
    duplicates: dict[str, Any]
    warnings: tuple[tuple[str, str], ...]  # key, what a person should look at; the first 1000
    n_warnings: int
    options: dict[str, Any]
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        assert self.rows_read == self.rows_written + sum(self.dropped.values())
        assert self.rows_written == sum(split["views"] for split in self.splits.values())
        assert len(self.dropped_rows) == sum(self.dropped.values())

    def to_dict(self) -> dict[str, Any]:
        """The content of report.json; of long lists the first rows, the others in dropped.csv."""
        facts = {field.name: getattr(self, field.name) for field in fields(self)}
        warnings = [{"key": key, "what": what} for key, what in self.warnings]
        return facts | {
            "dropped_rows": [asdict(row) for row in self.dropped_rows[:LISTED]],
            "warnings": {"pictures": facts.pop("n_warnings"), "listed": warnings},
        }


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


def count_prevalence(
    classes: dict[str, dict[str, dict[str, int]]],
) -> dict[str, dict[str, float | None]]:
    """Share of positives among the known labels of each finding in train and val.

    classes  as from `count_classes`

    None where no label is known. `deviation` is the share in val less that in train.
    """
    found = {}
    for name, counts in classes.items():
        train, val = (_share(counts.get(split)) for split in ("train", "val"))
        deviation = None if train is None or val is None else val - train
        found[name] = {"train": train, "val": val, "deviation": deviation}
    return found


def label_notes(
    splits: dict[str, dict[str, int]], classes: dict[str, dict[str, dict[str, int]]]
) -> list[str]:
    """What training or validation will not see, and how far the two are apart."""
    notes = []
    for split in ("train", "val"):
        if split not in splits:
            notes.append(f"split {split} is empty")
            continue
        without = [name for name, counts in classes.items() if not counts[split]["positive"]]
        if without:
            notes.append(f"no positives in {split}: {', '.join(without)}")
    deviations = {
        name: shares["deviation"]
        for name, shares in count_prevalence(classes).items()
        if shares["deviation"] is not None
    }
    if deviations:
        name = max(deviations, key=lambda name: abs(deviations[name]))
        notes.append(
            f"prevalence in val is within {100 * abs(deviations[name]):.1f} points of train "
            f"({name}: {100 * deviations[name]:+.1f})"
        )
    return notes


def write_report(folder: Path, report: Report) -> None:
    """Write report.json, and dropped.csv if rows were dropped; the same report, the same bytes."""
    text = json.dumps(report.to_dict(), indent=1, sort_keys=True, ensure_ascii=False)
    if report.dropped_rows:
        table = io.StringIO(newline="")
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("line", "source", "reason", "what"))
        writer.writerows(astuple(row) for row in report.dropped_rows)
        with published(folder / DROPPED) as file:
            file.write(table.getvalue().encode())
    with published(folder / REPORT) as file:
        file.write(text.encode() + b"\n")


def read_report(folder: Path) -> Report:
    """The report of a finished data set, as it was written."""
    path = folder / REPORT
    try:
        facts: dict[str, Any] = json.loads(path.read_bytes())
        warnings = facts["warnings"]
        facts["dropped_rows"] = _read_dropped(folder / DROPPED)
        facts["notes"] = tuple(facts["notes"])
        facts["warnings"] = tuple((row["key"], row["what"]) for row in warnings["listed"])
        return Report(**facts, n_warnings=warnings["pictures"])
    except (OSError, ValueError, LookupError, TypeError, AssertionError) as error:
        raise IntegrityError(
            "the account of a finished data set is damaged; its shards are not concerned",
            f"{path}: {error}",
            f"restore {REPORT} and {DROPPED} from a copy, or make the shards again",
        ) from error


def _read_dropped(path: Path) -> tuple[DroppedRow, ...]:
    if not path.exists():
        return ()
    with path.open(newline="", encoding="utf-8") as file:
        _, *rows = csv.reader(file)
    return tuple(DroppedRow(int(line), *facts) for line, *facts in rows)


def _share(counts: dict[str, int] | None) -> float | None:
    if counts is None or not (known := counts["positive"] + counts["negative"]):
        return None
    return counts["positive"] / known


def _by_split(frame: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    parts = [(split, frame.filter(pl.col("split") == split)) for split in SPLITS]
    return [(split, part) for split, part in parts if not part.is_empty()]
