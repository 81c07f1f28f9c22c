"""MIMIC-CXR-JPG 2.0 and 2.1 with the labels of CXR-LT, CheXpert or NegBio."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cxr_engine.shards.errors import DataError, UsageError
from cxr_engine.shards.findings import UNKNOWN_STAYS, LabelPolicy
from cxr_engine.shards.sources import SourceTable
from cxr_engine.shards.sources.cxr_lt import PAGE as CXR_LT_PAGE
from cxr_engine.shards.sources.cxr_lt import ImageLabels
from cxr_engine.shards.sources.download import (
    NeededFile,
    check_folder,
    read_columns,
    refuse_repeats,
    require_files,
)
from cxr_engine.shards.sources.label_columns import drop_uncertain
from cxr_engine.shards.sources.mimic_labels import StudyLabels, read_mimic_labels
from cxr_engine.shards.sources.text_table import TextTable
from cxr_engine.shards.views import views_of

_PAGE = "physionet.org/content/mimic-cxr-jpg"
_METADATA = NeededFile(("mimic-cxr-2.?.?-metadata.csv",), _PAGE)
_SPLIT = NeededFile(("mimic-cxr-2.?.?-split.csv",), _PAGE)
_REMEDY = f"take it as shipped, from {_PAGE}"
_SPLIT_OF = {"train": "train", "validate": "val", "test": "test"}
_ID_FORMS = {"dicom_id": r"^[A-Za-z0-9_-]+$", "subject_id": r"^[0-9]+$", "study_id": r"^[0-9]+$"}


def detect(folder: Path) -> str | None:
    """The file or folder by which the folder is known as a download of this data set."""
    table = _METADATA.find([folder])
    if table:
        return table.name
    return next((f"{root.name}/p1x" for root in _trees(folder)), None)


def read_mimic(folder: Path, labels: Path, policy: LabelPolicy = UNKNOWN_STAYS) -> SourceTable:
    """Rows of the images that have labels, in the order of the metadata table.

    folder  holds `files/p10/…`, a derived tree of the same form (files-512), or p10/… itself
    labels  a table of CXR-LT 2023 or 2024, of CheXpert or NegBio, or a folder of CXR-LT tables

    The metadata and split tables may lie in the folder, above it, or beside the labels. With
    CheXpert's labels, which are a study's, every image is read and the split is MIMIC's own; with
    CXR-LT's it is theirs, and the training table is left for a split by patient.
    """
    check_folder(folder, "the MIMIC-CXR-JPG download")
    homes = [folder, folder.absolute().parent, labels if labels.is_dir() else labels.parent]
    _require_labels(labels, homes)
    found = read_mimic_labels(labels, policy)
    needed = [_METADATA, _SPLIT] if isinstance(found, StudyLabels) else [_METADATA]
    paths = require_files(homes, needed, "the MIMIC-CXR-JPG download")
    root, tree_notes = _choose_tree(folder)
    images = _images(paths[0], root)
    if isinstance(found, StudyLabels):
        joined, notes = _join_studies(images, found, paths[1])
    else:
        joined, notes = _join_images(images, found, labels)
    frame, dropped = drop_uncertain(joined, policy)
    notes = [*found.notes, f"metadata: {paths[0].name}", *tree_notes, *notes]
    return SourceTable("mimic", frame, found.class_names, tuple(notes), paths[0], dropped, policy)


def _require_labels(labels: Path, homes: list[Path]) -> None:
    if labels.exists():
        return
    absent = [str(file) for file in (_METADATA, _SPLIT) if file.find(homes) is None]
    raise UsageError(
        "no such labels" + (f", and no {' and no '.join(absent)}" if absent else ""),
        str(labels),
        f"name with --labels a table, or a folder of tables: CXR-LT's from {CXR_LT_PAGE}; "
        f"mimic-cxr-2.0.0-chexpert.csv, metadata and split from {_PAGE}",
    )


def _trees(folder: Path) -> list[Path]:
    """Folders that hold p10 … p19, the full-size one first."""
    return [root for root in (*sorted(folder.glob("files*")), folder) if any(root.glob("p1[0-9]"))]


def _choose_tree(folder: Path) -> tuple[Path, list[str]]:
    trees = _trees(folder.absolute()) or [folder.absolute() / "files"]
    notes = [f"images: {trees[0].name}"]
    if len(trees) > 1:
        others = ", ".join(tree.name for tree in trees[1:])
        notes.append(f"not read: {others}; name that folder to shard it instead")
    return trees[0], notes


def _images(path: Path, root: Path) -> pl.DataFrame:
    """The common schema less split and labels, of every image in the metadata table."""
    remedy = f"this is not MIMIC's metadata: {_REMEDY}"
    table = read_columns(path, (*_ID_FORMS, "ViewPosition"), remedy)
    ids = {name: _ids(table, name) for name in _ID_FORMS}
    refuse_repeats(table, "dicom_id", _REMEDY)
    position = table.column("ViewPosition", "")
    image = pl.format(
        "{}/p{}/p{}/s{}/{}.jpg",
        pl.lit(str(root)),
        pl.col("subject_id").str.head(2),
        "subject_id",
        "study_id",
        "dicom_id",
    )
    return pl.DataFrame(ids).select(
        pl.col("dicom_id").alias("source"),
        image.alias("path"),
        table.lines,
        pl.col("subject_id").alias("patient"),
        pl.col("study_id").alias("study"),
        views_of(position).alias("view"),
        position.set(position == "", None).alias("view_position"),
        pl.lit(None, pl.Int64).alias("bits_stored"),
    )


def _ids(table: TextTable, name: str) -> pl.Series:
    cells = table.require(table.column(name, ""), _REMEDY)
    bad = ~cells.str.contains(_ID_FORMS[name])
    if bad.any():
        row = int(bad.arg_true()[0])
        what = f"column {name!r} holds what is not an id of MIMIC in {bad.sum()} rows"
        raise DataError(what, f"{table.path}, first on line {table.lines[row]}", _REMEDY)
    return cells


def _join_images(
    images: pl.DataFrame, found: ImageLabels, labels: Path
) -> tuple[pl.DataFrame, list[str]]:
    """Images with labels of their own; the training split is left open."""
    lost = found.frame.filter(~pl.col("dicom_id").is_in(images["source"].implode()))
    if lost.height:
        raise DataError(
            f"{lost.height} images with labels are not in MIMIC's metadata, such as "
            f"{lost['dicom_id'][0]}",
            str(labels),
            f"the metadata table is cut or another data set's: {_REMEDY}",
        )
    own = found.frame.rename({"dicom_id": "source", "study": "labelled_study"})
    joined = images.join(own, on="source", how="inner", maintain_order="left")
    strange = joined.filter(pl.col("labelled_study") != pl.col("study"))
    if strange.height:
        raise DataError(
            f"{strange.height} images belong to another study than in MIMIC's metadata, such as "
            f"{strange['source'][0]}",
            str(labels),
            f"the labels or the metadata are damaged: {_REMEDY}",
        )
    split = pl.when(pl.col("split") != "train").then(pl.col("split"))
    notes = [
        f"{images.height - joined.height} of {images.height} images have no row in these labels",
        "split: CXR-LT's development and test sets; train and val by patient from the rest",
    ]
    return joined.drop("labelled_study").with_columns(split.alias("split")), notes


def _join_studies(
    images: pl.DataFrame, found: StudyLabels, split_table: Path
) -> tuple[pl.DataFrame, list[str]]:
    """All images with the labels of their study and MIMIC's own split."""
    table = read_columns(split_table, ("dicom_id", "split"), f"this is not MIMIC's: {_REMEDY}")
    refuse_repeats(table, "dicom_id", _REMEDY)
    raw = table.column("split", "")
    bad = ~raw.is_in(list(_SPLIT_OF))
    if bad.any():
        row = int(bad.arg_true()[0])
        raise DataError(
            f"{raw[row]!r} is not a split of MIMIC ({', '.join(_SPLIT_OF)})",
            f"{split_table}, line {table.lines[row]}, column 'split'",
            _REMEDY,
        )
    splits = pl.DataFrame(
        {
            "source": table.column("dicom_id", ""),
            "split": raw.replace_strict(_SPLIT_OF, return_dtype=pl.String),
        }
    )
    joined = images.join(splits, on="source", how="left", maintain_order="left")
    has_labels = joined["study"].is_in(found.frame["study"].implode())
    joined = joined.join(found.frame, on="study", how="left", maintain_order="left")
    notes = ["split: MIMIC's own"]
    if not has_labels.all():
        n = (~has_labels).sum()
        notes.append(f"{n} images are of studies without a row in the labels: all unknown")
    if joined["split"].null_count():
        notes.append(f"{joined['split'].null_count()} images have no official split")
    return joined, notes
