"""A file appears whole under its final name, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from cxr_engine.shards.system import SYSTEM, create

PARTIAL = ".partial"


@contextmanager
def published(path: Path) -> Iterator[BinaryIO]:
    """A new file to write, named `path` only once all of it is on disk.

    The bytes go to `path` + ".partial", which is removed if the block raises; a killed process
    leaves it behind under that name.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        with create(partial) as file:
            yield file
            file.flush()
            SYSTEM.fsync(file.fileno())
        SYSTEM.rename(partial, path)
    except BaseException:
        remove(partial)
        raise
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Take the name away, if it is there."""
    with suppress(FileNotFoundError):
        SYSTEM.unlink(path)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk: a rename alone may be lost with the power."""
    descriptor = SYSTEM.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        SYSTEM.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, on disk: with its name all that is in it would be lost."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with suppress(FileExistsError):
        SYSTEM.mkdir(folder)
    sync_folder(folder.parent)
