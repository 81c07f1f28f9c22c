"""Which layout a folder has, told by the files that only one data set ships."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from cxr_engine.shards.errors import UsageError
from cxr_engine.shards.sources import chexpert, cxr_lt_2026, mimic, nih, padchest
from cxr_engine.shards.sources.download import check_folder

_PROBED = 20  # files of a folder that are asked whether they are DICOM


def detect_layout(folder: Path) -> str:
    """The SOURCE that reads a folder: that of a public data set, else dicom, else table.

    PadChest's own table beside that of CXR-LT 2026 belongs to the latter. A folder of none or of
    several is a UsageError.
    """
    check_folder(folder, "a data set")
    found = {
        "nih": nih.detect(folder),
        "mimic": mimic.detect(folder),
        "chexpert": chexpert.detect(folder),
        "cxr-lt-2026": cxr_lt_2026.detect(folder),
        "padchest": padchest.detect(folder),
    }
    if found["cxr-lt-2026"]:
        found["padchest"] = None
    seen = {name: sign for name, sign in found.items() if sign}
    if not seen and _holds_dicom(folder):
        return "dicom"
    tables = sorted(p.name for p in folder.glob("*") if p.name.endswith((".csv", ".csv.gz")))
    if not seen and len(tables) == 1:
        return "table"
    if len(seen) == 1:
        return next(iter(seen))
    if seen:
        signs = ", ".join(f"{sign} of {name}" for name, sign in seen.items())
        raise UsageError(
            "the folder looks like several data sets",
            f"{folder} holds {signs}",
            f"say which one: cxr-engine shard {' or '.join(seen)}",
        )
    raise UsageError(
        "what this folder holds is not clear",
        f"{folder}; looked for Data_Entry_2017*.csv (nih), mimic-cxr-2.?.?-metadata.csv or "
        "files/p10 (mimic), train.csv with Frontal/Lateral (chexpert), PADCHEST*.csv (padchest), "
        "CXRLT_2026_training.csv (cxr-lt-2026), DICOM files (dicom), one CSV (table); "
        f"tables in it: {', '.join(tables) or 'none'}",
        "name the folder with these files in it, or name the SOURCE instead of auto",
    )


def _holds_dicom(folder: Path) -> bool:
    """True where a file among the first of the folder, or of one inside it, is DICOM."""
    files = (path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_file())
    return any(_is_dicom(path) for path in islice(files, _PROBED))


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
