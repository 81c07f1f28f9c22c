"""One shard: what it holds, and that it appears whole or not at all."""

from __future__ import annotations

import errno
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

from cxr_engine.shards.errors import ResourceError
from cxr_engine.shards.image import ImageOptions, StoredImage
from cxr_engine.shards.writer import (
    Dropped,
    Sample,
    ShardResult,
    ShardTask,
    convert,
    write_shard,
)


def make_task(folder: Path, n_samples: int = 3, **options: object) -> ShardTask:
    samples = []
    for row in range(n_samples):
        path = folder / f"picture{row}.jpg"  # a PNG in truth
        pixels = np.random.default_rng(row).integers(0, 256, (20 + row, 30), np.uint8)
        Image.fromarray(pixels).save(path, format="PNG")
        samples.append(
            Sample(
                row,
                f"key{row}",
                str(path),
                "pä",
                f"s{row}",
                "frontal",
                "PA",
                "train",
                None,
                (1, None),
            )
        )
    out = folder / "out"
    out.mkdir()
    return ShardTask(
        folder=str(out),
        name="train-000000.tar",
        samples=tuple(samples),
        class_names=("Mass", "Edema"),
        class_hash="c0ffee",
        image=ImageOptions(**{"size": 16, "quality": 90, **options}),
    )


def write(task: ShardTask) -> ShardResult:
    return write_shard(task, (convert(sample, task.image) for sample in task.samples))


def test_members_lie_where_the_result_says(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    result = write(task)
    content = Path(task.folder, task.name).read_bytes()
    assert (result.bytes, result.xxh3) == (len(content), xxhash.xxh3_64_hexdigest(content))
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        infos = {info.name: info for info in tar}
        assert list(infos) == [f"key{n}.{end}" for n in range(3) for end in ("jpg", "json")]
        for member in result.members:
            info = infos[member.member]
            assert (member.offset, member.size) == (info.offset_data, info.size)
            payload = content[member.offset : member.offset + member.size]
            assert member.xxh3 == xxhash.xxh3_64_intdigest(payload)
            assert (member.source_height, member.source_width) == (20 + member.row, 30)
            with Image.open(io.BytesIO(payload)) as image:
                assert (image.format, image.mode, image.size) == ("JPEG", "L", (16, 16))


def test_bytes_equal_those_of_webdatasets_own_writer(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    write(task)
    ours = Path(task.folder, task.name).read_bytes()
    buffer = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(ours)) as tar,
        webdataset.TarWriter(buffer, user="", group="", mtime=0, encoder=False) as writer,
    ):
        for sample in task.samples:
            parts = {end: tar.extractfile(f"{sample.key}.{end}").read() for end in ("jpg", "json")}
            writer.write({"__key__": sample.key, **parts})
    assert ours == buffer.getvalue()


@pytest.mark.parametrize(("encoding", "suffix"), [("jpeg", "jpg"), ("png8", "png")])
def test_renditions_lie_between_the_picture_and_its_json(
    tmp_path: Path, encoding: str, suffix: str
) -> None:
    task = make_task(tmp_path, n_samples=2, renditions=(12, 8), encoding=encoding)
    result = write(task)
    content = Path(task.folder, task.name).read_bytes()
    names = [f"key{n}.{end}" for n in range(2) for end in
             (suffix, f"12.{suffix}", f"8.{suffix}", "json")]  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        assert tar.getnames() == names
    for member in result.members:
        columns = member.columns()
        for side in (12, 8):
            offset, size = columns[f"offset:{side}"], columns[f"size:{side}"]
            payload = content[offset : offset + size]
            assert columns[f"xxh3:{side}"] == xxhash.xxh3_64_intdigest(payload)
            with Image.open(io.BytesIO(payload)) as image:
                assert image.size == (side, side)


def test_plain_webdataset_groups_renditions_with_their_sample(tmp_path: Path) -> None:
    task = make_task(tmp_path, n_samples=2, renditions=(8,))
    write(task)
    path = str(Path(task.folder, task.name))
    samples = list(webdataset.WebDataset(path, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == ["key0", "key1"]
    assert all({"jpg", "8.jpg", "json"} <= sample.keys() for sample in samples)


def test_columns_are_those_of_the_manifest_and_duplicates_stay_out(tmp_path: Path) -> None:
    (member,) = write(make_task(tmp_path, n_samples=1)).members
    assert set(member.columns()) == {
        "member", "offset", "size", "xxh3", "height", "width", "source_height", "source_width",
        "bits", "window",
    }  # fmt: skip
    assert member.source_xxh3 == xxhash.xxh3_64_intdigest((tmp_path / "picture0.jpg").read_bytes())


def test_headers_carry_nothing_of_this_machine(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    write(task)
    with tarfile.open(Path(task.folder, task.name)) as tar:
        for info in tar:
            assert (info.mtime, info.uid, info.gid, info.uname, info.gname) == (0, 0, 0, "", "")
            assert info.isreg()


def test_json_says_what_the_row_says(tmp_path: Path) -> None:
    task = make_task(tmp_path, n_samples=1)
    write(task)
    with tarfile.open(Path(task.folder, task.name)) as tar:
        assert json.load(tar.extractfile("key0.json")) == {
            "key": "key0",
            "patient": "pä",
            "study": "s0",
            "view": "frontal",
            "view_position": "PA",
            "split": "train",
            "class_hash": "c0ffee",
            "labels": {"Mass": 1, "Edema": None},
            "height": 16,
            "width": 16,
        }


def test_unreadable_pictures_are_dropped_with_their_reason(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    Path(task.samples[0].path).write_bytes(b"no picture")
    Path(task.samples[2].path).unlink()
    result = write(task)
    assert [member.row for member in result.members] == [1]
    assert [(drop.row, drop.reason) for drop in result.dropped] == [
        (0, "unreadable"),
        (2, "unreadable"),
    ]
    assert "No such file" in result.dropped[1].what


def test_a_shard_without_any_readable_picture_is_not_there(tmp_path: Path) -> None:
    task = make_task(tmp_path, n_samples=1)
    Path(task.samples[0].path).write_bytes(b"")
    assert not write(task).members
    assert not list(Path(task.folder).iterdir())


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    seen = []

    def interrupted() -> Iterator[StoredImage | Dropped]:
        for sample in task.samples:
            seen.append([path.name for path in Path(task.folder).iterdir()])
            if len(seen) == 3:
                raise KeyboardInterrupt
            yield convert(sample, task.image)

    with pytest.raises(KeyboardInterrupt):
        write_shard(task, interrupted())
    assert seen == [["train-000000.tar.partial"]] * 3
    assert not list(Path(task.folder).iterdir())


def test_a_full_disk_is_a_resource_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("cxr_engine.shards.publish.os.fsync", full)
    with pytest.raises(ResourceError, match="No space left"):
        write(task)
    assert not list(Path(task.folder).iterdir())
