"""Smaller copies and PNGs: the stream reads the right member, with the right pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_engine.engine import Loader, LoaderConfig
from cxr_engine.engine.samples import best_rendition
from cxr_engine.shards import ShardOptions, TableColumns, build_shards, read_manifest, read_table
from cxr_engine.shards.errors import IntegrityError
from cxr_engine.shards.phantom import write_phantoms


def shards_of(folder: Path, **options: object) -> Path:
    labels = write_phantoms(folder / "drawn", 24, seed=1, size=96)
    table = read_table(labels, folder / "drawn" / "images", TableColumns())
    build_shards(
        table,
        folder / "shards",
        ShardOptions(size=96, jobs=1, allow_empty_val=True, **options),  # type: ignore[arg-type]
    )
    return folder / "shards"


@pytest.fixture(scope="module")
def with_renditions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shards_of(tmp_path_factory.mktemp("renditions"), renditions=(24, 40))


@pytest.mark.parametrize(
    ("image_size", "expected"),
    [
        (16, 24),
        (24, 24),
        (25, 40),
        (40, 40),
        (41, None),
        (47, None),
        (48, None),
        (96, None),
        (200, None),
    ],
)
def test_shrinking_by_more_than_two_reads_the_smallest_copy_that_is_large_enough(
    image_size: int, expected: int | None
) -> None:
    assert best_rendition(96, (40, 24), image_size) == expected


@pytest.mark.parametrize(
    ("image_size", "suffix", "side"), [(24, ".24", 24), (40, ".40", 40), (48, "", 96)]
)
def test_the_stream_hands_out_the_stored_copy(
    with_renditions: Path, image_size: int, suffix: str, side: int
) -> None:
    manifest = read_manifest(with_renditions)
    rows = {row["key"]: row for row in manifest.frame.to_dicts()}
    which = f":{side}" if suffix else ""
    config = LoaderConfig(image_size=image_size, global_batch_size=4, channels=1, threads=1)
    mean, std = config.normalisation
    with Loader(with_renditions, config, "cpu") as loader:
        batch = next(iter(loader))
    for key, image in zip(batch.keys, batch.images, strict=True):
        row = rows[key]
        with (with_renditions / row["shard"]).open("rb") as file:
            file.seek(row[f"offset{which}"])
            stored = Image.open(io.BytesIO(file.read(row[f"size{which}"])))
        assert stored.size == (side, side)
        levels = (image[0].numpy() * std[0] + mean[0]) * 255
        if side == image_size:
            np.testing.assert_allclose(levels, np.asarray(stored), atol=1e-3)
        else:
            assert np.abs(levels - np.asarray(stored.resize((image_size,) * 2))).mean() < 12


def test_a_damaged_copy_is_named_with_its_side(with_renditions: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(with_renditions, tmp_path / "damaged"))
    row = read_manifest(copy).frame.row(0, named=True)
    with (copy / row["shard"]).open("r+b") as file:
        file.seek(row["offset:24"] + 200)
        file.write(b"\0\0\0\0")
    config = LoaderConfig(image_size=24, global_batch_size=4, split=row["split"], threads=1)
    with Loader(copy, config, "cpu") as loader, pytest.raises(IntegrityError) as caught:
        list(loader)
    assert f"{row['key']}.24.jpg" in caught.value.where
    larger = config.model_copy(update={"image_size": 96})
    with Loader(copy, larger, "cpu") as loader:
        assert list(loader)


def test_png_members_are_streamed_exactly(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, encoding="png8")
    rows = {row["key"]: row for row in read_manifest(shards).frame.to_dicts()}
    config = LoaderConfig(image_size=96, global_batch_size=4, channels=1, threads=1)
    mean, std = config.normalisation
    with Loader(shards, config, "cpu") as loader:
        batch = next(iter(loader))
    for key, image in zip(batch.keys, batch.images, strict=True):
        row = rows[key]
        assert row["member"] == f"{key}.png"
        with (shards / row["shard"]).open("rb") as file:
            file.seek(row["offset"])
            stored = np.asarray(Image.open(io.BytesIO(file.read(row["size"]))))
        np.testing.assert_allclose((image[0].numpy() * std[0] + mean[0]) * 255, stored, atol=1e-3)
