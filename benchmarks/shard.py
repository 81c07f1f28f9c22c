"""How fast does the shard writer convert large JPEGs, beside plain Pillow, and what does that cost?

The work: 60 gray JPEGs of 2,500 × 3,050 pixels and about 1.5 MB (the form of MIMIC-CXR-JPG) → 576²
gray JPEG, quality 95. The pictures are real X-rays where CXR_ENGINE_DATA (default ../shared/data)
holds them, else drawn ones, enlarged and given noise that grows with brightness.

    python benchmarks/shard.py [--rounds 5] [--save]

Rows: `cxr-engine` is what a worker of `shard` does with a view: read, decode at a reduced scale,
resize, encode, and hash three ways. `Pillow` reads, decodes in full, resizes by Lanczos and encodes.
Both work in the same processes, one per core, and take turns, round by round. The ratio to quote is the
median over the rounds of cxr-engine / Pillow. `the whole run` is build_shards on ten copies of the
pictures, with the start of its processes, packing, the search for duplicates and the manifest; its
ratio is to the median of Pillow. PSNR compares the pixels before they are encoded with those of
Pillow's full decode.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import machine
import numpy as np
from PIL import Image

from cxr_engine.shards import ShardOptions, TableColumns, build_shards, read_table
from cxr_engine.shards.image import ImageOptions, store
from cxr_engine.shards.phantom import write_phantoms

WIDTH, HEIGHT, SIZE, PICTURES, COPIES = 2500, 3050, 576, 60, 10
LANCZOS = Image.Resampling.LANCZOS
CORES = len(os.sched_getaffinity(0))
DATA = Path(os.environ.get("CXR_ENGINE_DATA", Path(__file__).parents[2] / "shared" / "data"))


def make_pictures(folder: Path) -> tuple[list[Path], str]:
    labels = DATA / "cxr-dev" / "labels.csv"
    if labels.is_file():
        sources = sorted((labels.parent / "images" / "nih").iterdir())[:PICTURES]
        what = f"{len(sources)} real X-rays"
    else:
        drawn = write_phantoms(folder / "drawn", PICTURES, seed=0, size=576).parent
        sources = sorted(p for p in drawn.rglob("*") if p.suffix in (".png", ".jpg"))[:PICTURES]
        what = f"{len(sources)} drawn X-rays"
    with ProcessPoolExecutor(CORES, get_context("spawn")) as pool:
        targets = [folder / f"{number:02d}.jpg" for number in range(len(sources))]
        list(pool.map(_enlarge, sources, targets, range(len(sources))))
    size = statistics.mean(path.stat().st_size for path in targets)
    return targets, f"{what}, {WIDTH} × {HEIGHT}, {size / 1e6:.2f} MB each"


def _enlarge(source: Path, target: Path, seed: int) -> None:
    gray = Image.open(source).convert("RGB").convert("L").resize((WIDTH, HEIGHT), LANCZOS)
    pixels = np.asarray(gray, np.float32)
    noise = np.random.default_rng(seed).standard_normal(pixels.shape, np.float32)
    # Quantum noise: its variance follows the signal.
    noisy = pixels + noise * np.sqrt(4.0 + pixels / 10.0)
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(target, quality=90)


def _with_pillow(path: Path) -> bytes:
    with Image.open(path) as image:
        small = image.convert("L").resize((SIZE, SIZE), LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _with_engine(path: Path) -> bytes:
    return store(path.read_bytes(), path.name, ImageOptions(size=SIZE, quality=95)).data


def throughput(
    pool: ProcessPoolExecutor, convert: Callable[[Path], bytes], pictures: list[Path]
) -> float:
    """Images/s on all cores."""
    start = perf_counter()
    done = sum(len(data) > 0 for data in pool.map(convert, pictures, chunksize=3))
    return done / (perf_counter() - start)


def whole_run(folder: Path, pictures: list[Path]) -> float:
    """Images/s of build_shards on COPIES links to each picture."""
    images = folder / "images"
    images.mkdir()
    with (folder / "table.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["image", "patient", "split", "Finding"])
        for number, picture in enumerate(pictures):
            for copy in range(COPIES):
                os.link(picture, images / f"{number}-{copy}.jpg")
                writer.writerow([f"{number}-{copy}.jpg", number, "train", copy % 2])
    rows = read_table(folder / "table.csv", images, TableColumns())
    start = perf_counter()
    build_shards(rows, folder / "shards", ShardOptions(size=SIZE, quality=95))
    return len(pictures) * COPIES / (perf_counter() - start)


def quality(pictures: list[Path]) -> list[float]:
    """PSNR of our pixels against those of the full decode, in dB, per picture."""
    found = []
    for path in pictures:
        with Image.open(path) as image:
            full = np.asarray(image.convert("L").resize((SIZE, SIZE), LANCZOS), np.float64)
        options = ImageOptions(size=SIZE, encoding="png8")
        ours = np.asarray(Image.open(io.BytesIO(store(path.read_bytes(), path.name, options).data)))
        found.append(10 * np.log10(255**2 / np.square(full - ours).mean()))
    return found


def measure(folder: Path, rounds: int) -> tuple[dict[str, list[float]], list[float], str]:
    pictures, what = make_pictures(folder)
    rows = {"cxr-engine": _with_engine, "Pillow": _with_pillow}
    rates: dict[str, list[float]] = {name: [] for name in rows}
    with ProcessPoolExecutor(CORES, get_context("spawn")) as pool:
        for convert in rows.values():  # starts the processes and fills the page cache
            throughput(pool, convert, pictures)
        for _ in range(rounds):
            for name, convert in rows.items():
                rates[name].append(throughput(pool, convert, pictures))
    rates["the whole run"] = [whole_run(folder, pictures)]
    return rates, quality(pictures), what


def summary(rates: dict[str, list[float]]) -> list[dict[str, Any]]:
    pillow = rates["Pillow"]
    rows = []
    for name, found in rates.items():
        peers = pillow if len(found) == len(pillow) else [statistics.median(pillow)]
        ratios = [rate / peer for rate, peer in zip(found, peers, strict=True)]
        rows.append(
            {
                "what": name,
                "images_per_s_and_core": round(statistics.median(found) / CORES, 1),
                "lowest": round(min(found) / CORES, 1),
                "highest": round(max(found) / CORES, 1),
                "times_pillow": round(statistics.median(ratios), 2),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/shard-….json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rates, decibels, pictures = measure(Path(folder), arguments.rounds)
    rows = summary(rates)
    psnr = {"lowest": round(min(decibels), 1), "median": round(statistics.median(decibels), 1)}
    print(f"{pictures}, {CORES} cores, median of {arguments.rounds} rounds")
    print("| what | images/s and core | lowest–highest | times Pillow |\n|---|---|---|---|")
    for row in rows:
        spread = f"{row['lowest']}–{row['highest']}"
        print(
            f"| {row['what']} | {row['images_per_s_and_core']} | {spread} | {row['times_pillow']} |"
        )
    print(f"PSNR against the full decode: median {psnr['median']} dB, lowest {psnr['lowest']} dB")
    if arguments.save:
        result = {
            "machine": machine.describe(),
            "pictures": pictures,
            "rows": rows,
            "psnr_db": psnr,
        }
        print(machine.save("shard", result))


if __name__ == "__main__":
    main()
