"""Each written picture once more, from the finished shard, as training will read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from io import BytesIO
from pathlib import Path

import polars as pl
import xxhash
from PIL import Image

from cxr_engine.shards.errors import IntegrityError
from cxr_engine.shards.plane import DAMAGE

_ROWS = 64  # a thread takes at a time


def audit_shards(
    folder: Path,
    frame: pl.DataFrame,
    renditions: Sequence[int],
    threads: int,
    on_samples: Callable[[int, int], None],
) -> None:
    """Read, hash and decode all pictures of a manifest's rows; one that differs is an error.

    on_samples  called now and then with the samples done and the bytes read for them
    """
    names = ["key", "shard", "offset", "size", "xxh3", "height", "width"]
    names += [f"{name}:{side}" for side in renditions for name in ("offset", "size", "xxh3")]
    parts = frame.select(names).iter_slices(_ROWS)
    n_samples = n_bytes = 0
    # Pillow decodes outside the interpreter's lock: threads do, and nothing is sent around.
    with ThreadPoolExecutor(threads) as pool:
        running: set[Future[tuple[int, int]]] = set()
        try:
            while True:
                while len(running) < 2 * threads and (part := next(parts, None)) is not None:
                    running.add(pool.submit(_audit, folder, part, renditions))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    n_rows, size = future.result()
                    n_samples, n_bytes = n_samples + n_rows, n_bytes + size
                    on_samples(n_samples, n_bytes)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _audit(folder: Path, rows: pl.DataFrame, renditions: Sequence[int]) -> tuple[int, int]:
    n_bytes = 0
    for row in rows.iter_rows(named=True):
        with (folder / row["shard"]).open("rb") as file:
            for offset, size, xxh3, shape in _pictures(row, renditions):
                file.seek(offset)
                data = file.read(size)
                n_bytes += size
                if wrong := difference(data, xxh3, shape):
                    raise IntegrityError(
                        f"a picture is not as it was written: {wrong}",
                        f"{folder / row['shard']}, sample {row['key']}, byte {offset}",
                        "check disk and memory, and make the shards again",
                    )
    return rows.height, n_bytes


def _pictures(
    row: dict[str, int], renditions: Sequence[int]
) -> Iterator[tuple[int, int, int, tuple[int, int]]]:
    """Offset, size, hash and (height, width) of a row's picture and of its smaller copies."""
    yield row["offset"], row["size"], row["xxh3"], (row["height"], row["width"])
    for side in renditions:
        offset, size, xxh3 = (row[f"{name}:{side}"] for name in ("offset", "size", "xxh3"))
        yield offset, size, xxh3, (side, side)


def difference(data: bytes, xxh3: int, shape: tuple[int, int]) -> str | None:
    """How a stored picture differs from its hash or its (height, width); None if it does not."""
    if xxhash.xxh3_64_intdigest(data) != xxh3:
        return "its bytes have another hash"
    try:
        with Image.open(BytesIO(data), formats=("JPEG", "PNG")) as image:
            found = (image.height, image.width)
            if found != shape:  # before a pixel of what may be a bomb is decoded
                return f"{found} pixels instead of {shape}"
            image.load()
    except DAMAGE as error:
        return f"it cannot be decoded ({error})"
    return None
