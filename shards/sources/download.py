"""Which tables a download must hold, and where one that is missing comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxr_engine.shards.errors import DataError, UsageError
from cxr_engine.shards.sources.text_table import TextTable, read_text_table


@dataclass(frozen=True, slots=True)
class NeededFile:
    """A file of a download, under any of its names, plain or packed by gzip."""

    patterns: tuple[str, ...]  # of file names, the preferred first
    page: str  # where it comes from

    def find(self, folders: Sequence[Path]) -> Path | None:
        """The file in the first folder that has it; of several versions the newest."""
        for folder in folders:
            for pattern in self.patterns:
                for ending in ("", ".gz"):
                    paths = sorted(p for p in folder.glob(pattern + ending) if p.is_file())
                    if paths:
                        return paths[-1]
        return None

    def __str__(self) -> str:
        return " or ".join(f"{pattern}[.gz]" for pattern in self.patterns)


def check_folder(folder: Path, of: str) -> None:
    """The folder that a user named is there."""
    if not folder.is_dir():
        raise UsageError("no such folder", str(folder), f"name the folder of {of}")


def require_files(folders: Sequence[Path], needed: Sequence[NeededFile], of: str) -> list[Path]:
    """The paths of all needed files; one DataError names every file that is missing."""
    found = [file.find(folders) for file in needed]
    absent = [file for file, path in zip(needed, found, strict=True) if path is None]
    if absent:
        pages = "; ".join(dict.fromkeys(file.page for file in absent))
        raise DataError(
            f"{of} lacks {', and '.join(str(file) for file in absent)}",
            " or ".join(str(folder) for folder in folders),
            f"put {'it' if len(absent) == 1 else 'them'} there, from {pages}",
        )
    return [path for path in found if path is not None]


def read_columns(path: Path, names: Sequence[str], remedy: str) -> TextTable:
    """A table that has all of these columns; one DataError names every column that is missing."""
    table = read_text_table(path)
    absent = [name for name in names if name not in table.cells.columns]
    if absent:
        raise DataError(f"no column {', '.join(repr(name) for name in absent)}", str(path), remedy)
    return table


def refuse_repeats(table: TextTable, name: str, remedy: str) -> None:
    """A cell of this column that stands in two rows is a DataError that names their lines."""
    cells = table.cells[name].str.strip_chars()
    twice = cells.is_duplicated()
    if twice.any():
        same = cells == cells[int(twice.arg_true()[0])]
        lines = " and ".join(str(line) for line in table.lines.filter(same).head(5))
        what = f"column {name!r} repeats itself in {twice.sum()} rows"
        raise DataError(what, f"{table.path}, lines {lines}", remedy)
