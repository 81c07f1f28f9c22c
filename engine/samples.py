"""The samples of one split: the columns of the manifest that the stream needs, nothing more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cxr_engine.engine.folds import Folds, resplit
from cxr_engine.shards.errors import UsageError
from cxr_engine.shards.manifest import label_matrix, read_manifest
from cxr_engine.shards.views import VIEWS

_COLUMNS = [
    "key",
    "patient",
    "study",
    "view",
    "split",
    "shard",
    "member",
    "offset",
    "size",
    "xxh3",
    "height",
    "width",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """N samples of a split, in manifest order.

    labels      (N, C) int8: 1, 0, -1 unknown
    study       (N,) int64, code of the study: its rank among all studies of the manifest
    view        (N,) uint8, 0 frontal, 1 lateral, 2 unknown
    plane_size  (N, 2) int64, height and width of the stored picture
    """

    folder: Path
    manifest_hash: str
    class_names: tuple[str, ...]
    class_hash: str
    split: str
    keys: pl.Series
    shard: pl.Series  # file name of the shard
    member: pl.Series
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    xxh3: NDArray[np.uint64]
    labels: NDArray[np.int8]
    study: NDArray[np.int64]
    view: NDArray[np.uint8]
    plane_size: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.keys)


def read_samples(
    folder: str | Path, split: str, image_size: int, folds: Folds | None = None
) -> Samples:
    """Samples of `split` in the data set at `folder`; an empty split is a UsageError.

    Where the pictures are more than twice `image_size` pixels, the smallest rendition is read that
    is not smaller.
    """
    manifest = read_manifest(Path(folder), columns=_COLUMNS, labels=True, renditions=True)
    frame = manifest.frame.with_columns(
        study=pl.col("study").rank("dense").cast(pl.Int64) - 1,
        view=pl.col("view").replace_strict(
            {name: i for i, name in enumerate(VIEWS)}, return_dtype=pl.UInt8
        ),
        shard=pl.col("shard").cast(pl.Categorical),
    )
    if folds is not None:
        frame = resplit(frame, folds)
    splits = frame["split"].value_counts().sort("split")
    frame = frame.filter(pl.col("split") == split)
    if frame.is_empty():
        there = ", ".join(f"{name} ({count})" for name, count in splits.iter_rows())
        raise UsageError(
            f"split {split!r} has no samples",
            f"{manifest.folder}; splits: {there}",
            "name another split, or shard with one (--val-fraction)",
        )
    side = best_rendition(int(frame["height"].to_numpy().max()), manifest.renditions, image_size)
    if side is not None:
        frame = frame.with_columns(
            *(pl.col(f"{name}:{side}").alias(name) for name in ("offset", "size", "xxh3")),
            member=pl.col("member").str.replace(r"\.(\w+)$", f".{side}.$1"),
            height=pl.lit(side),
            width=pl.lit(side),
        )
    return Samples(
        folder=manifest.folder,
        manifest_hash=manifest.hash,
        class_names=manifest.class_names,
        class_hash=manifest.class_hash,
        split=split,
        keys=frame["key"],
        shard=frame["shard"],
        member=frame["member"],
        offset=frame["offset"].to_numpy(),
        size=frame["size"].to_numpy(),
        xxh3=frame["xxh3"].to_numpy(),
        labels=label_matrix(frame, manifest.class_names),
        study=frame["study"].to_numpy(),
        view=frame["view"].to_numpy(),
        plane_size=frame.select("height", "width").to_numpy().astype(np.int64),
    )


def best_rendition(picture: int, renditions: Sequence[int], image_size: int) -> int | None:
    """Side of the stored copy to read for `image_size`; None for the picture itself, all in pixels."""
    if picture <= 2 * image_size:
        return None
    return min((side for side in renditions if side >= image_size), default=None)
