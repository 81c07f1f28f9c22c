"""From stage to stage: best weights, streams, and what to oversample."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from cxr_engine.engine import LoaderConfig, Sampling
from cxr_engine.shards.errors import DataError
from cxr_engine.shards.label_maps import match_classes
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


def hand_over(model: nn.Module, start: Checkpoint, class_names: tuple[str, ...]) -> list[str]:
    """Load the weights of `start`, and nothing else; returns the classes that begin anew.

    Optimizer and schedule start over. Where the classes differ, the rows of the classifier go by the
    name of the finding, in either data set's spelling; a class that `start` does not have keeps its
    random row.
    """
    weights = start.part("model")
    places = match_classes(start.facts["class_names"], class_names)
    if places != list(range(len(start.facts["class_names"]))):
        for name, own in _classifier(model).items():
            theirs, mixed = weights[name], own.detach().clone()
            for row, place in enumerate(places):
                if place is not None:
                    mixed[row] = theirs[place]
            weights[name] = mixed
    model.load_state_dict(weights)
    return [name for name, place in zip(class_names, places, strict=True) if place is None]


def _classifier(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters of the last layer, by their names in the model; timm names the layer."""
    layer = model.get_classifier()  # type: ignore[operator]  # every timm model has it
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(parameter)]: parameter for parameter in layer.parameters()}
