"""Bytes of a range of a shard, from a local folder."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Self

from cxr_engine.shards.errors import IntegrityError, ResourceError

_MAX_OPEN = 256  # shards held open; the usual limit of a process is 1,024 descriptors


class _OpenShard:
    """A descriptor that closes when its last reader lets go of it."""

    __slots__ = ("descriptor",)

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        # Nothing to close where os.open itself failed.
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


class LocalStore:
    """Reads ranges of the shards of one folder; threads may share it."""

    def __init__(self, folder: Path | str, max_open: int = _MAX_OPEN) -> None:
        if max_open < 1:
            raise ValueError(f"max_open must be at least 1, got {max_open}")
        self.folder = Path(folder)
        self._max_open = max_open
        self._lock = Lock()
        self._open: OrderedDict[str, _OpenShard] = OrderedDict()  # least recently used first
        self._closed = False

    def read(self, shard: str, offset: int, size: int) -> bytes:
        """The `size` bytes at `offset`; fewer in the file is an IntegrityError."""
        if offset < 0 or size < 0:
            raise ValueError(f"offset and size must not be negative, got {offset} and {size}")
        # The local name keeps the descriptor open even if another thread evicts it meanwhile.
        source = self._shard(shard)
        parts = []
        missing = size
        try:
            while missing and (part := os.pread(source.descriptor, missing, offset)):
                parts.append(part)
                offset += len(part)
                missing -= len(part)
        except OSError as error:
            raise ResourceError(
                f"cannot read: {error.strerror}",
                f"{self.folder / shard}, byte {offset}",
                "check the disk or the network file system",
            ) from error
        if missing:
            raise IntegrityError(
                f"the shard ends {missing} bytes too early",
                f"{self.folder / shard}, byte {offset}",
                "the file was cut or replaced: restore it, or make the shards again",
            )
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Let go of all descriptors; reads in other threads end undisturbed."""
        with self._lock:
            self._closed = True
            self._open.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _shard(self, name: str) -> _OpenShard:
        with self._lock:
            if self._closed:
                raise ValueError(f"the store of {self.folder} is closed; make a new one")
            if name in self._open:
                self._open.move_to_end(name)
                return self._open[name]
            if "/" in name or name in ("", ".", ".."):
                raise ValueError(f"{name!r} is not the name of a shard; it must not be a path")
            try:
                source = _OpenShard(self.folder / name)
            except FileNotFoundError as error:
                raise IntegrityError(
                    "a shard is missing",
                    str(self.folder / name),
                    "restore the file, or make the shards again",
                ) from error
            except OSError as error:
                raise ResourceError(
                    f"cannot open a shard: {error.strerror}",
                    str(self.folder / name),
                    "check its permissions, the disk, and the limit of open files (ulimit -n)",
                ) from error
            self._open[name] = source
            if len(self._open) > self._max_open:
                self._open.popitem(last=False)
            return source
