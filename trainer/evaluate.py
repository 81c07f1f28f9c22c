"""Metrics of a predictions file, per class and on average, per view and per study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from cxr_engine.engine import per_class_metrics
from cxr_engine.kernels import mean_ap
from cxr_engine.shards.errors import UsageError
from cxr_engine.shards.label_maps import require_classes
from cxr_engine.trainer.log import MetricLog
from cxr_engine.trainer.predictions import Predictions

AVERAGED = ("ap", "auc", "study_ap", "study_auc")


@dataclass(frozen=True, kw_only=True, slots=True)
class Average:
    """Macro mean of one metric; classes where it is undefined are left out and counted."""

    mean: float
    n_classes: int


def evaluate(predictions: Predictions) -> pl.DataFrame:
    """`per_class_metrics` of predictions on disk."""
    return per_class_metrics(
        predictions.class_names,
        logits=predictions.logits,
        targets=(predictions.labels == 1).astype(np.float32),
        known=predictions.labels >= 0,
        study=predictions.study,
        view=predictions.view,
        logit_scale=float(predictions.facts["logit_scale"]),
    )


def select_classes(predictions: Predictions, class_names: Sequence[str]) -> Predictions:
    """The predictions for these classes only, in this order and under these names.

    A class may go by another data set's name for the same finding; one that is not predicted at
    all is a UsageError.
    """
    places = require_classes(predictions.class_names, class_names, str(predictions.path))
    return replace(
        predictions,
        class_names=tuple(class_names),
        logits=predictions.logits[:, places],
        labels=predictions.labels[:, places],
    )


def averages(per_class: pl.DataFrame) -> dict[str, Average]:
    """Macro mean of each metric over the classes where it is defined."""
    means = {name: mean_ap(per_class[name].to_numpy()) for name in AVERAGED}
    return {name: Average(mean=float(mean), n_classes=int(n)) for name, (mean, n) in means.items()}


def find_predictions(path: Path | None, run: str | None) -> Path:
    """The predictions file that is meant: itself, or that of a run (the last trained) of a run folder.

    Without a path, the only run folder in ./runs.
    """
    if path is None:
        folders = sorted(p.parent for p in Path("runs").glob("*/recipe.toml"))
        if len(folders) != 1:
            found = ", ".join(str(folder) for folder in folders) or "none"
            raise UsageError("which run?", f"run folders in ./runs: {found}", "name the run folder")
        path = folders[0]
    if not path.is_dir():
        return path
    if run is None:
        lines = MetricLog(path).lines()
        trained = [n["run"] for n in lines if (path / n["run"] / "predictions").is_dir()]
        if not trained:
            raise UsageError(
                "no run has predictions yet", str(path), "train first: cxr-engine train --stage 1"
            )
        run = trained[-1]
    return path / run / "predictions" / "val.parquet"
