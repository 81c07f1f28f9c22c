"""How fast is full verification, beside the hash's own speed on the same bytes?

The work: shards of noise in the form of 576² gray JPEGs (64 kB a member and a .json of 700 bytes,
1,000 samples a shard), in the page cache, each read and hashed whole and member by member.

    python benchmarks/verify.py [--rounds 5] [--shards 8] [--save]

Rows: `hash` is xxh3 over the same bytes in one block of memory, nothing read; `read and hash` reads
each file through one buffer and hashes it once, as `xxhsum` does; `verify --full` is the whole check
with one thread, and with one per core. Verification hashes every byte twice, for the shard and for
the member, and reads it once. The rows take turns, round by round; the ratio to quote is the median
over the rounds of (GB/s of the row) / (GB/s of `hash`).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import machine
import numpy as np
import polars as pl
import xxhash

from cxr_engine.shards import ShardInfo, verify_shards, write_manifest
from cxr_engine.shards.image import ImageOptions, StoredImage
from cxr_engine.shards.writer import Sample, ShardTask, write_shard

SAMPLES, PICTURE = 1000, 64_000  # a shard; bytes
CORES = len(os.sched_getaffinity(0))
BUFFER = 1 << 18  # bytes
CLASSES = tuple(f"Finding {number}" for number in range(26))


def make_shards(folder: Path, n_shards: int) -> None:
    """A data set whose pictures are noise: nothing here decodes them."""
    rng = np.random.default_rng(0)
    infos, rows = [], []
    for number in range(n_shards):
        name = f"train-{number:06d}.tar"
        samples = tuple(
            Sample(row, f"{number:03d}-{row:04d}-{'0' * 30}", "", f"p{row}", f"s{row}", "frontal",
                   "PA", "train", None, (None,) * len(CLASSES))
            for row in range(SAMPLES)
        )  # fmt: skip
        task = ShardTask(
            folder=str(folder),
            name=name,
            samples=samples,
            class_names=CLASSES,
            class_hash="",
            image=ImageOptions(),
        )
        sizes = rng.integers(PICTURE // 2, PICTURE * 3 // 2, SAMPLES)
        pictures = [_noise(rng.bytes(int(size))) for size in sizes]
        result = write_shard(task, pictures)
        infos.append(ShardInfo(name, result.bytes, result.xxh3))
        rows += [
            {"key": sample.key, "patient": sample.patient, "study": sample.study, "view": "frontal"}
            | {"view_position": "PA", "split": "train", "shard": name, "source": sample.key}
            | member.columns()
            for sample, member in zip(samples, result.members, strict=True)
        ]
    frame = pl.DataFrame(rows).with_columns(
        pl.lit(None, pl.Int8).alias(f"label:{finding}") for finding in CLASSES
    )
    write_manifest(folder, frame, CLASSES, infos, {})


def _noise(data: bytes) -> StoredImage:
    return StoredImage(
        data=data, renditions=(), height=576, width=576, source_height=576, source_width=576,
        bits=8, window="full", warning=None, source_bytes=len(data), source_xxh3=0, plane_xxh3=0,
        dhash=0,
    )  # fmt: skip


def hash_alone(contents: list[bytes]) -> int:
    for data in contents:
        xxhash.xxh3_64_intdigest(data)
    return sum(map(len, contents))


def read_and_hash(tars: list[Path]) -> int:
    view = memoryview(bytearray(BUFFER))
    done = 0
    for path in tars:
        digest = xxhash.xxh3_64()
        with path.open("rb", buffering=0) as file:
            while n := file.readinto(view):
                digest.update(view[:n])
                done += n
    return done


def full(folder: Path, threads: int) -> int:
    report = verify_shards(folder, full=True, jobs=threads)
    assert report.is_complete
    assert not report.problems, report.problems[0]
    return report.bytes


def measure(folder: Path, rounds: int) -> dict[str, list[float]]:
    tars = sorted(folder.glob("*.tar"))
    contents = [path.read_bytes() for path in tars]
    runs: dict[str, Callable[[], int]] = {
        "hash": lambda: hash_alone(contents),
        "read and hash": lambda: read_and_hash(tars),
        "verify --full, 1 thread": lambda: full(folder, 1),
        f"verify --full, {CORES} threads": lambda: full(folder, CORES),
    }
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            start = perf_counter()
            n_bytes = run()
            speeds[name].append(n_bytes / (perf_counter() - start) / 1e9)
    return speeds


def summary(speeds: dict[str, list[float]]) -> list[dict[str, Any]]:
    return [
        {
            "what": name,
            "gb_per_s": round(statistics.median(found), 2),
            "lowest": round(min(found), 2),
            "highest": round(max(found), 2),
            "share_of_hash": round(
                statistics.median(a / b for a, b in zip(found, speeds["hash"], strict=True)), 3
            ),
        }
        for name, found in speeds.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument(
        "--save", action="store_true", help="write benchmarks/results/verify-….json"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_shards(Path(folder), arguments.shards)
        rows = summary(measure(Path(folder), arguments.rounds))
    print(f"{arguments.shards} shards of 64 MB, {CORES} cores, median of {arguments.rounds} rounds")
    print("| what | GB/s | lowest–highest | share of the hash |\n|---|---|---|---|")
    for row in rows:
        spread = f"{row['lowest']}–{row['highest']}"
        print(f"| {row['what']} | {row['gb_per_s']} | {spread} | {row['share_of_hash']} |")
    if arguments.save:
        print(machine.save("verify", {"machine": machine.describe(), "rows": rows}))


if __name__ == "__main__":
    main()
