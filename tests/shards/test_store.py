"""Ranges of shards come back byte for byte, or the shard is named."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cxr_engine.shards.errors import IntegrityError
from cxr_engine.shards.store import LocalStore


def count_open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def contents(tmp_path: Path) -> dict[str, bytes]:
    rng = random.Random(0)
    contents = {f"train-{n:06d}.tar": rng.randbytes(5000 + n) for n in range(6)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return contents


def test_threads_read_right_while_descriptors_are_evicted(
    tmp_path: Path, contents: dict[str, bytes]
) -> None:
    rng = random.Random(1)
    ranges = [(rng.choice(list(contents)), rng.randrange(5000)) for _ in range(4000)]
    before = count_open_files()
    with LocalStore(tmp_path, max_open=2) as store, ThreadPoolExecutor(8) as pool:
        sizes = [rng.randrange(5000 - offset + 1) for _, offset in ranges]
        found = pool.map(store.read, *zip(*ranges, strict=True), sizes)
        for (name, offset), size, data in zip(ranges, sizes, found, strict=True):
            assert data == contents[name][offset : offset + size]
        assert count_open_files() <= before + 2
    assert count_open_files() == before


def test_a_cut_shard_is_named(tmp_path: Path, contents: dict[str, bytes]) -> None:
    with LocalStore(tmp_path) as store:
        with pytest.raises(IntegrityError, match="ends 1 bytes too early") as caught:
            store.read("train-000000.tar", 4000, 1001)
        assert "train-000000.tar, byte 5000" in caught.value.where
        assert store.read("train-000000.tar", 4000, 1000) == contents["train-000000.tar"][4000:]


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    with LocalStore(tmp_path) as store, pytest.raises(IntegrityError, match="shard is missing"):
        store.read("train-000009.tar", 0, 1)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b.tar", "", ".."])
def test_names_that_are_paths_are_refused(tmp_path: Path, name: str) -> None:
    with LocalStore(tmp_path / "x") as store, pytest.raises(ValueError, match="not the name"):
        store.read(name, 0, 1)


def test_negative_ranges_and_closed_stores_are_refused(
    tmp_path: Path, contents: dict[str, bytes]
) -> None:
    store = LocalStore(tmp_path)
    with pytest.raises(ValueError, match="negative"):
        store.read("train-000000.tar", -1, 5)
    store.close()
    with pytest.raises(ValueError, match="closed"):
        store.read("train-000000.tar", 0, 1)
