"""CXR-LT 2026: thirty labels for PadChest's images, and a list of images to leave out."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cxr_engine.shards.class_lists import CXR_LT_2026
from cxr_engine.shards.findings import UNKNOWN_STAYS, LabelPolicy
from cxr_engine.shards.sources import DroppedRow, SourceTable, distinct_studies, dropped_rows
from cxr_engine.shards.sources.download import (
    NeededFile,
    check_folder,
    read_columns,
    refuse_repeats,
    require_files,
)
from cxr_engine.shards.sources.images import plain_file_names
from cxr_engine.shards.sources.label_columns import UNCERTAIN, drop_uncertain, read_labels
from cxr_engine.shards.sources.padchest_images import TABLE as PADCHEST
from cxr_engine.shards.sources.padchest_images import locate_padchest, read_facts
from cxr_engine.shards.sources.spreadsheet import rounded_notes
from cxr_engine.shards.sources.text_table import TextTable
from cxr_engine.shards.views import views_of

_PAGE = "the challenge's page, cxr-lt.github.io/CXR-LT-2026"
_TRAINING = NeededFile(("CXRLT_2026_training.csv",), _PAGE)
_REMOVAL = NeededFile(("Removal.csv",), f"{_PAGE} (or shard without it: --no-removal)")
_REMEDY = f"take it as shipped, from {_PAGE}"
_BORROWED = ("patient", "study", "view_position", "bits_stored", "image_dir")


def detect(folder: Path) -> str | None:
    """The file by which the folder is known as a download of this data set."""
    table = _TRAINING.find([folder])
    return table.name if table else None


def read_cxr_lt_2026(
    folder: Path, policy: LabelPolicy = UNKNOWN_STAYS, removal: bool = True
) -> SourceTable:
    """Rows of the training table less those of the removal list; all for a split by patient.

    removal  leave out what Removal.csv lists: images of the evaluation sets' patients

    The removal list is applied by image: its patient ids are those that a spreadsheet rounded.
    Where PadChest's own table lies in the folder, patients, studies, views and bit depths come
    from it. Else the study is the image id up to the underscore and the view is unknown.
    """
    check_folder(folder, "the CXR-LT 2026 download")
    needed = [_TRAINING, _REMOVAL] if removal else [_TRAINING]
    paths = require_files([folder], needed, "the CXR-LT 2026 download")
    table = read_columns(
        paths[0], ("ImageID", "PatientID", *CXR_LT_2026), f"these are not the 30 classes: {_REMEDY}"
    )
    source = plain_file_names(table, table.column("ImageID", ""), _REMEDY)
    refuse_repeats(table, "ImageID", _REMEDY)
    facts, notes = _facts(folder, table, source)
    image_paths, path_notes = locate_padchest(folder, source, facts["image_dir"])
    labels = read_labels(table, CXR_LT_2026, policy)
    frame = facts.select(
        "source",
        image_paths,
        table.lines,
        "patient",
        "study",
        views_of(facts["view_position"]).alias("view"),
        "view_position",
        pl.lit(None, pl.String).alias("split"),
        "bits_stored",
    ).with_columns(*labels.columns, labels.uncertain.alias(UNCERTAIN))
    notes += [*path_notes, *rounded_notes(frame["patient"])]
    dropped: tuple[DroppedRow, ...] = ()
    if removal:
        frame, dropped, note = _leave_out_removed(frame, paths[1])
        notes.append(note)
    frame, uncertain = drop_uncertain(frame, policy)
    return SourceTable(
        "cxr-lt-2026", frame, CXR_LT_2026, tuple(notes), table.path, dropped + uncertain, policy
    )


def _leave_out_removed(
    frame: pl.DataFrame, path: Path
) -> tuple[pl.DataFrame, tuple[DroppedRow, ...], str]:
    removed = read_columns(path, ("ImageID",), _REMEDY).column("ImageID", "")
    is_removed = pl.col("source").is_in(removed.implode())
    out = frame.filter(is_removed).with_columns(what=pl.lit(f"listed in {path.name}"))
    note = f"{path.name}: {out.height} of its {removed.n_unique()} images are in the table"
    return frame.filter(~is_removed), dropped_rows(out, "removed"), note


def _facts(folder: Path, table: TextTable, source: pl.Series) -> tuple[pl.DataFrame, list[str]]:
    """Source and _BORROWED of each row, the latter from PadChest's table as far as it goes."""
    patient = table.require(table.column("PatientID", ""), _REMEDY)
    own = pl.DataFrame(
        {
            "source": source,
            "patient": patient,
            "study": source.str.replace(r"\.[A-Za-z]+$", "").str.split("_").list.first(),
            "view_position": pl.Series([None] * len(source), dtype=pl.String),
            "bits_stored": pl.Series([None] * len(source), dtype=pl.Int64),
            "image_dir": pl.Series([None] * len(source), dtype=pl.String),
        }
    )
    path = PADCHEST.find([folder])
    if path is None:
        study, notes = distinct_studies(patient, own["study"])
        said = f"{PADCHEST.patterns[-1]} in the folder would say both"
        notes.append(f"study: the image id up to the underscore; view: unknown; {said}")
        return own.with_columns(study=study), notes
    _, facts, notes = read_facts(path)
    joined = own.select("source").join(
        facts.select("source", *_BORROWED), on="source", how="left", maintain_order="left"
    )
    lacking = int(joined["patient"].null_count())
    notes.append(f"patients, studies, views and bits: from {path.name}")
    if lacking:
        # One patient under two kinds of id could end up in two splits: all take the same kind.
        notes.append(
            f"{path.name} lacks {lacking} images: patients are those of the training table"
        )
        joined = joined.with_columns(patient=patient, study=joined["study"].fill_null(own["study"]))
    study, study_notes = distinct_studies(joined["patient"], joined["study"])
    return joined.with_columns(study=study), notes + study_notes
