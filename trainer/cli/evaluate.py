"""cxr-engine evaluate: per-class AP of predictions, per view and per study."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

_NUMBERS = ("ap", "auc", "study_ap", "study_auc")


def evaluate(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="A run folder or a predictions file; by default the only one in ./runs."
        ),
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="A run in the folder; by default the last one.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="Only these classes, by name: A,B,… or nih, chexpert, cxr-lt-2024-task2, …"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Metrics of saved predictions; no model is run.

    Example: cxr-engine evaluate runs/stage-training --run model3 --classes cxr-lt-2024-task2
    """
    from cxr_engine.shards.label_maps import class_list
    from cxr_engine.trainer.evaluate import averages, find_predictions, select_classes
    from cxr_engine.trainer.evaluate import evaluate as evaluate_predictions
    from cxr_engine.trainer.predictions import read_predictions

    predictions = read_predictions(find_predictions(path, run))
    if classes is not None:
        predictions = select_classes(predictions, class_list(classes))
    per_class = evaluate_predictions(predictions)
    if as_json:
        typer.echo(json.dumps(_document(per_class, predictions.facts), indent=1))
        return
    from rich.console import Console

    title = f"{predictions.facts['run']}, split {predictions.facts['split']}"
    Console(highlight=False).print(metrics_table(per_class, title))
    for name, average in averages(per_class).items():
        typer.echo(f"mean {name}: {average.mean:.4f} over {average.n_classes} classes")


def metrics_table(per_class: pl.DataFrame, title: str) -> Table:
    """The per-class table for a terminal: positives/known, AP and AUC, of views, then of studies.

    Where a metric is undefined, because no positive or no negative is known, it shows a dash.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, box=SIMPLE_HEAD)
    table.add_column("finding", no_wrap=True)
    for heading in ("views", "AP", "AUC", "studies", "AP", "AUC"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in per_class.iter_rows(named=True):
        ap, auc, study_ap, study_auc = (
            "–" if math.isnan(row[n]) else f"{row[n]:.3f}" for n in _NUMBERS
        )
        views = f"{row['positives']}/{row['known']}"
        studies = f"{row['study_positives']}/{row['study_known']}"
        table.add_row(row["finding"], views, ap, auc, studies, study_ap, study_auc)
    return table


def _document(per_class: pl.DataFrame, facts: dict[str, Any]) -> dict[str, Any]:
    from cxr_engine.trainer.evaluate import averages

    means = {n: {"mean": a.mean, "n_classes": a.n_classes} for n, a in averages(per_class).items()}
    return {
        "version": 1,
        "run": facts["run"],
        "split": facts["split"],
        "means": means,
        "classes": per_class.fill_nan(None).to_dicts(),
    }
