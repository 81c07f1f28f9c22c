"""Which column of a table holds what: given by name, or guessed by the usual names."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from cxr_engine.shards.errors import UsageError
from cxr_engine.shards.findings import is_label_column
from cxr_engine.shards.sources.text_table import TextTable

NONE = "none"  # as the name of a column: there is none, do not guess

# Lower case, letters and digits only; the first that fits wins.
_USUAL_NAMES = {
    "image": ("image", "imagepath", "path", "fpath", "filepath", "filename", "file",
              "imageindex", "imagefile", "imagename", "imageid", "img", "dicomid"),
    "patient": ("patient", "patientid", "subject", "subjectid"),
    "study": ("study", "studyid", "studyinstanceuid", "accession", "accessionnumber"),
    "view": ("view", "viewposition", "projection"),
    "split": ("split", "subset", "partition"),
    "bits": ("bitsstored", "bitsstoreddicom"),
}  # fmt: skip
_OPTIONAL = ("patient", "study", "view", "split", "bits")
_USUAL_LISTS = ("findinglabels", "labels")  # not "findings": that is often the report's text
BETWEEN = "|"  # the findings of a list


@dataclass(frozen=True, kw_only=True, slots=True)
class TableColumns:
    """Which column holds what; None = guess by the usual names, "none" = no such column."""

    image: str | None = None
    patient: str | None = None
    study: str | None = None
    view: str | None = None
    split: str | None = None
    bits: str | None = None  # significant bits of the pixels
    labels: tuple[str, ...] | None = None  # columns of 1, 0, -1; with findings, names in its lists
    findings: str | None = None  # of lists such as Mass|Nodule


def assign_roles(table: TextTable, columns: TableColumns) -> TableColumns:
    """The column of each role, given or guessed; None where there is none.

    A column of lists is guessed only where no column of 1, 0, -1 is given or found.
    """
    found: dict[str, str | None] = {}
    for role, usual in _USUAL_NAMES.items():
        given: str | None = getattr(columns, role)
        if given is None:
            found[role] = _guess(table, usual)
        elif given == NONE and role in _OPTIONAL:
            found[role] = None
        else:
            found[role] = table.column(given, f"--{role}").name
    if found["image"] is None:
        raise _unnamed(table, "image", "name it with --image COLUMN")
    if found["patient"] is None and columns.patient is None:
        raise _unnamed(
            table,
            "patient",
            "name it with --patient COLUMN, or --patient none if each image is its own patient",
        )
    labels, findings = columns.labels, None
    if columns.findings not in (None, NONE):
        findings = table.column(columns.findings, "--findings").name
    elif labels is None:
        taken = set(found.values())
        labels = tuple(
            cells.name
            for cells in table.cells
            if cells.name not in taken
            and not cells.name.startswith("(column ")
            and is_label_column(cells)
        )
        if not labels and columns.findings is None:
            findings = _guess_lists(table)
    return TableColumns(
        **found, labels=labels if labels or not findings else None, findings=findings
    )


def _guess_lists(table: TextTable) -> str | None:
    name = _guess(table, _USUAL_LISTS)
    is_list = name is not None and table.cells[name].str.contains(BETWEEN, literal=True).any()
    return name if is_list else None


def _guess(table: TextTable, usual: tuple[str, ...]) -> str | None:
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in table.cells.columns}
    return next((plain[name] for name in usual if name in plain), None)


def _unnamed(table: TextTable, role: str, remedy: str) -> UsageError:
    where = f"{table.path}, which has: {', '.join(table.cells.columns)}"
    return UsageError(f"which column holds the {role} is not clear", where, remedy)


def role_notes(roles: TableColumns, given: TableColumns) -> list[str]:
    """Which column was taken for each role, a line each."""
    notes = []
    for field in fields(roles):
        found = getattr(roles, field.name)
        shown = ", ".join(found) if isinstance(found, tuple) else found
        origin = " (guessed)" if getattr(given, field.name) is None and found else ""
        notes.append(f"{field.name}: {shown or 'no column'}{origin}")
    return notes
