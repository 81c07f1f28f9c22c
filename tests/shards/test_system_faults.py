"""Every system call may fail, and the power may go after any of them: a rerun mends it all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from cxr_engine.shards import ShardOptions, SourceTable, build_shards
from cxr_engine.shards.errors import ResourceError, Stopped
from cxr_engine.shards.journal import Journal
from cxr_engine.shards.system import SYSTEM

MakeTree = Callable[..., Any]  # returns the Tree of conftest.py
SMALL = ShardOptions(size=32, jobs=1, shard_samples=6, allow_empty_val=True)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def table(make_tree: MakeTree) -> SourceTable:
    return make_tree(4).read()


@pytest.fixture
def whole(table: SourceTable, tmp_path: Path) -> dict[str, bytes]:
    """The files of an undisturbed run."""
    build_shards(table, tmp_path / "whole", SMALL)
    return files(tmp_path / "whole")


def fail_call(number: int, code: int) -> Callable[..., Any]:
    """Calls as they are, but for one; `call.made` counts them."""

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        call.made += 1
        if call.made == number:
            raise OSError(code, os.strerror(code))
        return function(*arguments)

    call.made = 0
    return call


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES], ids=errno.errorcode.get)
def test_a_call_that_fails_leaves_finished_shards_and_a_rerun_completes(
    table: SourceTable,
    whole: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    for number in range(1, 1000):
        out = tmp_path / f"out{number}"
        call = fail_call(number, code)
        with monkeypatch.context() as patch:
            patch.setattr(SYSTEM, "call", call)
            with suppress(ResourceError):  # nothing else
                build_shards(table, out, SMALL)
        tars = {path.name: path.read_bytes() for path in out.glob("*.tar")}
        assert tars.items() <= whole.items()
        build_shards(table, out, SMALL)
        assert files(out) == whole
        if call.made < number:
            assert number > 50
            return
    raise AssertionError("no run passed")


def test_a_call_that_a_signal_interrupts_is_made_again(
    table: SourceTable, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, made = 0, 1
    while number < made:
        number += 1
        out = tmp_path / f"out{number}"
        call = fail_call(number, errno.EINTR)
        with monkeypatch.context() as patch:
            patch.setattr(SYSTEM, "call", call)
            build_shards(table, out, SMALL)
        assert files(out) == whole
        made = call.made


@dataclass(slots=True)
class Inode:
    """A file: its bytes as written and as synced."""

    written: bytearray = field(default_factory=bytearray)
    synced: bytes = b""


@dataclass(slots=True)
class Disk:
    """What a folder and its files are after each call, with and without the last sync."""

    root: Path
    names: dict[Path, Inode | None] = field(default_factory=dict)  # None is a folder
    synced: dict[Path, Inode | None] = field(default_factory=dict)
    opened: dict[int, tuple[Path, Inode | None]] = field(default_factory=dict)
    snapshots: list[tuple[str, dict[Path, bytes | None]]] = field(default_factory=list)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        result = function(*arguments)
        before = len(self.snapshots)
        match function.__name__:
            case "open":
                self._open(result, *arguments[:2])
            case "write":
                _, inode = self.opened[arguments[0]]
                inode.written += bytes(arguments[1])[:result]
            case "ftruncate":
                _, inode = self.opened[arguments[0]]
                del inode.written[arguments[1] :]
            case "fsync":
                self._sync(*self.opened[arguments[0]])
            case "replace":
                self.names[arguments[1]] = self.names.pop(arguments[0])
            case "unlink" | "rmdir":
                del self.names[arguments[0]]
            case "mkdir":
                self.names[arguments[0]] = None
            case _:
                return result
        assert before == len(self.snapshots)
        self.snapshots += self._after_power_loss(function.__name__)
        return result

    def _open(self, descriptor: int, path: Path, flags: int) -> None:
        if flags & os.O_CREAT and path not in self.names:
            self.names[path] = Inode()
        inode = self.names.get(path)
        if flags & os.O_TRUNC:
            inode.written.clear()
        self.opened[descriptor] = (path, inode)

    def _sync(self, path: Path, inode: Inode | None) -> None:
        if inode is not None:
            inode.synced = bytes(inode.written)
            return
        inside = {name for name in self.names.keys() | self.synced.keys() if name.parent == path}
        for name in inside:
            if name in self.names:
                self.synced[name] = self.names[name]
            else:
                del self.synced[name]

    def _after_power_loss(self, what: str) -> Iterator[tuple[str, dict[Path, bytes | None]]]:
        for names, kind in ((self.synced, "names lost"), (self.names, "names kept")):
            for share in (0, 0.5, 1):
                yield (
                    f"{what}, {kind}, {share} of the data",
                    {name: inode and self._half(inode, share) for name, inode in names.items()},
                )

    @staticmethod
    def _half(inode: Inode, share: float) -> bytes:
        # Of a file that was emptied since its sync, the old bytes may be there or not.
        pairs = zip(inode.synced, inode.written, strict=False)
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        new = bytes(inode.written[common:])
        return (
            inode.synced
            if share == 0
            else bytes(inode.written[:common]) + new[: int(len(new) * share)]
        )


def rebuild(state: dict[Path, bytes | None], root: Path, target: Path) -> None:
    """The folder as the disk had it; what lies in a folder that is lost is lost."""
    for path, content in sorted(state.items()):
        copy = target / path.relative_to(root)
        if not copy.parent.is_dir():
            continue
        if content is None:
            copy.mkdir()
        else:
            copy.write_bytes(content)


def test_after_a_power_loss_at_any_call_a_rerun_completes_and_finished_shards_stay(
    table: SourceTable, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    disk = Disk(root)
    finished: list[tuple[int, str]] = []
    add = Journal.add

    def noted(self: Journal, shard: Any) -> None:
        add(self, shard)
        finished.append((len(disk.snapshots), shard.name))

    with monkeypatch.context() as patch:
        patch.setattr(SYSTEM, "call", disk.call)
        patch.setattr(Journal, "add", noted)
        build_shards(table, root / "a" / "out", SMALL)
    assert len(disk.snapshots) > 300
    assert len(finished) >= 3
    seen: set[tuple[tuple[Path, bytes | None], ...]] = set()
    for number, (what, state) in enumerate(disk.snapshots):
        if (key := tuple(sorted(state.items()))) in seen:
            continue
        seen.add(key)
        target = tmp_path / f"after{number}"
        target.mkdir()
        rebuild(state, root, target)
        out = target / "a" / "out"
        stand = [name for count, name in finished if count <= number]
        assert all((out / name).read_bytes() == whole[name] for name in stand), what
        inodes = [(out / name).stat().st_ino for name in stand]
        build_shards(table, out, SMALL)
        assert files(out) == whole, what
        assert [(out / name).stat().st_ino for name in stand] == inodes, what
    assert len(seen) > 50


def test_a_data_set_half_mended_when_the_power_goes_is_mended_by_a_rerun(
    table: SourceTable, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 1000):
        out = tmp_path / f"out{number}"
        out.mkdir()
        for name, content in whole.items():
            (out / name).write_bytes(content[:-1] if name.endswith(".tar") else content)
        call = fail_call(number, errno.EIO)
        with monkeypatch.context() as patch:
            patch.setattr(SYSTEM, "call", call)
            with suppress(ResourceError):
                build_shards(table, out, SMALL)
        build_shards(table, out, SMALL)
        assert files(out) == whole
        if call.made < number:
            return
    raise AssertionError("no run passed")


def test_a_stop_at_each_shard_loses_nothing(
    table: SourceTable, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out, n_stops = tmp_path / "out", 0
    while True:
        asked = iter([False])
        try:
            build_shards(table, out, SMALL, is_stopping=lambda: next(asked, True))  # noqa: B023
            break
        except Stopped:
            n_stops += 1
    assert files(out) == whole
    assert n_stops == len([name for name in whole if name.endswith(".tar")]) - 1
