"""One shard against the rows of the manifest: all that is wrong with it, not only the first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Literal

import xxhash

from cxr_engine.shards.audit import difference
from cxr_engine.shards.errors import ResourceError
from cxr_engine.shards.tar import REPLACE, TarError, TarMember, walk
from cxr_engine.shards.tar_header import BLOCK, header

# fast: names, sizes, headers, padding; full: every byte too; decode: every pixel too.
Mode = Literal["fast", "full", "decode"]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture, or a smaller copy of one, as its row has it."""

    member: str
    key: str
    offset: int
    size: int
    xxh3: int
    height: int
    width: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardCheck:
    """All that a worker needs: the same check has the same outcome anywhere."""

    folder: str
    name: str
    bytes: int
    xxh3: str  # of the whole file, hex
    pictures: tuple[Picture, ...]
    mode: Mode


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is not as it was written."""

    shard: str
    member: str | None = None
    key: str | None = None
    found: str
    remedy: str = REPLACE

    def __str__(self) -> str:
        where = self.shard
        if self.member is not None:
            where += f", member {self.member}"
        if self.key is not None:
            where += f", key {self.key}"
        return f"{where}: {self.found}"


def check_shard(check: ShardCheck) -> tuple[Problem, ...]:
    """What is wrong with a shard; nothing of what it holds can raise an error or run code."""
    try:
        return tuple(_problems(Path(check.folder, check.name), check))
    except OSError as error:
        what, remedy = f"cannot read: {error.strerror}", "check its permissions and the disk"
        return (Problem(shard=check.name, found=what, remedy=remedy),)


def _problems(path: Path, check: ShardCheck) -> Iterator[Problem]:
    if not path.is_file():
        what = "it is not a plain file" if path.exists() else "it is missing"
        yield Problem(shard=check.name, found=what)
        return
    size = path.stat().st_size
    if size != check.bytes:
        yield Problem(shard=check.name, found=f"{size:,} bytes instead of {check.bytes:,}")
    digest = None if check.mode == "fast" else xxhash.xxh3_64()
    found: dict[str, TarMember] = {}
    try:
        for member in walk(path, digest):
            found[member.name] = member
    except TarError as error:
        yield _named(error, check)
        yield from _differences(check, found)
        yield from _behind(error, path, check, found)
        return
    except ResourceError as error:  # the disk cannot read it
        yield Problem(shard=check.name, found=error.what, remedy=error.remedy)
        return
    wrong = [*_strangers_and_missing(check, found), *_differences(check, found)]
    yield from wrong
    if digest and not wrong and digest.hexdigest() != check.xxh3:
        what = "its bytes have another hash, and all pictures are as written: a .json was changed"
        yield Problem(shard=check.name, found=what)
    if check.mode == "decode":
        yield from _undecodable(path, check, {problem.member for problem in wrong})


def _named(error: TarError, check: ShardCheck) -> Problem:
    """The member by its place in the manifest, if it has one: its name may be what is damaged."""
    member = error.member
    here = [p.member for p in check.pictures if p.offset == error.offset + BLOCK]
    if here:
        member = here[0]
    elif error.before and not error.before.endswith(".json"):
        member = f"{error.before.partition('.')[0]}.json"
    return Problem(
        shard=check.name,
        member=member,
        key=member and member.partition(".")[0],
        found=f"{error.what} (byte {error.offset:,})",
        remedy=error.remedy,
    )


def _strangers_and_missing(check: ShardCheck, found: dict[str, TarMember]) -> Iterator[Problem]:
    expected = {picture.member for picture in check.pictures}
    expected |= {f"{picture.key}.json" for picture in check.pictures}
    for name in sorted(found.keys() ^ expected):
        what = "it is not in the manifest" if name in found else "it is missing"
        yield Problem(shard=check.name, member=name, key=name.partition(".")[0], found=what)


def _differences(check: ShardCheck, found: dict[str, TarMember]) -> Iterator[Problem]:
    """Pictures that were found and are not as their rows have them."""
    for picture in check.pictures:
        member = found.get(picture.member)
        if member is None:
            continue
        if (member.offset, member.size) != (picture.offset, picture.size):
            what = (
                f"{member.size:,} bytes at byte {member.offset:,}, by the manifest "
                f"{picture.size:,} at {picture.offset:,}"
            )
        elif member.xxh3 is not None and member.xxh3 != picture.xxh3:
            what = "its bytes have another hash"
        else:
            continue
        yield Problem(shard=check.name, member=picture.member, key=picture.key, found=what)


def _behind(
    error: TarError, path: Path, check: ShardCheck, found: dict[str, TarMember]
) -> Iterator[Problem]:
    """Where the walk ended early: which of the other pictures are damaged, by their places."""
    with FileIO(path) as file:
        for picture in check.pictures:
            start = picture.offset - BLOCK
            if picture.member in found or start == error.offset:
                continue
            # Read whatever the mode is: this is one shard, and a broken one.
            data = os.pread(file.fileno(), BLOCK + picture.size, start)
            if len(data) < BLOCK + picture.size:
                what = "the shard ends before it"
            elif data[:BLOCK] != header(picture.member.encode(), picture.size):
                what = "its header is damaged"
            elif xxhash.xxh3_64_intdigest(data[BLOCK:]) != picture.xxh3:
                what = "its bytes have another hash"
            else:
                continue
            yield Problem(shard=check.name, member=picture.member, key=picture.key, found=what)


def _undecodable(path: Path, check: ShardCheck, known: set[str | None]) -> Iterator[Problem]:
    with FileIO(path) as file:
        for picture in check.pictures:
            if picture.member in known:
                continue
            data = os.pread(file.fileno(), picture.size, picture.offset)
            if what := difference(data, picture.xxh3, (picture.height, picture.width)):
                yield Problem(shard=check.name, member=picture.member, key=picture.key, found=what)
