"""A strict walk over a shard: plain USTAR as the writer makes it, every byte accounted for.

tarfile, and all that read tars with it, stop in silence at the first damaged header and never
look behind the end blocks; here each of these is an error with a name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Protocol

import xxhash

from cxr_engine.shards.errors import IntegrityError, ResourceError
from cxr_engine.shards.tar_header import BLOCK, NAME, RECORD, SIZE, header, wrong_header

MAX_MEMBER = 64 * 2**20  # bytes
MAX_SAMPLES = 100_000  # of a shard: keys are remembered, and memory must stay bounded
REPLACE = "restore the shard from a copy, or repeat the `cxr-engine shard` command that made it"

_ZERO_BLOCK = bytes(BLOCK)
_CHUNK = 1 << 20  # bytes: fewer cost switches between threads, more leave the cache


@dataclass(frozen=True, slots=True)
class TarMember:
    """Where a member lies in the shard."""

    name: str
    offset: int  # of its first byte, behind the header
    size: int  # bytes
    xxh3: int | None  # xxh3_64 of its bytes; None where they were skipped


class TarError(IntegrityError):
    """A shard that is not as the writer writes it."""

    member: str | None = None  # a name from the file only if it is a possible one
    before: str | None = None  # the last member that is as written
    offset: int = 0  # of the block that is wrong


def walk(path: Path, digest: xxhash.xxh3_64 | None = None) -> Iterator[TarMember]:
    """The members of a shard, in their order; the first byte that is not as written is a TarError.

    digest  given one, every byte of the file goes through it and members carry their hash;
            otherwise their bytes are skipped
    """
    try:
        with FileIO(path) as file:
            source = _Skimmed(file) if digest is None else _Hashed(file, digest)
            yield from _Walk(path, source, os.fstat(file.fileno()).st_size)
    except FileNotFoundError as error:
        raise IntegrityError("a shard is missing", str(path), REPLACE) from error
    except OSError as error:
        raise ResourceError(
            f"cannot read: {error.strerror}", str(path), "check its permissions and the disk"
        ) from error


class _Walk:
    """The state of one walk, for the checks and the messages."""

    def __init__(self, path: Path, source: _Source, size: int) -> None:
        self._path = path
        self._source = source
        self._size = size
        self._at = 0  # the block in hand
        self._key = b""
        self._keys: set[bytes] = set()
        self._names: set[bytes] = set()  # of the sample in hand
        self._before: str | None = None

    def __iter__(self) -> Iterator[TarMember]:
        end = 0  # of the payload before
        while True:
            self._at = end + -end % BLOCK
            blocks = self._source.take(self._at - end + BLOCK)
            padding, block = blocks[: self._at - end], blocks[self._at - end :]
            if padding.strip(b"\0"):
                raise self._error("bytes that are not zero between two members", self._before)
            if len(block) < BLOCK:
                raise self._error(f"the shard is cut: it ends at byte {self._size:,} in mid-air")
            if block == _ZERO_BLOCK:
                self._check_end()
                return
            name, size = self._read_header(block)
            offset = self._at + BLOCK
            end = offset + size
            if end > self._size:
                raise self._error(
                    f"the shard is cut: it ends at byte {self._size:,}, the member at {end:,}", name
                )
            self._before = name
            yield TarMember(name, offset, size, self._source.payload(size))

    def _read_header(self, block: bytes) -> tuple[str, int]:
        name = block[:100].rstrip(b"\0")
        fits, length = NAME.fullmatch(name), SIZE.fullmatch(block[124:136])
        size = int(block[124:135], 8) if length else 0
        # Equal to what the writer would write: no field is left to think of.
        if not (fits and length and block == header(name, size)):
            raise self._error(
                wrong_header(block, first=self._at == 0), name.decode() if fits else None
            )
        text = name.decode()
        if size > MAX_MEMBER:
            raise self._error(f"a member of {size:,} bytes, the limit is {MAX_MEMBER:,}", text)
        key = fits[1]
        if key != self._key:
            if key in self._keys:
                raise self._error("a key that came before: duplicated, or its members apart", text)
            if len(self._keys) == MAX_SAMPLES:
                raise self._error(f"more than {MAX_SAMPLES:,} samples", text)
            self._key, self._names = key, set()
            self._keys.add(key)
        if name in self._names:
            raise self._error("the same name twice", text)
        self._names.add(name)
        return text, size

    def _check_end(self) -> None:
        """Behind the first end block: another one, zeros to the end of the record, nothing."""
        whole = self._at + 2 * BLOCK
        whole += -whole % RECORD
        if self._size < whole:
            raise self._error(
                f"the shard is cut: {self._size:,} bytes, its last record ends at {whole:,}"
            )
        if self._source.take(whole - self._at - BLOCK).strip(b"\0"):
            raise self._error("bytes that are not zero behind the first end block")
        if self._size > whole:
            self._at = whole
            raise self._error(
                f"{self._size - whole:,} bytes behind the end of the shard, which no reader of "
                "tars sees; `cat` and `tar -A` join tars so"
            )

    def _error(self, what: str, member: str | None = None) -> TarError:
        where = f"{self._path}, byte {self._at:,}"
        if member is not None:
            where += f", member {member}"
        elif self._before is not None:
            where += f", behind member {self._before}"
        error = TarError(what, where, REPLACE)
        error.member, error.before, error.offset = member, self._before, self._at
        return error


class _Source(Protocol):
    """The bytes of a shard from front to back."""

    def take(self, n: int) -> bytes:
        """The next n bytes; fewer where the file ends."""
        ...

    def payload(self, n: int) -> int | None:
        """Pass by n bytes of a member; their hash if they were read."""
        ...


class _Skimmed:
    """Reads headers and padding only."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._at = 0

    def take(self, n: int) -> bytes:
        data = b""
        while len(data) < n and (part := os.pread(self._file.fileno(), n - len(data), self._at)):
            data += part
            self._at += len(part)
        return data

    def payload(self, n: int) -> None:
        self._at += n


class _Hashed:
    """Reads each byte once: the same buffer goes through the shard's hash and the members'."""

    def __init__(self, file: FileIO, digest: xxhash.xxh3_64) -> None:
        self._file = file
        self._digest = digest
        self._buffer = memoryview(bytearray(_CHUNK))
        self._at = self._stop = 0  # what is left of the buffer

    def take(self, n: int) -> bytes:
        if self._at + n <= self._stop:  # nearly always
            return bytes(self._next(n))
        return b"".join(bytes(part) for part in self._parts(n))

    def payload(self, n: int) -> int:
        if self._at + n <= self._stop:
            return xxhash.xxh3_64_intdigest(self._next(n))
        digest = xxhash.xxh3_64()
        for part in self._parts(n):
            digest.update(part)
        return digest.intdigest()

    def _next(self, n: int) -> memoryview:
        self._at += n
        return self._buffer[self._at - n : self._at]

    def _parts(self, n: int) -> Iterator[memoryview]:
        """The next n bytes in pieces; asking for one overwrites the one before."""
        while n:
            if self._at == self._stop:
                self._at, self._stop = 0, self._file.readinto(self._buffer)
                if not self._stop:
                    return
                self._digest.update(self._buffer[: self._stop])
            part = self._next(min(n, self._stop - self._at))
            n -= len(part)
            yield part
