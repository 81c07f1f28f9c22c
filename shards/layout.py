"""Rows -> keys and shards: pure functions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import xxhash

from cxr_engine.shards.errors import DataError
from cxr_engine.shards.split import SPLITS
from cxr_engine.shards.views import VIEWS

_MAX_KEY = 80
_ENDING = re.compile(r"\.(png|jpe?g|jp2|tiff?|bmp|gif|webp|p[gnp]m|dcm|dicom)$")


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """What one tar file will hold."""

    name: str
    split: str
    rows: tuple[int, ...]  # of the frame that was laid out, in member order


def make_keys(sources: Sequence[str]) -> list[str]:
    """One key per source id, `[a-z0-9_-]{1,80}`, unique, whatever the order of the ids.

    A key is the id without its ending, other characters replaced by "-". Ids that would end up
    alike, and ids too long or without a usable character, carry a hash of the id.
    """
    plain = [_plain(source) for source in sources]
    count = Counter(plain)
    keys = [
        base if count[base] == 1 and 0 < len(base) <= _MAX_KEY else _hashed(base, source)
        for base, source in zip(plain, sources, strict=True)
    ]
    if len(set(keys)) < len(keys):
        key, _ = Counter(keys).most_common(1)[0]
        ids = [source for source, own in zip(sources, keys, strict=True) if own == key]
        raise DataError(f"two images would get the key {key}", " and ".join(ids[:2]), "rename one")
    return keys


def plan_shards(frame: pl.DataFrame, seed: int, shard_samples: int) -> list[ShardPlan]:
    """Shards of at most `shard_samples` rows, split by split, patients mixed over shards.

    frame  columns key, patient, study, view, split; its row order does not matter

    Patients stand in the order of a seeded hash; the views of a study stay adjacent and, unless
    one study fills a shard, in one shard.
    """
    mixed = {patient: _mixing_hash(seed, patient) for patient in frame["patient"].unique()}
    ordered = (
        frame.select("key", "patient", "study", "view", "split")
        .with_row_index("row")
        .with_columns(
            mixed=pl.col("patient").replace_strict(mixed, return_dtype=pl.UInt64),
            view=pl.col("view").cast(pl.Enum(VIEWS)),
        )
        .sort("mixed", "patient", "study", "view", "key")
    )
    plans = []
    for split in SPLITS:
        part = ordered.filter(pl.col("split") == split)
        studies = part.group_by("patient", "study", maintain_order=True).agg("row")["row"]
        for number, rows in enumerate(_pack(studies.to_list(), shard_samples)):
            plans.append(ShardPlan(f"{split}-{number:06d}.tar", split, tuple(rows)))
    return plans


def _plain(source: str) -> str:
    bare = _ENDING.sub("", source.lower())
    return re.sub(r"[^a-z0-9_-]", "-", bare).strip("-")


def _hashed(base: str, source: str) -> str:
    digest = xxhash.xxh3_64_hexdigest(source.encode())
    return f"{base[: _MAX_KEY - 17]}-{digest}".lstrip("-")


def _mixing_hash(seed: int, patient: str) -> int:
    return xxhash.xxh3_64_intdigest(f"order:{seed}:{patient}".encode())


def _pack(studies: list[list[int]], capacity: int) -> list[list[int]]:
    shards: list[list[int]] = []
    for study in studies:
        if not shards or len(shards[-1]) + len(study) > capacity:
            shards.append([])
        for row in study:
            if len(shards[-1]) == capacity:
                shards.append([])
            shards[-1].append(row)
    return shards
