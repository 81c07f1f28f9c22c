"""Which runs of a recipe to train, in which order, into one run folder."""

from __future__ import annotations

from pathlib import Path

import torch

from cxr_engine.shards.errors import ResourceError, UsageError
from cxr_engine.shards.publish import published
from cxr_engine.trainer.recipe import Recipe, save_recipe
from cxr_engine.trainer.stage import RunContext, Talk, Tick, is_finished, train_run


def runs_of(recipe: Recipe, stage: str | None, run: str | None) -> list[str]:
    """Names of the runs that `--stage N|all` or `--run NAME` asks for; neither means all."""
    if run is not None:
        if stage is not None:
            raise UsageError(
                "--stage and --run together", f"recipe {recipe.name}", "give one of them"
            )
        if run not in recipe.runs:
            raise UsageError(
                f"there is no run {run!r}",
                f"recipe {recipe.name}",
                f"runs: {', '.join(recipe.runs)}",
            )
        return [run]
    if stage is None or stage == "all":
        return list(recipe.main_line)
    if not stage.isdigit():
        raise UsageError(
            f"--stage {stage} is not a stage", f"recipe {recipe.name}", "--stage 1, or all"
        )
    return [recipe.run_of_stage(int(stage))]


def run_context(
    *,
    data: Path,
    folder: Path,
    device: str | None,
    pretrained: str,
    threads: int | None,
    talk: Talk,
    tick: Tick,
) -> RunContext:
    """A context on the device that was asked for, by default the GPU where there is one."""
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise UsageError(
            f"{device!r} is no device", "--device", "use cpu, cuda or cuda:1"
        ) from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ResourceError("torch finds no CUDA device", f"--device {device}", "use --device cpu")
    return RunContext(
        data=data,
        folder=folder,
        device=chosen,
        pretrained=pretrained,
        threads=threads,
        talk=talk,
        tick=tick,
    )


def train(recipe: Recipe, names: list[str], context: RunContext) -> None:
    """Train the named runs in order; one that is finished is said to be and left alone."""
    starts_fresh = [n for n in names if recipe.runs[n].init is None]
    if starts_fresh and recipe.model.pretrained and context.pretrained == "":
        raise UsageError(
            f"{starts_fresh[0]} starts from published weights of {recipe.model.backbone}",
            f"recipe {recipe.name}",
            "--pretrained FILE, or --pretrained hub to download, or --pretrained none to start blank",
        )
    context.folder.mkdir(parents=True, exist_ok=True)
    with published(context.folder / "recipe.toml") as file:
        file.write(save_recipe(recipe).encode())
    for name in names:
        if is_finished(recipe, name, context.folder):
            context.talk(f"{name}: finished already")
        else:
            train_run(recipe, name, context)
