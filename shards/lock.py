"""One writer at a time in a folder, and who that is."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from cxr_engine.shards.errors import ResourceError
from cxr_engine.shards.publish import remove
from cxr_engine.shards.system import SYSTEM

LOCK = ".lock"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_STARTED = 19  # of the fields of /proc/PID/stat that follow the command's name
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # a file system without flock


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, told apart from a later one of the same number."""

    host: str
    boot: str  # the kernel's id of this start of the machine
    pid: int
    started: int  # clock ticks since the boot

    def is_alive(self) -> bool:
        """Of a process of this host: does it still run?"""
        return self.boot == _boot() and self.started == _started(self.pid)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@contextmanager
def locked(folder: Path, on_note: Callable[[str], None], *, break_lock: bool) -> Iterator[None]:
    """Nobody else writes into the folder meanwhile; a second writer is a ResourceError.

    break_lock  also take the place of an owner on another host, whose end cannot be seen here

    The kernel's lock ends with its process; the name of the owner in the file is for people, and
    for file systems whose locks other hosts do not see.
    """
    path = folder / LOCK
    descriptor = _take(path, on_note, break_lock)
    try:
        yield
    finally:
        # First the name, then the lock: who waits for neither finds both or none.
        with suppress(OSError):
            if _is_same(descriptor, path):
                remove(path)
        os.close(descriptor)


def this_process() -> Owner:
    """The owner that this process writes into its locks."""
    pid = os.getpid()
    return Owner(os.uname().nodename, _boot(), pid, _started(pid) or 0)


def _take(path: Path, on_note: Callable[[str], None], break_lock: bool) -> int:
    while True:
        descriptor = SYSTEM.open(path, os.O_RDWR | os.O_CREAT)
        try:
            if _own(descriptor, path, on_note, break_lock):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _own(descriptor: int, path: Path, on_note: Callable[[str], None], break_lock: bool) -> bool:
    """Write ourselves into the file opened; False if it is no longer the one of that name."""
    is_ours = _lock(descriptor)
    if is_ours and not _is_same(descriptor, path):
        return False  # its owner took it away between our opening and locking it
    before = _owner(descriptor)
    if is_ours is not False and break_lock and _is_abroad(before):
        on_note(f"the lock of {before} is broken")
        remove(path)  # a new file: should that owner live, it must not take ours away
        return False
    _check(path, before, is_ours)
    SYSTEM.truncate(descriptor, 0)
    SYSTEM.write(descriptor, json.dumps(asdict(this_process())).encode())
    if before:
        on_note(f"a lock that {before} left behind is taken over")
    return True


def _is_abroad(owner: Owner | None) -> bool:
    return owner is not None and owner.host != os.uname().nodename


def _check(path: Path, owner: Owner | None, is_ours: bool | None) -> None:
    # The kernel's word counts more than the number of a process, which may be ours.
    is_alive = is_ours is None and owner is not None and owner.is_alive()
    if is_ours is not False and not _is_abroad(owner) and not is_alive:
        return
    what = f"{owner or 'another process'} is writing into this folder"
    if is_ours is not False and _is_abroad(owner):
        remedy = "wait for it; if it ended without a word, run again with --break-lock"
    else:
        remedy = "wait for it, end it, or name another folder"
    raise ResourceError(what, str(path), remedy)


def _lock(descriptor: int) -> bool | None:
    """Whether the kernel gave us the lock; None where the file system has no locks."""
    try:
        SYSTEM.lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        found = SYSTEM.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), found)


def _owner(descriptor: int) -> Owner | None:
    """Who wrote the lock; None if nobody came to the end of writing it."""
    try:
        return Owner(**json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, TypeError):
        return None


def _boot() -> str:
    return _BOOT.read_text().strip()


def _started(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *rest = text.rpartition(")")[2].split()
    return None if state in "ZX" else int(rest[_STARTED - 1])  # a zombie writes nothing
