"""Runs: a killed one resumes to the same bits, stages hand over weights, bad starts are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cxr_engine.shards.errors import DataError, UsageError
from cxr_engine.trainer.checkpoint import read_checkpoint
from cxr_engine.trainer.handover import best_checkpoint, loader_configs
from cxr_engine.trainer.log import MetricLog
from cxr_engine.trainer.predictions import read_predictions
from cxr_engine.trainer.recipe import Recipe, load_recipe
from cxr_engine.trainer.schedule import run_context, runs_of, train

SMALL = (
    "defaults.epochs=3",
    "stage.1.loader.image_size=32",
    "stage.2.loader.image_size=48",
    "defaults.loader.global_batch_size=16",
    "stage.1.loader.global_batch_size=16",
    "stage.2.loader.global_batch_size=16",
    "model.drop_rate=0.2",  # so that the state of the random generator matters
)


class KilledError(Exception):
    """Stands for a power cut."""


def run(
    recipe: Recipe,
    data: Path,
    folder: Path,
    *,
    stage: str = "all",
    tick: Callable[[int, int, str], None] = lambda *_: None,
) -> list[str]:
    said: list[str] = []
    context = run_context(
        data=data,
        folder=folder,
        device="cpu",
        pretrained="none",
        threads=2,
        talk=said.append,
        tick=tick,
    )
    train(recipe, runs_of(recipe, stage, None), context)
    return said


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("demo", SMALL)


@pytest.fixture(scope="module")
def undisturbed(
    recipe: Recipe, phantom_shards: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    run(recipe, phantom_shards, folder)
    return folder


def comparable(folder: Path) -> list[dict[str, object]]:
    """The log without what a clock says."""
    timed = ("images_per_s", "wait_share", "seconds")
    return [{k: v for k, v in n.items() if k not in timed} for n in MetricLog(folder).lines()]


@pytest.mark.parametrize("killed_at", [("stage1", 1), ("stage1", 8), ("stage2", 5), ("stage2", 9)])
def test_a_killed_run_resumes_to_the_same_bits(
    recipe: Recipe,
    phantom_shards: Path,
    undisturbed: Path,
    tmp_path: Path,
    killed_at: tuple[str, int],
) -> None:
    name, step = killed_at

    def power_cut(done: int, _total: int, what: str) -> None:
        if what.startswith(name) and done == step:
            raise KilledError

    with pytest.raises(KilledError):
        run(recipe, phantom_shards, tmp_path, tick=power_cut)
    run(recipe, phantom_shards, tmp_path)
    assert comparable(tmp_path) == comparable(undisturbed)
    for run_name in recipe.main_line:
        ours = read_checkpoint(best_checkpoint(tmp_path, run_name))
        theirs = read_checkpoint(best_checkpoint(undisturbed, run_name))
        assert ours.hash == theirs.hash
        mine = read_predictions(tmp_path / run_name / "predictions" / "val.parquet")
        other = read_predictions(undisturbed / run_name / "predictions" / "val.parquet")
        np.testing.assert_array_equal(mine.logits, other.logits)


def test_a_run_folder_holds_what_is_promised(undisturbed: Path) -> None:
    for name in ("recipe.toml", "metrics.jsonl", "metrics.csv", "curves.png"):
        assert (undisturbed / name).stat().st_size > 0
    for run_name in ("stage1", "stage2"):
        for name in ("last", "best"):
            for suffix in (".safetensors", ".json"):
                assert (undisturbed / run_name / "checkpoints" / f"{name}{suffix}").is_file()
        assert (undisturbed / run_name / "predictions" / "val.parquet").is_file()
    assert not list(undisturbed.rglob("*.partial"))


def test_every_epoch_is_logged_once(undisturbed: Path) -> None:
    lines = MetricLog(undisturbed).lines()
    assert [(n["run"], n["epoch"]) for n in lines] == [
        (r, e) for r in ("stage1", "stage2") for e in range(3)
    ]


def test_predictions_are_those_of_the_best_epoch(undisturbed: Path, recipe: Recipe) -> None:
    from cxr_engine.trainer.evaluate import averages, evaluate

    for name in recipe.main_line:
        predictions = read_predictions(undisturbed / name / "predictions" / "val.parquet")
        best = max(n["ap"] for n in MetricLog(undisturbed).lines() if n["run"] == name)
        assert averages(evaluate(predictions))["ap"].mean == pytest.approx(best, abs=1e-6)
        weights = read_checkpoint(best_checkpoint(undisturbed, name))
        assert predictions.facts["weights"] == weights.hash


def test_stage_two_starts_from_the_best_weights_of_stage_one(
    recipe: Recipe, phantom_shards: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """With a rate of zero, stage 2 changes no weight: what it ends with is what it began with."""
    still = load_recipe("demo", (*SMALL, "stage.2.max_lr=1e-30", "stage.2.epochs=1"))
    (tmp_path / "stage1").symlink_to(undisturbed / "stage1")
    run(still, phantom_shards, tmp_path, stage="2")
    before = read_checkpoint(best_checkpoint(undisturbed, "stage1")).part("model")
    after = read_checkpoint(best_checkpoint(tmp_path, "stage2")).part("model")
    assert before.keys() == after.keys()
    for key, tensor in before.items():
        torch.testing.assert_close(after[key], tensor, rtol=1e-6, atol=1e-9)


def test_stage_two_oversamples_what_stage_one_found_hard(recipe: Recipe, undisturbed: Path) -> None:
    start = read_checkpoint(best_checkpoint(undisturbed, "stage1"))
    train_config, val_config = loader_configs(recipe.runs["stage2"], 5, start, 2)
    hard = {n for n, ap in start.facts["class_ap"].items() if ap is not None and ap < 0.30}
    assert hard
    assert set(train_config.sampling.oversample) == hard
    assert val_config.sampling.oversample == ()
    assert (val_config.split, val_config.augment) == ("val", "none")


def test_stage_two_without_stage_one_says_which_command_makes_it(
    recipe: Recipe, phantom_shards: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="cxr-engine train --stage 1"):
        run(recipe, phantom_shards, tmp_path, stage="2")


def test_a_run_is_not_continued_with_other_settings(
    recipe: Recipe, phantom_shards: Path, tmp_path: Path
) -> None:
    def stop(done: int, _total: int, _what: str) -> None:
        if done == 8:
            raise KilledError

    with pytest.raises(KilledError):
        run(recipe, phantom_shards, tmp_path, tick=stop)
    other = load_recipe("demo", (*SMALL, "defaults.max_lr=1e-2"))
    with pytest.raises(UsageError, match="other settings"):
        run(other, phantom_shards, tmp_path)


def test_a_finished_run_is_left_alone(
    recipe: Recipe, phantom_shards: Path, undisturbed: Path
) -> None:
    before = {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*.safetensors")}
    assert run(recipe, phantom_shards, undisturbed) == [
        "stage1: finished already",
        "stage2: finished already",
    ]
    assert before == {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*.safetensors")}


def test_published_weights_must_be_named(phantom_shards: Path, tmp_path: Path) -> None:
    published = load_recipe("demo", (*SMALL, "model.pretrained=true"))
    context = run_context(
        data=phantom_shards,
        folder=tmp_path,
        device="cpu",
        pretrained="",
        threads=1,
        talk=lambda _: None,
        tick=lambda *_: None,
    )
    with pytest.raises(UsageError, match="--pretrained FILE"):
        train(published, ["stage1"], context)


def test_the_log_is_json_without_nan(undisturbed: Path) -> None:
    for line in (undisturbed / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
