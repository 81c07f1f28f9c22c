"""The system calls of all that is written, behind one door, so that tests can let any of them fail."""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

_Result = TypeVar("_Result")


class System:
    """The calls as `os` has them; one that a signal interrupted is made again."""

    def call(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        """Make one system call. Every call comes through here; tests put another in its place."""
        return function(*arguments)

    def open(self, path: Path, flags: int) -> int:
        return self._again(os.open, path, flags, 0o666)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        return self._again(os.write, descriptor, data)

    def fsync(self, descriptor: int) -> None:
        self._again(os.fsync, descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        self._again(os.ftruncate, descriptor, size)

    def lock(self, descriptor: int, operation: int) -> None:
        self._again(fcntl.flock, descriptor, operation)

    def rename(self, source: Path, target: Path) -> None:
        self._again(os.replace, source, target)

    def unlink(self, path: Path) -> None:
        self._again(os.unlink, path)

    def mkdir(self, path: Path) -> None:
        self._again(os.mkdir, path)

    def rmdir(self, path: Path) -> None:
        self._again(os.rmdir, path)

    def listdir(self, path: Path) -> list[str]:
        return self._again(os.listdir, path)

    def stat(self, path: Path) -> os.stat_result:
        return self._again(os.stat, path)

    def _again(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        # Python itself does so for some of these calls only: rename on NFS may say EINTR.
        while True:
            try:
                return self.call(function, *arguments)
            except InterruptedError:
                continue


SYSTEM = System()


def create(path: Path) -> BinaryIO:
    """A new or emptied file to write, buffered."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    raw = _File(SYSTEM.open(path, flags), "wb")
    raw.name = str(path)  # some libraries want the name rather than the file
    return cast("BinaryIO", io.BufferedWriter(raw, 1 << 20))


class _File(io.FileIO):
    def write(self, data: Any, /) -> int:
        return SYSTEM.write(self.fileno(), data)
