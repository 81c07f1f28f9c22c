"""Which files exist, asking the disk once per folder instead of once per file."""

from __future__ import annotations

import os

from cxr_engine.shards.errors import ResourceError


class Listing:
    """The names of the files in folders, read when first asked for."""

    def __init__(self) -> None:
        self._files: dict[str, frozenset[str]] = {}

    def files(self, folder: str) -> frozenset[str]:
        """Names of the files (or links to files) in a folder; none where there is no folder."""
        if folder not in self._files:
            self._files[folder] = _scan(folder)
        return self._files[folder]

    def __contains__(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        return name in self.files(folder or "/")


def _scan(folder: str) -> frozenset[str]:
    if "\0" in folder:
        return frozenset()
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError as error:
        raise ResourceError(
            f"a folder cannot be listed: {error.strerror}",
            folder,
            "check its permissions and the disk",
        ) from error
