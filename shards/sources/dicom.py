"""A folder of DICOM files and a table of their labels."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from cxr_engine.shards.dicom import dicom_damage, import_pydicom, unchecked
from cxr_engine.shards.errors import DataError, UsageError
from cxr_engine.shards.findings import (
    UNKNOWN_STAYS,
    LabelPolicy,
    check_class_names,
    is_label_column,
)
from cxr_engine.shards.sources import COLUMNS, SourceTable, distinct_studies
from cxr_engine.shards.sources.label_columns import UNCERTAIN, drop_uncertain, read_labels
from cxr_engine.shards.sources.text_table import TextTable, read_text_table
from cxr_engine.shards.views import views_of

# All that is read of a header; what else it says of a person stays where it is.
_TAGS = (
    "SOPInstanceUID", "StudyInstanceUID", "PatientID", "Modality", "ViewPosition",
    "PhotometricInterpretation", "Rows", "Columns", "BitsStored",
)  # fmt: skip
_RADIOGRAPHS = ("CR", "DX", "RG", "DR")
# Lower case, letters and digits only; the first that fits wins.
_IMAGE_COLUMNS = (
    "sopinstanceuid", "sopuid", "uid", "dicomid", "image", "imageid", "path", "filepath",
    "filename", "file",
)  # fmt: skip
_NO_LABELS = ("patient", "patientid", "study", "studyid", "studyinstanceuid", "view", "split")
_LOOKED_AT = 200  # files, to know a folder


@dataclass(frozen=True, slots=True)
class _Header:
    """What the rows need of one file."""

    path: str
    uid: str
    patient: str
    study: str
    view_position: str | None
    bits_stored: int | None
    modality: str


def detect(folder: Path) -> str | None:
    """The first DICOM file among the first files of a folder, relative to it."""
    found = (name for name in islice(_files(folder), _LOOKED_AT) if _is_dicom(folder / name))
    return next(found, None)


def read_dicom(
    folder: Path,
    labels: Path | None,
    policy: LabelPolicy = UNKNOWN_STAYS,
    key: bytes | None = None,
) -> SourceTable:
    """Rows of a label table, each joined to its DICOM file by SOPInstanceUID or file name.

    labels  CSV with a column of UIDs, paths or names of files; columns of 1, 0, -1 and blank are
            the classes
    key     if given, ids of patients, studies and images are replaced by keyed BLAKE2 hashes

    Rows without a file are kept with a path that does not exist. Files without a row are left
    out and counted in the notes.
    """
    if labels is None:
        raise UsageError(
            "DICOM files carry no labels, and a data set needs classes",
            "--labels",
            "give a CSV file with a column SOPInstanceUID (or file) and a column per finding",
        )
    if not folder.is_dir():
        raise UsageError("no such folder", str(folder), "check its path")
    table = read_text_table(labels)
    image = _image_column(table)
    classes = tuple(
        cells.name
        for cells in table.cells
        if _plain(cells.name) not in (*_NO_LABELS, _plain(image.name)) and is_label_column(cells)
    )
    check_class_names(classes, str(labels))
    headers, notes = _read_headers(folder)
    found = _join(table, image, headers, folder)
    rows = [header or _absent(folder, cell) for header, cell in zip(found, image, strict=True)]
    conceal = _concealer(key)
    patient = pl.Series([conceal(row.patient) for row in rows], dtype=pl.String)
    study = pl.Series([conceal(row.study) for row in rows], dtype=pl.String)
    study, study_notes = distinct_studies(patient, study)
    position = pl.Series([row.view_position for row in rows], dtype=pl.String)
    cells = read_labels(table, classes, policy)
    frame = pl.DataFrame(
        {
            "source": [conceal(row.uid) for row in rows],
            "path": [row.path for row in rows],
            "line": table.lines,
            "patient": patient,
            "study": study,
            "view": views_of(position),
            "view_position": position,
            "split": None,
            "bits_stored": [row.bits_stored for row in rows],
        },
        schema=COLUMNS,
    ).with_columns(*cells.columns, cells.uncertain.alias(UNCERTAIN))
    frame, dropped = drop_uncertain(frame, policy)
    unused = [name for name in table.cells.columns if name not in (image.name, *classes)]
    notes += (
        [f"columns of the label table that are not used: {', '.join(unused)}"] if unused else []
    )
    notes += [f"rows are joined to files by the column {image.name!r}", *study_notes]
    notes += _file_notes(headers, {row.path for row in rows})
    return SourceTable("dicom", frame, classes, tuple(notes), labels, dropped, policy)


def _files(folder: Path) -> Iterator[str]:
    """Paths relative to the folder, in sorted order."""
    for path, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            yield os.path.relpath(os.path.join(path, name), folder)  # noqa: PTH118  # names, not files


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _read_headers(folder: Path) -> tuple[list[_Header], list[str]]:
    """Headers of all DICOM pictures, in the order of their paths, and notes on the other files."""
    dicom = import_pydicom(str(folder))
    headers = []
    damaged, pictureless = [], 0
    for name in _files(folder):
        path = folder.absolute() / name
        if not _is_dicom(path):
            continue
        try:
            with unchecked(dicom):
                header = dicom.dcmread(path, specific_tags=list(_TAGS), stop_before_pixels=True)
                facts = {tag: header.get(tag) for tag in _TAGS}
                bits = facts["BitsStored"]
                bits = None if bits is None else int(bits)
        except dicom_damage(dicom):
            damaged.append(name)
            continue
        if not facts["Rows"] or not facts["Columns"]:
            pictureless += 1
            continue
        headers.append(
            _Header(
                path=str(path),
                uid=_text(facts["SOPInstanceUID"]),
                patient=_text(facts["PatientID"]),
                study=_text(facts["StudyInstanceUID"]),
                view_position=_text(facts["ViewPosition"]) or None,
                bits_stored=bits,
                modality=_text(facts["Modality"]),
            )
        )
    if not headers:
        raise DataError("no DICOM picture in this folder", str(folder), "check its path")
    notes = [f"{len(damaged)} files have a damaged header"] if damaged else []
    notes += [f"{pictureless} DICOM files hold no picture"] if pictureless else []
    return headers, notes


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _image_column(table: TextTable) -> pl.Series:
    names = {_plain(name): name for name in table.cells.columns}
    for usual in _IMAGE_COLUMNS:
        if usual in names:
            cells = table.column(names[usual], "--labels")
            return table.require(cells, "give every row a UID or a file, or delete the row")
    raise UsageError(
        "no column names the images",
        f"{table.path}, which has: {', '.join(table.cells.columns)}",
        "call the column SOPInstanceUID, or file",
    )


def _join(
    table: TextTable, image: pl.Series, headers: list[_Header], folder: Path
) -> list[_Header | None]:
    """The header of each row; a cell that fits several files is a DataError."""
    root = str(folder.absolute())
    of_name: Mapping[str, list[_Header]] = defaultdict(list)
    for header in headers:
        name = Path(header.path).name
        for alias in {header.uid, os.path.relpath(header.path, root), name, Path(name).stem}:
            of_name[alias].append(header)
    found: list[_Header | None] = []
    for cell, line in zip(image, table.lines, strict=True):
        fits = of_name.get(os.path.normpath(cell), [])
        if len(fits) > 1:
            raise DataError(
                f"{len(fits)} files fit the row",
                f"{table.path}, line {line}, column {image.name!r}",
                "name files by their path in the folder, or delete the copies",
            )
        found.append(fits[0] if fits else None)
    if all(header is None for header in found):
        raise DataError(
            f"no row fits any of {len(headers)} DICOM files",
            f"{table.path}, column {image.name!r}",
            "the column must hold SOPInstanceUIDs, or names of files in the folder",
        )
    for match, line in zip(found, table.lines, strict=True):
        if match is not None and not (match.patient and match.uid and match.study):
            raise DataError(
                "the file has no PatientID, StudyInstanceUID or SOPInstanceUID",
                f"{table.path}, line {line}",
                "without patients no split is safe: make PNGs of the files and shard them as "
                "`table` with a patient column",
            )
    return found


def _absent(folder: Path, cell: str) -> _Header:
    # A path at which nothing is, even where the cell leads to some file of another kind.
    path = folder.absolute() / "(no DICOM file)" / cell.replace("/", "_")
    return _Header(str(path), cell, cell, cell, None, None, "")


def _concealer(key: bytes | None) -> Callable[[str], str]:
    if key is None:
        return str
    if len(key) < 16:
        raise UsageError(
            f"a key of {len(key)} bytes", "the key file", "make one: head -c 32 /dev/urandom > key"
        )
    # BLAKE2 takes keys of up to 64 bytes.
    secret = blake2b(key, digest_size=64).digest()
    return lambda text: blake2b(text.encode(), key=secret, digest_size=16).hexdigest()


def _file_notes(headers: list[_Header], used: set[str]) -> list[str]:
    notes = []
    if n := sum(header.path not in used for header in headers):
        notes.append(f"{n} of {len(headers)} DICOM files have no row in the label table")
    kinds = Counter(h.modality or "unknown" for h in headers if h.path in used)
    odd = [f"{kind} ({n})" for kind, n in sorted(kinds.items()) if kind not in _RADIOGRAPHS]
    if odd:
        notes.append(f"modalities that are no radiographs: {', '.join(odd)}")
    return notes
