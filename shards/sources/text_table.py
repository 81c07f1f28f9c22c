"""CSV files as text: nothing is guessed, every row keeps its line number."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import TextIO

import polars as pl

from cxr_engine.shards.errors import DataError, UsageError

_CHUNK_ROWS = 50_000  # Python strings of so many rows exist at a time


@dataclass(frozen=True, slots=True)
class TextTable:
    """The cells of a CSV file, all String, and the line on which each row begins."""

    path: Path
    cells: pl.DataFrame
    lines: pl.Series

    def column(self, name: str, flag: str) -> pl.Series:
        """The cells of a column, blanks around them gone; the flag that named it may be wrong."""
        if name not in self.cells.columns:
            near = get_close_matches(name, self.cells.columns, n=1, cutoff=0.5)
            raise UsageError(
                f"no column {name!r}",
                f"{self.path}, which has: {', '.join(self.cells.columns)}",
                f"{flag} {near[0]!r}?" if near else f"name one of these columns with {flag}",
            )
        return self.cells[name].str.strip_chars()

    def require(self, cells: pl.Series, remedy: str) -> pl.Series:
        """The cells themselves; a blank one is a DataError that names its line."""
        blank = cells == ""
        if blank.any():
            line = self.lines[int(blank.arg_true()[0])]
            what = f"column {cells.name!r} is blank in {blank.sum()} rows"
            raise DataError(what, f"{self.path}, first on line {line}", remedy)
        return cells


def read_text_table(path: Path) -> TextTable:
    """Read a CSV file (or .csv.gz; comma, semicolon or tab; UTF-8, with or without BOM).

    Every row must have as many cells as the header; blank columns at the end do not count.
    """
    try:
        with _open_text(path) as file:
            records = _records(file, path)
            _, header = next(records, (1, []))
            names = _column_names(header, path)
            return _collect(path, names, records)
    except FileNotFoundError as error:
        raise UsageError("no such table", str(path), "check the path of the CSV file") from error
    except UnicodeDecodeError as error:
        remedy = "save it again as 'CSV UTF-8'"
        raise DataError("the table is not UTF-8 text", str(path), remedy) from error
    except (OSError, EOFError, zlib.error) as error:
        remedy = "copy or download the file again"
        raise DataError(f"the table cannot be read: {error}", str(path), remedy) from error


def _open_text(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _records(file: TextIO, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of each row that is not empty."""
    first = file.readline()
    delimiter = next((mark for mark in ",;\t" if mark in first), ",")
    file.seek(0)
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"not a well-formed CSV row: {error}",
            f"{path}, line {line}",
            "correct the quotes on that line, or save the table again",
        ) from error


def _column_names(header: list[str], path: Path) -> list[str]:
    names = [name.strip() for name in header]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise DataError("the table is empty", str(path), "give a CSV file with a header line")
    # pandas writes its index under a blank name.
    names = [name or f"(column {position})" for position, name in enumerate(names, 1)]
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        remedy = "rename one of the columns"
        raise DataError(f"{times} columns are named {name!r}", f"{path}, line 1", remedy)
    return names


def _collect(path: Path, names: list[str], records: Iterator[tuple[int, list[str]]]) -> TextTable:
    chunks: list[pl.DataFrame] = []
    lines: list[int] = []
    while batch := list(islice(records, _CHUNK_ROWS)):
        lines += [line for line, _ in batch]
        rows = [_fitted(cells, len(names), f"{path}, line {line}") for line, cells in batch]
        columns = zip(names, zip(*rows, strict=True), strict=True)
        chunks.append(pl.DataFrame([pl.Series(name, cells, pl.String) for name, cells in columns]))
    if not lines:
        raise DataError("the table has no rows", str(path), "give a table with a row per image")
    return TextTable(path, pl.concat(chunks), pl.Series("line", lines, pl.Int64))


def _fitted(cells: list[str], width: int, where: str) -> list[str]:
    """As many cells as the header has; more are fine only if blank."""
    if len(cells) < width or any(cells[width:]):
        raise DataError(
            f"{len(cells)} cells under a header of {width}",
            where,
            "the row is cut or has a delimiter too many; correct it, or save the table again",
        )
    return cells[:width]


def read_text_lines(path: Path) -> list[str]:
    """The lines of a plain text file, blanks around them and empty lines gone."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError("the list is not UTF-8 text", str(path), "download it again") from error
    except OSError as error:
        remedy = "copy or download the file again"
        raise DataError(f"the list cannot be read: {error}", str(path), remedy) from error
    return [line.strip() for line in lines if line.strip()]
