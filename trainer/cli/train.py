"""cxr-engine train: the stages of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr_engine.trainer.cli.progress import Reporter

Device = Annotated[
    str | None, typer.Option(help="cpu, cuda or cuda:1; by default the GPU if there is one.")
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads for decoding; by default all that may be used.")
]


def train(
    recipe: Annotated[
        str, typer.Option(help="A shipped recipe (stage-training, demo) or a .toml file.")
    ] = "stage-training",
    stage: Annotated[
        str | None, typer.Option(help="1, 2, … along the main line, or all (the default).")
    ] = None,
    run: Annotated[str | None, typer.Option(help="A run by name instead, such as model6.")] = None,
    data: Annotated[Path, typer.Option(help="The folder of shards.")] = Path("shards"),
    out: Annotated[
        Path | None, typer.Option(help="The run folder; by default runs/RECIPE.")
    ] = None,
    pretrained: Annotated[
        str, typer.Option(help="Weights of the first stage: a file, hub (downloads), or none.")
    ] = "",
    override: Annotated[
        list[str] | None, typer.Option("-o", help="Change the recipe, such as stage.2.epochs=3.")
    ] = None,
    folds: Annotated[
        int | None, typer.Option(min=2, help="Split train and val anew by patient: GroupKFold.")
    ] = None,
    fold: Annotated[int, typer.Option(min=0, help="Which of the folds validates.")] = 0,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Train by stages; a stage starts from the best weights of the one before.

    An interrupted run goes on when the same command is given again.

    Example: cxr-engine train --stage 2 --data shards
    """
    from cxr_engine.trainer.recipe import load_recipe
    from cxr_engine.trainer.schedule import run_context, runs_of
    from cxr_engine.trainer.schedule import train as train_runs

    overrides = list(override or ())
    if folds is not None:
        overrides.append(f"defaults.loader.folds={{n={folds}, fold={fold}}}")
    resolved = load_recipe(recipe, tuple(overrides))
    names = runs_of(resolved, stage, run)
    with Reporter() as reporter:
        context = run_context(
            data=data,
            folder=out or Path("runs") / resolved.name,
            device=device,
            pretrained=pretrained,
            threads=threads,
            talk=reporter.talk,
            tick=reporter.tick,
        )
        train_runs(resolved, names, context)
    typer.echo(f"{', '.join(names)} done: {context.folder}")
