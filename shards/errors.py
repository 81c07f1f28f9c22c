"""The three-line error: what is wrong, where, and what to do.

The command line prints `what`, `where` and `remedy` as three lines and exits with `exit_code`;
library callers catch ValueError (what they gave) or RuntimeError (the machine, the files).
"""

from __future__ import annotations


class ThreeLineError(Exception):
    exit_code = 1

    def __init__(self, what: str, where: str, remedy: str) -> None:
        super().__init__(what, where, remedy)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}\n  where: {self.where}\n  remedy: {self.remedy}"


class UsageError(ThreeLineError, ValueError):
    """The command or the call does not make sense as given."""

    exit_code = 2


class DataError(ThreeLineError, ValueError):
    """The user's pictures, tables or labels have problems."""

    exit_code = 3


class IntegrityError(ThreeLineError, RuntimeError):
    """Bytes that we wrote are not the bytes that we read."""

    exit_code = 4


class ResourceError(ThreeLineError, RuntimeError):
    """Disk, memory or device is missing or exhausted."""

    exit_code = 5


class Stopped(ThreeLineError, RuntimeError):
    """Asked to stop with more to do; the same command continues."""

    exit_code = 75
