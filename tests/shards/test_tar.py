"""The strict walk: what the writer makes passes, anything else is an error that names it."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import tracemalloc
from pathlib import Path

import pytest
import xxhash

from cxr_engine.shards.errors import IntegrityError
from cxr_engine.shards.tar import MAX_MEMBER, TarError, TarMember, walk
from cxr_engine.shards.tar_header import BLOCK, RECORD, header

SAMPLE = (("a.jpg", b"x" * 700), ("a.32.jpg", b"y" * 512), ("a.json", b"{}"))


def member(name: str, data: bytes = b"x" * 700, **fields: object) -> bytes:
    """One member as the writer makes it, but for `fields` of its header."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o444
    for field, value in fields.items():
        setattr(info, field, value)
    block = info.tobuf(tarfile.USTAR_FORMAT)
    return block + data + bytes(-len(data) % BLOCK)


def closed(*members: bytes) -> bytes:
    data = b"".join(members) + bytes(2 * BLOCK)
    return data + bytes(-len(data) % RECORD)


def sample(key: str) -> bytes:
    return b"".join(member(name.replace("a", key, 1), data) for name, data in SAMPLE)


def error_of(folder: Path, content: bytes) -> TarError:
    path = folder / "train-000000.tar"
    path.write_bytes(content)
    with pytest.raises(TarError) as caught:
        list(walk(path))
    with pytest.raises(TarError) as hashed:
        list(walk(path, xxhash.xxh3_64()))
    assert str(hashed.value) == str(caught.value)
    assert str(path) in caught.value.where
    return caught.value


def checksummed(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize("size", [0, 1, 512, 2**18 - 1, 2**18, 700_001])
def test_members_are_where_tarfile_finds_them(tmp_path: Path, size: int) -> None:
    data = random.Random(size).randbytes(size)
    content = closed(sample("a"), member("b.png", data), member("b.json", data[:99]))
    path = tmp_path / "shard.tar"
    path.write_bytes(content)
    digest = xxhash.xxh3_64()
    with tarfile.open(path) as tar:
        expected = [
            TarMember(
                info.name,
                info.offset_data,
                info.size,
                xxhash.xxh3_64_intdigest(content[info.offset_data :][: info.size]),
            )
            for info in tar
        ]
    assert list(walk(path, digest)) == expected
    assert digest.hexdigest() == xxhash.xxh3_64_hexdigest(content)
    skimmed = [TarMember(m.name, m.offset, m.size, None) for m in expected]
    assert list(walk(path)) == skimmed


@pytest.mark.parametrize("size", [0, 1, 511, 12_345, MAX_MEMBER, 8**11 - 1])
@pytest.mark.parametrize("name", ["a.jpg", "z" * 80 + ".1234.png", "0_-.json"])
def test_a_header_is_what_tarfile_makes(name: str, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o444
    assert header(name.encode(), size) == info.tobuf(tarfile.USTAR_FORMAT)


def test_every_bit_of_header_padding_and_end_blocks_counts(tmp_path: Path, faults: int) -> None:
    content = closed(sample("a"), sample("b"))
    path = tmp_path / "shard.tar"
    path.write_bytes(content)
    payload = {
        byte for m in walk(path) for byte in range(m.offset, m.offset + m.size)
    }  # fmt: skip
    bits = [bit for bit in range(8 * len(content)) if bit // 8 not in payload]
    seed = 4
    print("seed", seed)
    for bit in random.Random(seed).sample(bits, min(len(bits), 100 * faults)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(TarError):
            list(walk(path))


def test_every_cut_of_a_two_megabyte_shard_is_named(tmp_path: Path) -> None:
    content = closed(*(member(f"k{n}.jpg", bytes([n]) * 200_123) for n in range(10)))
    assert len(content) > 2e6
    path = tmp_path / "shard.tar"
    path.write_bytes(content)
    for size in range((len(content) - 1) // BLOCK * BLOCK, -1, -BLOCK):
        with path.open("r+b") as file:
            file.truncate(size)
        with pytest.raises(TarError, match="is cut"):
            list(walk(path))


def test_joined_and_appended_tars_are_named(tmp_path: Path) -> None:
    one, two = closed(sample("a")), closed(sample("b"))
    for tail in (two, two[:BLOCK], b"x", bytes(1), bytes(BLOCK), bytes(RECORD), b"\x1f\x8b"):
        assert "behind the end of the shard" in error_of(tmp_path, one + tail).what
    path = tmp_path / "appended.tar"
    path.write_bytes(one)
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo("b.jpg")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    assert "is not as cxr-engine writes it" in error_of(tmp_path, path.read_bytes()).what
    single = sample("a") + bytes(BLOCK) + closed(sample("b"))
    single += bytes(-len(single) % RECORD)
    assert "behind" in error_of(tmp_path, single).what


def test_repeated_and_scattered_samples_are_named(tmp_path: Path) -> None:
    again = error_of(tmp_path, closed(sample("a"), sample("b"), sample("a")))
    assert (again.member, again.before) == ("a.jpg", "b.json")
    assert "a key that came before" in again.what
    apart = error_of(tmp_path, closed(member("a.jpg"), sample("b"), member("a.json")))
    assert apart.member == "a.json"
    twice = error_of(tmp_path, closed(sample("a"), member("a.jpg")))
    assert "the same name twice" in twice.what


HOSTILE = [
    "../a.jpg", "/etc/passwd", "a/b.jpg", "a\\b.jpg", "..", ".", "a", "a.exe", "A.jpg", "a.JPG",
    "a.b.jpg", "a.01.jpg", "a.12345.jpg", "ä.jpg", "a\u202e.jpg", "a\n.jpg", "a .jpg", "a.jpg ",
    "a\x1b[2J.jpg", "a" * 81 + ".jpg", "a.32.json", ".jpg", "a.pyd", "a.npy", "-rf.jpg/", "a.jpg.json",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    found = error_of(tmp_path, closed(sample("b"), member(name)))
    assert "is not the name of a member" in found.what
    assert (found.member, found.what.isascii(), found.what.isprintable()) == (None, True, True)
    assert [path.name for path in tmp_path.iterdir()] == ["train-000000.tar"]


def test_a_name_with_a_nul_inside_is_refused(tmp_path: Path) -> None:
    block = bytearray(member("a.jpg"))
    block[:BLOCK] = checksummed(bytearray(b"a.jpg\0evil" + block[10:BLOCK]))
    assert "is not the name of a member" in error_of(tmp_path, closed(bytes(block))).what


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (b"1", "a hard link"), (b"2", "a symbolic link"), (b"3", "a character device"),
        (b"4", "a block device"), (b"5", "a folder"), (b"6", "a pipe"), (b"7", "contiguous"),
        (b"L", "a GNU long name"), (b"K", "a GNU long link"), (b"S", "a sparse file"),
        (b"x", "a PAX record"), (b"g", "a PAX record"), (b"V", "a volume label"),
        (b"\0", "unknown type"), (b"Z", "unknown type"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.jpg", "../../a.jpg", "/tmp/a.jpg"])
def test_only_regular_files_are_members(
    tmp_path: Path, kind: bytes, named: str, name: str
) -> None:  # fmt: skip
    assert named in error_of(tmp_path, closed(member(name, type=kind, linkname="/etc/passwd"))).what


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_other_kinds_of_tar_are_refused(tmp_path: Path, form: int) -> None:
    for name in ("a.jpg", "a" * 300 + ".jpg"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = 3, 1.5
            tar.addfile(info, io.BytesIO(b"abc"))
        what = error_of(tmp_path, buffer.getvalue()).what
        assert "GNU" in what or "PAX" in what or "another kind" in what


def test_compressed_tars_and_no_tars_are_refused(tmp_path: Path) -> None:
    assert "gzip" in error_of(tmp_path, gzip.compress(closed(sample("a")), 0)).what
    assert "zstd" in error_of(tmp_path, b"\x28\xb5\x2f\xfd" + bytes(600)).what
    assert "checksum" in error_of(tmp_path, b"<html>" * 200).what
    assert "is cut" in error_of(tmp_path, b"").what


@pytest.mark.parametrize(
    "fields",
    [{"uid": 1}, {"gid": 7}, {"mtime": 1}, {"mode": 0o644}, {"uname": "root"}, {"linkname": "b"}],
)
def test_headers_tell_nothing_of_a_machine(tmp_path: Path, fields: dict[str, object]) -> None:
    assert (
        "not as cxr-engine writes it" in error_of(tmp_path, closed(member("a.jpg", **fields))).what
    )


def test_sizes_are_octal_within_the_limit_and_the_file(tmp_path: Path) -> None:
    whole = bytearray(member("a.jpg"))
    for text, named in (
        (b"%011o\0" % (MAX_MEMBER + 1), "cut"),
        (b"\x80" + bytes(10) + b"\x01", "is not the size"),
        (b"-0000000001\0", "is not the size"),
        (b"00000000999\0", "is not the size"),
    ):
        whole[:BLOCK] = checksummed(whole[:124] + text + whole[136:BLOCK])
        what = error_of(tmp_path, closed(bytes(whole))).what
        assert named in what or f"the limit is {MAX_MEMBER:,}" in what


def test_a_sparse_giant_is_refused_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    tracemalloc.start()
    with path.open("wb") as file:
        file.write(header(b"a.jpg", 8**11 - 1))
        file.truncate(2**36)  # bytes that are not there
    with pytest.raises(TarError, match=r"limit|cut"):
        list(walk(path, xxhash.xxh3_64()))
    with path.open("wb") as file:
        file.write(closed(sample("a")))
        file.truncate(2**36)
    with pytest.raises(TarError, match="behind the end"):
        list(walk(path, xxhash.xxh3_64()))
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_the_number_of_samples_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_engine.shards.tar.MAX_SAMPLES", 2)
    found = error_of(tmp_path, closed(sample("a"), sample("b"), sample("c")))
    assert ("more than 2 samples" in found.what, found.member) == (True, "c.jpg")


def test_a_missing_shard_is_an_integrity_error(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="missing"):
        list(walk(tmp_path / "absent.tar"))
