"""The header of a tar member as the writer makes it, and what is wrong with another one."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator

BLOCK, RECORD = tarfile.BLOCKSIZE, tarfile.RECORDSIZE
NAME = re.compile(rb"([a-z0-9_-]{1,80})(?:(?:\.[1-9][0-9]{0,3})?\.(?:jpg|png)|\.json)")
SIZE = re.compile(rb"[0-7]{11}\0")

_MAGIC = b"ustar\x0000"
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_TYPES = {
    b"1": "a hard link", b"2": "a symbolic link", b"3": "a character device",
    b"4": "a block device", b"5": "a folder", b"6": "a pipe", b"7": "a contiguous file",
    b"L": "a GNU long name", b"K": "a GNU long link", b"S": "a sparse file",
    b"M": "the rest of a file in another volume", b"V": "a volume label",
    b"x": "a PAX record", b"X": "a PAX record", b"g": "a PAX record for all members",
}  # fmt: skip
_FIELDS = {
    "mode": (100, 108), "owner": (108, 116), "group": (116, 124), "time": (136, 148),
    "checksum": (148, 156), "link": (157, 257), "owner's name": (265, 297),
    "group's name": (297, 329), "device": (329, 345), "name's prefix": (345, 500),
}  # fmt: skip


def header(name: bytes, size: int) -> bytes:
    """The header block of a member: what tarfile makes of it, 25 times as fast."""
    length = b"%011o\0" % size
    checksum = _FIXED_SUM + sum(name) + sum(length)
    return b"".join(
        (name.ljust(100, b"\0"), _OWNER, length, _MTIME, b"%06o\0 " % checksum, _BEHIND)
    )


def wrong_header(block: bytes, *, first: bool) -> str:
    """Why a block is not a header of ours, in words.

    first  the block is the first one of its file
    """
    return next(_reasons(block, first=first))


def _reasons(block: bytes, *, first: bool) -> Iterator[str]:
    if first:
        for magic, name in _COMPRESSED.items():
            if block.startswith(magic):
                yield f"a file compressed by {name}, a shard is a plain tar"
    stated = block[148:156].strip(b"\0 ")
    if not re.fullmatch(rb"[0-7]{1,8}", stated) or int(stated, 8) != _checksum(block):
        yield "the header does not match its checksum"
    kind = block[156:157]
    if kind in _TYPES:
        yield f"{_TYPES[kind]}, a shard holds regular files only"
    if block[257:265] != _MAGIC:
        yield f"the header of another kind of tar ({_shown(block[257:265])}), not plain USTAR"
    if kind != b"0":
        yield f"a member of the unknown type {_shown(kind)}"
    member = block[:100].rstrip(b"\0")
    if not NAME.fullmatch(member):
        yield f"{_shown(member)} is not the name of a member"
    if not SIZE.fullmatch(block[124:136]):
        yield f"{_shown(block[124:136])} is not the size of a member"
    ours = header(member, int(block[124:135], 8))
    odd = [field for field, (a, b) in _FIELDS.items() if ours[a:b] != block[a:b]]
    yield f"the header's {', '.join(odd) or 'filling'} is not as cxr-engine writes it"


def _checksum(block: bytes) -> int:
    return sum(block[:148]) + sum(b" " * 8) + sum(block[156:])  # it counts itself as blanks


def _shown(data: bytes) -> str:
    """Bytes from a file as text that a terminal may print."""
    return ascii(data)[1:]


def _fixed_parts() -> tuple[bytes, bytes, bytes]:
    """Mode and owner, time, and what stands behind the checksum: the same in every header."""
    info = tarfile.TarInfo()
    info.mode = 0o444
    block = info.tobuf(tarfile.USTAR_FORMAT)
    return block[100:124], block[136:148], block[156:]


_OWNER, _MTIME, _BEHIND = _fixed_parts()
_FIXED_SUM = sum(_OWNER + _MTIME + b" " * 8 + _BEHIND)
