"""From stage to stage: best weights, streams, and what to oversample."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from cxr_engine.engine import LoaderConfig, Sampling
from cxr_engine.shards.errors import DataError
from cxr_engine.trainer.checkpoint import Checkpoint, read_checkpoint
from cxr_engine.trainer.recipe import RunConfig


def best_checkpoint(folder: Path, name: str) -> Path:
    """Where the best weights of a run lie."""
    return folder / name / "checkpoints" / "best.safetensors"


def loader_configs(
    run: RunConfig, seed: int, start: Checkpoint | None, threads: int | None
) -> tuple[LoaderConfig, LoaderConfig]:
    """Streams of a run: training, and the validation split as it is, in order."""
    sampling = run.loader.sampling
    if run.oversample_below_ap is not None and start is not None:
        listed = [
            n
            for n, ap in start.facts["class_ap"].items()
            if ap is not None and ap < run.oversample_below_ap
        ]
        sampling = Sampling(**{**sampling.model_dump(), "oversample": tuple(listed)})
    common = {**dict(run.loader), "seed": seed, "threads": threads}
    train = LoaderConfig(**{**common, "split": "train", "sampling": sampling})
    val = LoaderConfig(
        **{**common, "split": "val", "augment": "none", "sampling": Sampling(), "drop_last": False}
    )
    return train, val


def start_of(run: RunConfig, folder: Path) -> Checkpoint | None:
    """The best weights of the run that `run` starts from, in the run folder; None for a first run."""
    if run.init is None:
        return None
    path = best_checkpoint(folder, run.init)
    if not path.is_file():
        raise DataError(
            f"stage {run.stage} starts from the best weights of {run.init}, which are not there",
            str(path),
            f"train it first: cxr-engine train --stage {run.stage - 1}, with the same --recipe and --out",
        )
    return read_checkpoint(path)


def hand_over(model: nn.Module, start: Checkpoint, class_names: tuple[str, ...]) -> None:
    """Load the weights of `start`, and nothing else: optimizer and schedule begin anew."""
    saved = tuple(start.facts["class_names"])
    if saved != class_names:
        raise DataError(
            f"the classes differ from those of {start.facts['run']}",
            f"{len(saved)} classes there, {len(class_names)} here",
            "train this stage on shards with the same class list",
        )
    model.load_state_dict(start.part("model"))
