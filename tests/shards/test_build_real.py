"""All 215 real X-rays become shards that plain WebDataset reads."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import webdataset
import xxhash
from PIL import Image

from cxr_engine.shards import (
    Manifest,
    Report,
    ShardOptions,
    build_shards,
    label_matrix,
    read_manifest,
    read_table,
)

SIZE = 96


@pytest.fixture(scope="module")
def built(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Manifest]:
    folder = real_data / "cxr-dev"
    out = tmp_path_factory.mktemp("real") / "shards"
    table = read_table(folder / "labels.csv", folder)
    report = build_shards(table, out, ShardOptions(size=SIZE, jobs=2, shard_samples=50))
    return report, read_manifest(out)


@pytest.fixture(scope="module")
def rows(real_data: Path) -> dict[str, dict[str, str]]:
    with (real_data / "cxr-dev" / "labels.csv").open(newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def samples(manifest: Manifest) -> Iterator[dict[str, bytes]]:
    urls = [str(manifest.folder / shard.name) for shard in manifest.shards]
    return iter(webdataset.WebDataset(urls, shardshuffle=False))


def test_every_x_ray_is_written_with_what_its_row_says(
    built: tuple[Report, Manifest], rows: dict[str, dict[str, str]]
) -> None:
    report, manifest = built
    assert (report.rows_read, report.rows_written) == (215, 215)
    for row in manifest.frame.iter_rows(named=True):
        given = rows[row["source"]]
        assert (row["patient"], row["study"], row["split"]) == (
            given["patient_id"],
            given["study_id"],
            given["split"],
        )
        assert (row["view_position"] or "") == given["view"]
        size = (row["source_width"], row["source_height"])
        assert size == (int(given["width"]), int(given["height"]))
        for name in manifest.class_names:
            assert {1: "1", 0: "0", None: ""}[row["label:" + name]] == given[name]


def test_plain_webdataset_reads_every_sample_back(built: tuple[Report, Manifest]) -> None:
    _, manifest = built
    labels = label_matrix(manifest.frame, manifest.class_names)
    n_samples = 0
    for sample, row, expected in zip(
        samples(manifest), manifest.frame.iter_rows(named=True), labels, strict=True
    ):
        said = json.loads(sample["json"])
        assert sample["__key__"] == said["key"] == row["key"]
        assert said["class_hash"] == manifest.class_hash
        found = [said["labels"][name] for name in manifest.class_names]
        assert [-1 if label is None else label for label in found] == expected.tolist()
        for name in ("patient", "study", "view", "view_position", "split", "height", "width"):
            assert said[name] == row[name]
        with Image.open(io.BytesIO(sample["jpg"])) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "L", (SIZE, SIZE))
        n_samples += 1
    assert n_samples == 215


def test_offsets_sizes_and_hashes_are_those_in_the_tars(built: tuple[Report, Manifest]) -> None:
    _, manifest = built
    for shard in manifest.shards:
        content = (manifest.folder / shard.name).read_bytes()
        assert (shard.bytes, shard.xxh3) == (len(content), xxhash.xxh3_64_hexdigest(content))
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            found = [
                (i.name, i.offset_data, i.size, xxhash.xxh3_64_intdigest(tar.extractfile(i).read()))
                for i in tar
                if i.name.endswith(".jpg")
            ]
        listed = manifest.frame.filter(manifest.frame["shard"] == shard.name)
        assert listed.select("member", "offset", "size", "xxh3").rows() == found


def test_files_with_the_wrong_ending_and_rgba_files_show_their_picture(
    built: tuple[Report, Manifest], rows: dict[str, dict[str, str]], real_data: Path
) -> None:
    _, manifest = built
    odd = {
        path
        for path, row in rows.items()
        if row["mode"] == "RGBA" or (row["format"] == "PNG" and path.endswith(".jpg"))
    }
    assert len(odd) >= 11
    jpegs = {sample["__key__"]: sample["jpg"] for sample in samples(manifest)}
    for row in manifest.frame.iter_rows(named=True):
        if row["source"] not in odd:
            continue
        with Image.open(real_data / "cxr-dev" / row["source"]) as image:
            red = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BOX).getchannel(1)
        with Image.open(io.BytesIO(jpegs[row["key"]])) as image:
            correlation = np.corrcoef(np.asarray(image).ravel(), np.asarray(red).ravel())[0, 1]
        assert correlation > 0.99


def test_another_number_of_jobs_gives_the_same_bytes(
    built: tuple[Report, Manifest], real_data: Path, tmp_path: Path
) -> None:
    _, manifest = built
    folder = real_data / "cxr-dev"
    table = read_table(folder / "labels.csv", folder / "images")
    build_shards(table, tmp_path / "one", ShardOptions(size=SIZE, jobs=1, shard_samples=50))
    for path in manifest.folder.iterdir():
        assert (tmp_path / "one" / path.name).read_bytes() == path.read_bytes()
    assert len(list((tmp_path / "one").iterdir())) == len(list(manifest.folder.iterdir()))
