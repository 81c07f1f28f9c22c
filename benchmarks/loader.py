"""How fast is the loader, beside its limit and a peer?

The work W: 576² gray JPEG (quality 95) in tars → random resized crop, shift-scale-rotate, flip, cutout,
normalise → one channel, float32, 384², batches of 80. Real X-rays where CXR_ENGINE_DATA (default
../shared/data) holds them, else drawn ones.

    python benchmarks/loader.py [--rounds 5] [--batches 20] [--device cpu|cuda] [--threads N] [--save]

Rows: `decode limit` decodes the same JPEGs with libjpeg-turbo, one process per core, nothing else;
`webdataset + albumentations` reads the same tars in a DataLoader with one worker per core and cv2.
All take turns, round by round; each is warm (its queues full) when its clock starts. The ratio to quote
is the median over the rounds of (images/s of the row) / (images/s of the decode limit), round by round.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import machine
import numpy as np
import torch
from PIL import Image

from cxr_engine.engine import Loader, LoaderConfig
from cxr_engine.shards import ShardOptions, TableColumns, build_shards, read_manifest, read_table
from cxr_engine.shards.phantom import write_phantoms

SIZE, BATCH, COPIES = 384, 80, 10
MEAN, STD = 0.449, 0.226
CORES = len(os.sched_getaffinity(0))
DATA = Path(os.environ.get("CXR_ENGINE_DATA", Path(__file__).parents[2] / "shared" / "data"))

Batches = Iterator[torch.Tensor]


def make_shards(folder: Path) -> tuple[Path, str]:
    """Shards of the work W: each picture COPIES times, so that an epoch has many batches."""
    pictures = folder / "pictures"
    pictures.mkdir()
    labels = DATA / "cxr-dev" / "labels.csv"
    if labels.is_file():
        with labels.open(newline="") as file:
            sources = [labels.parent / row["path"] for row in csv.DictReader(file)]
        what = f"{len(sources)} real X-rays"
    else:
        drawn = write_phantoms(folder / "drawn", 200, seed=0, size=576).parent
        sources = sorted(p for p in drawn.rglob("*") if p.suffix in (".png", ".jpg"))
        what = f"{len(sources)} drawn X-rays"
    with (folder / "table.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["image", "patient", "split", "Finding"])
        for i, source in enumerate(sources):
            small = (
                Image.open(source)
                .convert("RGB")
                .convert("L")
                .resize((576, 576), Image.Resampling.LANCZOS)
            )
            small.save(pictures / f"{i}-0.png", compress_level=1)
            for copy in range(COPIES):
                name = f"{i}-{copy}.png"
                if copy:
                    os.link(pictures / f"{i}-0.png", pictures / name)
                writer.writerow([name, i, "train", (i + copy) % 2])
    out = folder / "shards"
    options = ShardOptions(size=576, quality=95, shard_samples=500, allow_duplicates=True)
    build_shards(read_table(folder / "table.csv", pictures, TableColumns()), out, options)
    return out, what


def engine(shards: Path, device: str, threads: int | None) -> Batches:
    config = LoaderConfig(
        image_size=SIZE,
        global_batch_size=BATCH,
        channels=1,
        mean=(MEAN,),
        std=(STD,),
        augment="cxr-lt-2024",
        drop_last=True,
        threads=threads,
    )
    with Loader(shards, config, device) as loader:
        while True:
            for batch in loader:
                yield batch.images


def webdataset_albumentations(shards: Path) -> Batches:
    import albumentations as A
    import cv2
    import webdataset as wds

    transform = A.Compose(
        [
            A.RandomResizedCrop((SIZE, SIZE), scale=(0.85, 1.0)),
            A.Affine(
                scale=(0.9, 1.1),
                translate_percent=(-0.0625, 0.0625),
                rotate=(-15, 15),
                border_mode=cv2.BORDER_REFLECT_101,
                p=0.5,
            ),
            A.HorizontalFlip(p=0.5),
            A.CoarseDropout((5, 5), (19, 19), (19, 19), fill=0, p=0.1),
            A.Normalize((MEAN,), (STD,)),
        ]
    )

    def picture(data: bytes) -> torch.Tensor:
        gray = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        return torch.from_numpy(transform(image=gray[..., None])["image"]).permute(2, 0, 1)

    def one_thread(_worker: int) -> None:
        cv2.setNumThreads(0)

    tars = sorted(str(p) for p in shards.glob("*.tar"))
    data = (
        wds.WebDataset(tars, resampled=True, shardshuffle=False, nodesplitter=wds.split_by_node)
        .shuffle(200)
        .to_tuple("jpg")
        .map_tuple(picture)
        .batched(BATCH, collation_fn=lambda samples: torch.stack([image for (image,) in samples]))
    )
    loader = torch.utils.data.DataLoader(
        data, batch_size=None, num_workers=CORES, worker_init_fn=one_thread, prefetch_factor=2
    )
    yield from loader


def jpegs(shards: Path) -> list[bytes]:
    frame = read_manifest(shards).frame
    out = []
    for shard, offset, size in frame.select("shard", "offset", "size").iter_rows():
        with (shards / shard).open("rb") as file:
            file.seek(offset)
            out.append(file.read(size))
    return out


_mine: list[bytes] = []


def _keep(data: list[bytes]) -> None:
    _mine.extend(data)


def _decode(indices: range) -> int:
    import simplejpeg

    for i in indices:
        simplejpeg.decode_jpeg(_mine[i % len(_mine)], "GRAY")
    return len(indices)


def decode_limit(pool: ProcessPoolExecutor, images: int) -> float:
    """Images/s of libjpeg-turbo alone on all cores, from bytes in memory."""
    share = -(-images // CORES)
    start = perf_counter()
    done = sum(pool.map(_decode, [range(c * share, (c + 1) * share) for c in range(CORES)]))
    return done / (perf_counter() - start)


def check(name: str, batches: Batches) -> None:
    """The row does the work it claims: shape, type, spread, and augmentation that is on."""
    images = next(batches)
    assert tuple(images.shape) == (BATCH, 1, SIZE, SIZE), (name, images.shape)
    assert images.dtype == torch.float32, name
    mean, std = float(images.mean()), float(images.std())
    assert abs(mean) < 1.0, (name, mean)
    assert 0.5 < std < 2.0, (name, std)
    corners = images[:, 0, :3, :3].reshape(BATCH, -1).float().cpu()
    assert len(torch.unique(corners, dim=0)) > BATCH // 4, name


def throughput(batches: Batches, n: int) -> float:
    for _ in range(
        6
    ):  # longer than any row's queue, so that what was made while others ran is gone
        next(batches)
    start = perf_counter()
    images = sum(len(next(batches)) for _ in range(n))
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return images / (perf_counter() - start)


def measure(shards: Path, arguments: argparse.Namespace) -> dict[str, list[float]]:
    data = jpegs(shards)
    rows: dict[str, Batches] = {
        "cxr-engine": engine(shards, arguments.device, arguments.threads),
        "webdataset + albumentations": webdataset_albumentations(shards),
    }
    context = get_context("spawn")
    with ProcessPoolExecutor(CORES, context, initializer=_keep, initargs=(data,)) as pool:
        runs: dict[str, Callable[[], float]] = {
            "decode limit": lambda: decode_limit(pool, arguments.batches * BATCH)
        }
        for name, batches in rows.items():
            check(name, batches)
            runs[name] = lambda batches=batches: throughput(batches, arguments.batches)
        runs["decode limit"]()  # starts the processes
        rates: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(arguments.rounds):
            for name, run in runs.items():
                rates[name].append(run())
    return rates


def summary(rates: dict[str, list[float]]) -> list[dict[str, Any]]:
    limit = rates["decode limit"]
    rows = []
    for name, found in rates.items():
        ratios = [rate / top for rate, top in zip(found, limit, strict=True)]
        rows.append(
            {
                "what": name,
                "images_per_s": round(statistics.median(found)),
                "lowest": round(min(found)),
                "highest": round(max(found)),
                "share_of_limit": round(statistics.median(ratios), 3),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=20, help="timed batches a round")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument(
        "--save", action="store_true", help="write benchmarks/results/loader-….json"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shards, pictures = make_shards(Path(folder))
        rates = measure(shards, arguments)
    rows = summary(rates)
    result = {
        "machine": machine.describe(),
        "pictures": pictures,
        "device": arguments.device,
        "rows": rows,
    }
    print(
        f"{pictures}, device {arguments.device}, {CORES} cores, median of {arguments.rounds} rounds"
    )
    print("| what | images/s | lowest–highest | share of the decode limit |\n|---|---|---|---|")
    for row in rows:
        spread = f"{row['lowest']:,}–{row['highest']:,}"
        print(
            f"| {row['what']} | {row['images_per_s']:,} | {spread} | {row['share_of_limit']:.2f} |"
        )
    if arguments.save:
        print(machine.save("loader", result))


if __name__ == "__main__":
    main()
