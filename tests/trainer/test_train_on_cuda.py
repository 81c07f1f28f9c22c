"""Training on a GPU: bf16, the same samples, and a loss that falls."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cxr_engine.trainer.log import MetricLog
from cxr_engine.trainer.recipe import load_recipe
from cxr_engine.trainer.schedule import run_context, runs_of, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_both_demo_stages_train_on_the_device(phantom_shards: Path, tmp_path: Path) -> None:
    recipe = load_recipe("demo", ("defaults.epochs=4",))
    context = run_context(
        data=phantom_shards,
        folder=tmp_path,
        device="cuda",
        pretrained="none",
        threads=4,
        talk=lambda _: None,
        tick=lambda *_: None,
    )
    train(recipe, runs_of(recipe, "all", None), context)
    losses = [line["train_loss"] for line in MetricLog(tmp_path).lines() if line["run"] == "stage1"]
    assert losses[-1] < losses[0]
    assert (tmp_path / "stage2" / "predictions" / "val.parquet").is_file()
