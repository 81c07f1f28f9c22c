"""What PadChest's table says of each image, labels apart, and where its images lie."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cxr_engine.shards.errors import DataError
from cxr_engine.shards.sources import distinct_studies
from cxr_engine.shards.sources.download import NeededFile, read_columns, refuse_repeats
from cxr_engine.shards.sources.images import bits_stored, locate, plain_file_names, subfolders
from cxr_engine.shards.sources.text_table import TextTable

PAGE = "the data set's page, bimcv.cipf.es/bimcv-projects/padchest"
REMEDY = f"take it as shipped, from {PAGE}"
TABLE = NeededFile(("PADCHEST_chest_x_ray_images_labels_160K*.csv", "PADCHEST*.csv"), PAGE)
_COLUMNS = ("ImageID", "ImageDir", "StudyID", "PatientID", "Projection", "BitsStored_DICOM")


def read_facts(path: Path, *extra: str) -> tuple[TextTable, pl.DataFrame, list[str]]:
    """The table, the facts of its rows (see below), and notes.

    extra    further columns that must be there
    returns  source, line, patient, study, view_position, bits_stored, image_dir; nulls in the
             last three only, and image_dir is a plain name of a folder
    """
    table = read_columns(path, (*_COLUMNS, *extra), f"this is not PadChest's table: {REMEDY}")
    cells = {name: table.column(name, "") for name in _COLUMNS}
    refuse_repeats(table, "ImageID", REMEDY)
    patient = table.require(cells["PatientID"], REMEDY)
    study, notes = distinct_studies(patient, table.require(cells["StudyID"], REMEDY))
    folder = cells["ImageDir"]
    odd = (folder != "") & ~folder.str.contains(r"^[A-Za-z0-9_-]+$")
    if odd.any():
        row = int(odd.arg_true()[0])
        raise DataError(
            f"{folder[row]!r} is not a folder of PadChest",
            f"{path}, line {table.lines[row]}, column 'ImageDir'",
            REMEDY,
        )
    position = cells["Projection"]
    facts = pl.DataFrame(
        {
            "source": plain_file_names(table, cells["ImageID"], REMEDY),
            "line": table.lines,
            "patient": patient,
            "study": study,
            "view_position": position.set(position == "", None),
            "bits_stored": bits_stored(table, cells["BitsStored_DICOM"]),
            "image_dir": folder.set(folder == "", None),
        }
    )
    return table, facts, notes


def locate_padchest(
    folder: Path, names: pl.Series, image_dirs: pl.Series
) -> tuple[pl.Series, list[str]]:
    """Paths of images that lie flat in the folder or in `images`, or in any folder inside these."""
    root = folder.absolute()
    homes = [*subfolders(root), *subfolders(root / "images"), root]
    expected = pl.select(
        pl.when(image_dirs.is_null()).then(pl.lit(str(root))).otherwise(f"{root}/" + image_dirs)
    ).to_series()
    return locate(names, homes, expected)
