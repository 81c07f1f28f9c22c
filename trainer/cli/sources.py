"""Which reader a SOURCE is, and which flags it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from cxr_engine.shards import SourceTable, TableColumns
    from cxr_engine.shards.findings import Blank, LabelPolicy, Uncertain


class Source(StrEnum):
    """The layouts that can be read."""

    auto = "auto"
    table = "table"
    nih = "nih"
    mimic = "mimic"
    padchest = "padchest"
    chexpert = "chexpert"
    cxr_lt_2026 = "cxr-lt-2026"
    dicom = "dicom"


_POLICY = ("uncertain", "blank")
_COLUMNS = ("image", "patient", "study", "view", "split", "bits", "findings")
_TAKES: dict[Source, tuple[str, ...]] = {
    Source.table: ("table", *_COLUMNS, "labels", *_POLICY),
    Source.nih: (),
    Source.mimic: ("labels", *_POLICY),
    Source.padchest: ("labels", *_POLICY),
    Source.chexpert: _POLICY,
    Source.cxr_lt_2026: ("removal", *_POLICY),
    Source.dicom: ("labels", "id_key", *_POLICY),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFlags:
    """The flags that only some sources take; None where the user gave none."""

    table: Path | None = None
    image: str | None = None
    patient: str | None = None
    study: str | None = None
    view: str | None = None
    split: str | None = None
    bits: str | None = None
    findings: str | None = None
    labels: str | None = None
    uncertain: str | None = None
    blank: str | None = None
    removal: bool | None = None
    id_key: Path | None = None

    def given(self) -> list[str]:
        return [name for name in self.__slots__ if getattr(self, name) is not None]

    def policy(self) -> LabelPolicy:
        from cxr_engine.shards.findings import LabelPolicy

        return LabelPolicy(
            uncertain=cast("Uncertain", self.uncertain or "unknown"),
            blank=cast("Blank", self.blank or "unknown"),
        )

    def columns(self) -> TableColumns:
        from cxr_engine.shards import TableColumns

        columns = {name: getattr(self, name) for name in _COLUMNS}
        return TableColumns(**columns, labels=self.names())

    def key(self) -> bytes | None:
        from cxr_engine.shards import UsageError

        if self.id_key is None:
            return None
        if not self.id_key.is_file():
            raise UsageError("no such file", f"--id-key {self.id_key}", "name the file of the key")
        # An editor's newline at the end must not make it another key.
        return self.id_key.read_bytes().strip()

    def names(self) -> tuple[str, ...] | None:
        """--labels as names of classes."""
        if self.labels is None:
            return None
        return tuple(name.strip() for name in self.labels.split(","))


def read_source(source: Source, folder: Path, flags: SourceFlags) -> SourceTable:
    """The rows of a data set as downloaded; a flag that its source has no use for is refused."""
    from cxr_engine import shards

    if source is Source.auto:
        source = Source(shards.detect_layout(folder))
    _refuse_strangers(source, flags)
    policy = flags.policy()
    readers: dict[Source, Callable[[], SourceTable]] = {
        Source.table: lambda: shards.read_table(
            flags.table or _only_table(folder), folder, flags.columns(), policy
        ),
        Source.nih: lambda: shards.read_nih(folder),
        Source.mimic: lambda: shards.read_mimic(folder, _label_file(source, flags), policy),
        Source.padchest: lambda: shards.read_padchest(folder, policy, flags.names()),
        Source.chexpert: lambda: shards.read_chexpert(folder, policy),
        Source.cxr_lt_2026: lambda: shards.read_cxr_lt_2026(
            folder, policy, flags.removal is not False
        ),
        Source.dicom: lambda: shards.read_dicom(
            folder, _label_file(source, flags), policy, flags.key()
        ),
    }
    return readers[source]()


def _refuse_strangers(source: Source, flags: SourceFlags) -> None:
    from cxr_engine.shards import UsageError

    strange = [name for name in flags.given() if name not in _TAKES[source]]
    if not strange:
        return
    shown = ", ".join("--" + name.replace("_", "-") for name in strange)
    takers = [str(other) for other, names in _TAKES.items() if set(strange) <= set(names)]
    raise UsageError(
        f"{shown}: not for SOURCE {source}",
        f"cxr-engine shard {source}",
        f"leave it out; it is for {', '.join(takers)}" if takers else "leave them out",
    )


def _label_file(source: Source, flags: SourceFlags) -> Path:
    from cxr_engine.shards import UsageError

    if flags.labels is None:
        of = {
            Source.mimic: "a folder or table of CXR-LT 2023 or 2024, or CheXpert's or NegBio's",
            Source.dicom: "a CSV with a column of SOPInstanceUIDs or file names, and the classes",
        }
        raise UsageError(
            "which labels?", f"cxr-engine shard {source}", f"name them: --labels FILE, {of[source]}"
        )
    return Path(flags.labels)


def _only_table(folder: Path) -> Path:
    from cxr_engine.shards import UsageError

    tables = sorted(p for p in folder.glob("*") if p.name.lower().endswith((".csv", ".csv.gz")))
    if len(tables) != 1:
        found = ", ".join(p.name for p in tables) or "none"
        raise UsageError(
            "which table?", f"{folder}, tables in it: {found}", "name it: --table FILE"
        )
    return tables[0]
