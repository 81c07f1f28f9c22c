"""The stream: complete, resumable bit for bit, the same on any number of ranks, strict about bytes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import xxhash

from cxr_engine.engine import Batch, Loader, LoaderConfig, Sampling
from cxr_engine.shards.errors import IntegrityError, UsageError
from cxr_engine.shards.manifest import read_manifest

CONFIG = LoaderConfig(
    image_size=32, global_batch_size=8, channels=1, augment="cxr-lt-2024", seed=7, threads=2
)


def digest(batch: Batch) -> str:
    """All that a batch holds, as one number."""
    tensors = (
        batch.images.contiguous(),
        batch.targets,
        batch.known,
        batch.valid,
        batch.study,
        batch.view,
    )
    state = xxhash.xxh3_128("/".join(batch.keys).encode())
    for tensor in tensors:
        state.update(tensor.cpu().numpy().tobytes())
    return state.hexdigest()


def epoch_of(shards: Path, config: LoaderConfig = CONFIG, **options: Any) -> list[Batch]:
    with Loader(shards, config, "cpu", **options) as loader:
        return list(loader)


def valid_keys(batches: Iterable[Batch]) -> list[str]:
    return [k for b in batches for k, valid in zip(b.keys, b.valid.tolist(), strict=True) if valid]


def keys_of(shards: Path, split: str) -> list[str]:
    frame = read_manifest(shards).frame
    return frame.filter(pl.col("split") == split)["key"].to_list()


def damaged(shards: Path, folder: Path, keys: list[str]) -> Path:
    """A copy of the shards in which one byte of each named picture is another."""
    copy = Path(shutil.copytree(shards, folder / "damaged"))
    rows = read_manifest(copy).frame.filter(pl.col("key").is_in(keys))
    for shard, offset, size in rows.select("shard", "offset", "size").iter_rows():
        with (copy / shard).open("r+b") as file:
            file.seek(offset + size // 2)
            byte = file.read(1)[0]
            file.seek(offset + size // 2)
            file.write(bytes([byte ^ 1]))
    return copy


def test_an_epoch_delivers_every_sample_of_the_split_once(phantom_shards: Path) -> None:
    batches = epoch_of(phantom_shards)
    assert sorted(valid_keys(batches)) == sorted(keys_of(phantom_shards, "train"))
    assert {len(b) for b in batches} == {8}


def test_evaluation_comes_in_manifest_order(phantom_shards: Path) -> None:
    config = CONFIG.model_copy(update={"split": "val", "augment": "none"})
    assert valid_keys(epoch_of(phantom_shards, config)) == keys_of(phantom_shards, "val")


def test_a_batch_has_the_promised_shapes_and_types(phantom_shards: Path) -> None:
    config = CONFIG.model_copy(update={"channels": 3, "dtype": "float16"})
    batch = epoch_of(phantom_shards, config)[0]
    n_classes = len(read_manifest(phantom_shards).class_names)
    assert batch.images.shape == (8, 3, 32, 32)
    assert batch.images.dtype == torch.float16
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.targets.shape == batch.known.shape == (8, n_classes)
    assert (batch.targets.dtype, batch.known.dtype) == (torch.float32, torch.bool)
    assert (batch.study.dtype, batch.view.dtype) == (torch.int64, torch.uint8)


def test_labels_studies_and_views_are_those_of_the_manifest(phantom_shards: Path) -> None:
    manifest = read_manifest(phantom_shards)
    rows = {row["key"]: row for row in manifest.frame.to_dicts()}
    codes = {name: i for i, name in enumerate(sorted(manifest.frame["study"].unique()))}
    for batch in epoch_of(phantom_shards):
        for i, key in enumerate(batch.keys):
            labels = [rows[key][f"label:{name}"] for name in manifest.class_names]
            assert batch.targets[i].tolist() == [1.0 if label == 1 else 0.0 for label in labels]
            assert batch.known[i].tolist() == [label is not None for label in labels]
            assert int(batch.study[i]) == codes[rows[key]["study"]]
            assert ("frontal", "lateral", "unknown")[int(batch.view[i])] == rows[key]["view"]


def test_resuming_after_any_batch_gives_the_same_rest(phantom_shards: Path) -> None:
    with Loader(phantom_shards, CONFIG, "cpu") as loader:
        undisturbed = [digest(b) for _ in range(2) for b in loader]
        assert len(undisturbed) == 2 * len(loader)
    for stop in range(len(undisturbed)):
        with Loader(phantom_shards, CONFIG, "cpu") as first:
            before = []
            while len(before) < stop:
                for batch in first:
                    before.append(digest(batch))
                    if len(before) == stop:
                        break
            state = json.loads(json.dumps(first.state_dict()))
        with Loader(phantom_shards, CONFIG, "cpu") as second:
            second.load_state_dict(state)
            after = [digest(b) for _ in range(3) for b in second]
        expected = undisturbed[stop:]
        assert before + after[: len(expected)] == undisturbed, f"stopped after {stop} batches"


def test_resuming_in_a_new_process_gives_the_same_rest(phantom_shards: Path) -> None:
    with Loader(phantom_shards, CONFIG, "cpu") as loader:
        states = [loader.state_dict()]
        digests = []
        for batch in loader:
            states.append(loader.state_dict())
            digests.append(digest(batch))
    script = f"""
import json, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_loader import CONFIG, digest
from cxr_engine.engine import Loader

rest = []
for state in json.loads(sys.argv[2]):
    with Loader(sys.argv[1], CONFIG, "cpu") as loader:
        loader.load_state_dict(state)
        rest.append([digest(batch) for batch in loader])
print(json.dumps(rest))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(phantom_shards), json.dumps(states)],
        capture_output=True,
        text=True,
        check=True,
    )
    rest = json.loads(done.stdout.splitlines()[-1])
    assert rest == [digests[k:] for k in range(len(states))]


def test_going_on_in_the_same_process_is_a_resume_too(phantom_shards: Path) -> None:
    with Loader(phantom_shards, CONFIG, "cpu") as loader:
        whole = [digest(b) for b in loader]
        loader.load_state_dict({**loader.state_dict(), "epoch": 0, "cursor": 0})
        part = []
        for batch in loader:
            part.append(digest(batch))
            if len(part) == 3:
                break
        part += [digest(b) for b in loader]
    assert part == whole


def test_set_epoch_keeps_the_place_in_the_same_epoch_and_leaves_it_for_another(
    phantom_shards: Path,
) -> None:
    with Loader(phantom_shards, CONFIG, "cpu") as loader:
        next(iter(loader))
        loader.set_epoch(0)
        assert loader.state_dict()["cursor"] == 1
        loader.set_epoch(5)
        assert (loader.state_dict()["epoch"], loader.state_dict()["cursor"]) == (5, 0)


def test_state_is_small_and_holds_no_keys(phantom_shards: Path) -> None:
    with Loader(phantom_shards, CONFIG, "cpu") as loader:
        text = json.dumps(loader.state_dict())
    assert len(text) < 1000
    assert not any(key in text for key in keys_of(phantom_shards, "train"))


def test_the_state_of_another_plan_is_refused(phantom_shards: Path) -> None:
    other = CONFIG.model_copy(update={"seed": 8})
    with Loader(phantom_shards, CONFIG, "cpu") as loader:
        state = loader.state_dict()
    with (
        Loader(phantom_shards, other, "cpu") as loader,
        pytest.raises(UsageError, match="another stream"),
    ):
        loader.load_state_dict(state)


@pytest.mark.parametrize("world_size", [2, 3])
def test_any_number_of_ranks_sees_the_same_global_batches(
    phantom_shards: Path, world_size: int
) -> None:
    alone = epoch_of(phantom_shards)
    ranks = [epoch_of(phantom_shards, rank=r, world_size=world_size) for r in range(world_size)]
    assert {len(batches) for batches in ranks} == {len(alone)}
    for step, batch in enumerate(alone):
        parts = [batches[step] for batches in ranks]
        valid = torch.cat([p.valid for p in parts])
        images = torch.cat([p.images for p in parts])[valid]
        assert valid_keys(parts) == valid_keys([batch])
        assert torch.equal(images, batch.images[batch.valid])


def test_repeats_of_a_sample_look_different(phantom_shards: Path) -> None:
    sampling = Sampling(oversample=("Cardiomegaly",), factor=3)
    batches = epoch_of(phantom_shards, CONFIG.model_copy(update={"sampling": sampling}))
    frame = read_manifest(phantom_shards).frame.filter(pl.col("split") == "train")
    positive = set(frame.filter(pl.col("label:Cardiomegaly") == 1)["key"])
    keys = valid_keys(batches)
    assert len(keys) == len(frame) + 2 * len(positive)
    images = torch.cat([b.images[b.valid] for b in batches])
    for key in positive:
        seen = images[[i for i, k in enumerate(keys) if k == key]]
        assert len(seen) == 3
        assert len(torch.unique(seen.reshape(3, -1), dim=0)) == 3


def test_a_flipped_bit_fails_with_the_name_of_the_sample(
    phantom_shards: Path, tmp_path: Path
) -> None:
    key = keys_of(phantom_shards, "train")[5]
    shards = damaged(phantom_shards, tmp_path, [key])
    with Loader(shards, CONFIG, "cpu") as loader:
        delivered = []
        with pytest.raises(IntegrityError) as caught:
            delivered.extend(loader)
    assert key in caught.value.where
    assert ".tar" in caught.value.where
    assert key not in valid_keys(delivered)
    # Every batch before the bad one was handed out.
    order = [b.keys for b in epoch_of(phantom_shards)]
    bad_step = next(i for i, keys in enumerate(order) if key in keys)
    assert [b.keys for b in delivered] == order[:bad_step]


def test_substitutes_are_the_same_after_a_resume(phantom_shards: Path, tmp_path: Path) -> None:
    bad = keys_of(phantom_shards, "train")[3:5]
    shards = damaged(phantom_shards, tmp_path, bad)
    config = CONFIG.model_copy(update={"on_bad": "substitute", "bad_budget": 2})
    with Loader(shards, config, "cpu") as loader:
        batches = list(loader)
        assert [b.key for b in loader.bad_samples] == bad
    assert all(bool(b.valid.all()) for b in batches[:-1])
    assert not set(bad) & set(valid_keys(batches))
    with Loader(shards, config, "cpu") as loader:
        state = {**loader.state_dict(), "cursor": 2}
        loader.load_state_dict(state)
        assert [digest(b) for b in loader] == [digest(b) for b in batches[2:]]


def test_invalidated_samples_do_not_count_and_the_others_all_do(
    phantom_shards: Path, tmp_path: Path
) -> None:
    bad = keys_of(phantom_shards, "val")[:2]
    shards = damaged(phantom_shards, tmp_path, bad)
    config = CONFIG.model_copy(
        update={"split": "val", "augment": "none", "on_bad": "invalidate", "bad_budget": 2}
    )
    with Loader(shards, config, "cpu") as loader:
        keys = valid_keys(loader)
    assert keys == keys_of(phantom_shards, "val")[2:]


def test_the_budget_of_bad_samples_is_kept(phantom_shards: Path, tmp_path: Path) -> None:
    shards = damaged(phantom_shards, tmp_path, keys_of(phantom_shards, "train")[:3])
    config = CONFIG.model_copy(update={"on_bad": "substitute", "bad_budget": 2})
    with (
        Loader(shards, config, "cpu") as loader,
        pytest.raises(IntegrityError, match="3 bad samples"),
    ):
        list(loader)


def test_an_absent_split_names_those_that_exist(phantom_shards: Path) -> None:
    with pytest.raises(UsageError, match=r"train \(\d+\), val \(\d+\)"):
        Loader(phantom_shards, CONFIG.model_copy(update={"split": "test"}), "cpu")


def test_gray_levels_are_those_of_the_stored_jpeg(phantom_shards: Path) -> None:
    """No augmentation and no resize: the stream hands out what Pillow decodes."""
    import io

    from PIL import Image

    manifest = read_manifest(phantom_shards)
    config = CONFIG.model_copy(update={"image_size": 64, "augment": "none", "split": "val"})
    rows = {row["key"]: row for row in manifest.frame.to_dicts()}
    mean, std = config.normalisation
    for batch in epoch_of(phantom_shards, config):
        for key, image in zip(batch.keys, batch.images, strict=True):
            row = rows[key]
            with (phantom_shards / row["shard"]).open("rb") as file:
                file.seek(row["offset"])
                plane = np.asarray(Image.open(io.BytesIO(file.read(row["size"]))))
            levels = (image[0].numpy() * std[0] + mean[0]) * 255
            np.testing.assert_allclose(levels, plane, atol=1e-3)
