"""Recipes: as published, merged, overridden, refused by key."""

from __future__ import annotations

import tomllib

import pytest

from cxr_engine.shards.errors import UsageError
from cxr_engine.trainer.recipe import load_recipe, parse_recipe, save_recipe, shipped_recipes
from cxr_engine.trainer.schedule import runs_of

# id: stage, init, image size, batch, number of oversampled classes; epochs, rate and decay are common.
PUBLISHED = {
    "model0": (1, None, 224, 256, 0),
    "model1": (1, None, 224, 128, 0),
    "model2": (2, "model0", 320, 128, 0),
    "model3": (2, "model0", 320, 128, 7),
    "model4": (2, "model1", 320, 128, 7),
    "model5": (2, "model0", 320, 128, 11),
    "model6": (2, "model0", 384, 80, 7),
    "model7": (3, "model3", 512, 48, 7),
}


def test_stage_training_has_every_row_of_the_papers_table() -> None:
    recipe = load_recipe("stage-training")
    found = {
        name: (
            run.stage,
            run.init,
            run.loader.image_size,
            run.loader.global_batch_size,
            len(run.loader.sampling.oversample),
        )
        for name, run in recipe.runs.items()
    }
    assert found == PUBLISHED
    for run in recipe.runs.values():
        assert (run.epochs, run.warmup_epochs, run.max_lr, run.weight_decay) == (30, 1, 1e-3, 1e-6)
        assert run.loader.augment == "cxr-lt-2023"
        assert run.loader.sampling.factor == 2
    assert recipe.main_line == ("model0", "model3", "model7")


def test_stages_follow_the_main_line_and_runs_go_by_name() -> None:
    recipe = load_recipe("stage-training")
    assert runs_of(recipe, "2", None) == ["model3"]
    assert runs_of(recipe, "all", None) == runs_of(recipe, None, None) == list(recipe.main_line)
    assert runs_of(recipe, None, "model6") == ["model6"]
    for stage, run in (("4", None), ("two", None), (None, "model8"), ("1", "model0")):
        with pytest.raises(UsageError):
            runs_of(recipe, stage, run)


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_saved_recipe_reads_back_equal(name: str) -> None:
    recipe = load_recipe(name)
    assert parse_recipe(tomllib.loads(save_recipe(recipe)), where="saved") == recipe


def test_overrides_reach_a_stage_a_run_all_runs_and_the_model() -> None:
    recipe = load_recipe(
        "stage-training",
        (
            "stage.2.epochs=3",
            "runs.model6.loader.image_size=64",
            "defaults.max_lr=0.01",
            "model.backbone=test_resnet",
            "stage.3.loader.sampling.oversample=[]",
        ),
    )
    assert recipe.runs["model3"].epochs == 3
    assert recipe.runs["model2"].epochs == 30
    assert recipe.runs["model6"].loader.image_size == 64
    assert {run.max_lr for run in recipe.runs.values()} == {0.01}
    assert recipe.model.backbone == "test_resnet"
    assert recipe.runs["model7"].loader.sampling.oversample == ()


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("stage.2.epoch=3", "did you mean epochs"),
        ("stage.4.epochs=3", "stage 4 does not exist"),
        ("stage.2.epochs=many", r"runs\.model3\.epochs"),
        ("stage.2.loader.seed=3", "set by the trainer"),
        ("epochs", "cannot read the override"),
        ("stage.2.init=model7", "not of an earlier stage"),
        ("stage.2.loader.augment=cxr-lt-2032", "presets"),
    ],
)
def test_a_wrong_override_is_named(override: str, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        load_recipe("stage-training", (override,))


def test_an_unknown_recipe_gets_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="did you mean stage-training"):
        load_recipe("stage-trainning")
