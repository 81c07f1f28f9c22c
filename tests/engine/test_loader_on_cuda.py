"""The stream on a GPU: on the device, like the CPU's within rounding, exact to resume, waiting for nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from cxr_engine.engine import Batch, Loader, LoaderConfig
from cxr_engine.shards.manifest import read_manifest

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CONFIG = LoaderConfig(image_size=48, global_batch_size=8, augment="cxr-lt-2024", seed=7)
TENSORS = ("images", "targets", "known", "valid", "study", "view")


def epoch_of(shards: Path, device: str, config: LoaderConfig = CONFIG) -> list[Batch]:
    with Loader(shards, config, device) as loader:
        return list(loader)


def test_all_tensors_of_a_batch_are_on_the_device_and_channels_last(phantom_shards: Path) -> None:
    for batch in epoch_of(phantom_shards, "cuda"):
        assert {getattr(batch, name).device.type for name in TENSORS} == {"cuda"}
        assert batch.images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_gpu_batches_are_those_of_the_cpu_within_rounding(phantom_shards: Path, dtype: str) -> None:
    """Decoders and warps round differently: about a gray level, more only at sharp edges."""
    config = CONFIG.model_copy(update={"dtype": dtype})
    std = torch.tensor(config.normalisation[1])[:, None, None]
    for cpu, gpu in zip(
        epoch_of(phantom_shards, "cpu", config),
        epoch_of(phantom_shards, "cuda", config),
        strict=True,
    ):
        assert cpu.keys == gpu.keys
        for name in TENSORS[1:]:
            assert torch.equal(getattr(cpu, name), getattr(gpu, name).cpu())
        levels = ((cpu.images.float() - gpu.images.float().cpu()) * std * 255).abs()
        assert levels.mean() < 1.0
        assert torch.quantile(levels.flatten()[:1_000_000], 0.99) < 8.0


def test_resuming_on_the_device_gives_the_same_bits(phantom_shards: Path) -> None:
    whole = epoch_of(phantom_shards, "cuda")
    with Loader(phantom_shards, CONFIG, "cuda") as loader:
        for _ in zip(range(3), loader, strict=False):
            state = loader.state_dict()
    with Loader(phantom_shards, CONFIG, "cuda") as loader:
        loader.load_state_dict(state)
        rest = list(loader)
    assert len(rest) == len(whole) - 3
    for ours, theirs in zip(rest, whole[3:], strict=True):
        assert ours.keys == theirs.keys
        assert torch.equal(ours.images, theirs.images)


def test_batches_own_their_device_memory(phantom_shards: Path) -> None:
    with Loader(phantom_shards, CONFIG, "cuda") as loader:
        kept, copies = [], []
        for batch in loader:
            kept.append(batch.images)
            copies.append(batch.images.clone())
        for images, copy in zip(kept, copies, strict=True):
            assert torch.equal(images, copy)


def test_a_flipped_bit_is_named_on_the_device_too(phantom_shards: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(phantom_shards, tmp_path / "damaged"))
    row = read_manifest(copy).frame.filter(pl.col("split") == "train").to_dicts()[4]
    with (copy / row["shard"]).open("r+b") as file:
        file.seek(row["offset"] + row["size"] // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    config = CONFIG.model_copy(update={"on_bad": "substitute", "bad_budget": 1})
    with Loader(copy, config, "cuda") as loader:
        keys = [key for batch in loader for key in batch.keys]
        assert [bad.key for bad in loader.bad_samples] == [row["key"]]
    assert row["key"] not in keys


def test_training_batches_have_spread(phantom_shards: Path) -> None:
    """Nothing is left unwritten: no batch is constant, NaN or of a wild scale."""
    for batch in epoch_of(phantom_shards, "cuda"):
        images = batch.images.float()
        assert torch.isfinite(images).all()
        assert images.abs().max() < 10
        assert images.std(dim=(1, 2, 3)).min() > 0.05
        np.testing.assert_array_less(-3.0, images.mean(dim=(1, 2, 3)).cpu().numpy())
