"""What a table says of image files, and where they lie, whatever folder they were unpacked into."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from cxr_engine.shards.errors import DataError
from cxr_engine.shards.sources.listing import Listing
from cxr_engine.shards.sources.text_table import TextTable


def plain_file_names(table: TextTable, cells: pl.Series, remedy: str) -> pl.Series:
    """The cells themselves; one that is blank or more than a file name is a DataError."""
    table.require(cells, remedy)
    bad = cells.str.contains(r"[/\\\x00]") | cells.is_in([".", ".."])
    if bad.any():
        row = int(bad.arg_true()[0])
        raise DataError(
            f"{cells[row]!r} is not the name of an image",
            f"{table.path}, line {table.lines[row]}, column {cells.name!r}",
            remedy,
        )
    return cells


def bits_stored(table: TextTable, cells: pl.Series) -> pl.Series:
    """Significant bits of the pixels, Int64; null where the cell is blank."""
    bits = cells.str.extract(r"^([0-9]{1,2})(?:\.0)?$").cast(pl.Int64)
    bad = (cells.fill_null("") != "") & ~bits.is_between(1, 16).fill_null(False)
    if bad.any():
        row = int(bad.arg_true()[0])
        raise DataError(
            f"{cells[row]!r} is not a number of bits from 1 to 16",
            f"{table.path}, line {table.lines[row]}, column {cells.name!r}",
            "correct the cell, or leave it blank",
        )
    return bits.alias("bits_stored")


def locate(
    names: pl.Series, homes: Sequence[Path], expected: pl.Series
) -> tuple[pl.Series, list[str]]:
    """Absolute path of each image, and notes; one that is nowhere gets its expected folder.

    names     file names
    homes     folders that may hold them; the first that does wins
    expected  folder of each, for messages
    """
    listing = Listing()
    wanted = frozenset(names)
    found: dict[str, str] = {}
    twice = 0
    for home in homes:
        for name in listing.files(str(home)) & wanted:
            twice += name in found
            found.setdefault(name, f"{home}/{name}")
    paths = [
        found.get(name) or f"{folder}/{name}" for name, folder in zip(names, expected, strict=True)
    ]
    notes = [f"{twice} images lie in two folders: the first was taken"] if twice else []
    return pl.Series("path", paths, pl.String), notes


def subfolders(root: Path) -> list[Path]:
    """The folders inside a folder, sorted; none where there is none."""
    return sorted(path for path in root.glob("*") if path.is_dir())
