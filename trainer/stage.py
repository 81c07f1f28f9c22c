"""One training run of a recipe: the loop over epochs, validation, checkpoints, predictions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import polars as pl
import torch
import xxhash

from cxr_engine.engine import Accumulator, Batch, Loader
from cxr_engine.shards.errors import DataError, UsageError
from cxr_engine.trainer.checkpoint import (
    latest_good,
    load_optimizer,
    load_rng,
    model_tensors,
    optimizer_tensors,
    read_checkpoint,
    rng_tensors,
    write_checkpoint,
)
from cxr_engine.trainer.evaluate import AVERAGED, averages
from cxr_engine.trainer.handover import best_checkpoint, hand_over, loader_configs, start_of
from cxr_engine.trainer.log import MetricLog, draw_curves
from cxr_engine.trainer.loss import binary_cross_entropy
from cxr_engine.trainer.model import LOGIT_SCALE, build_model
from cxr_engine.trainer.optim import build_optimizer, learning_rate
from cxr_engine.trainer.predictions import write_predictions
from cxr_engine.trainer.recipe import Recipe

Talk = Callable[[str], None]
Tick = Callable[[int, int, str], None]  # steps done, steps of the run, what to show beside


@dataclass(frozen=True, kw_only=True, slots=True)
class RunContext:
    """What a run needs besides its recipe."""

    data: Path
    folder: Path  # of the whole recipe; the run has a folder of its own in it
    device: torch.device
    pretrained: str  # "none", "hub", a file, or "" where nothing was said
    threads: int | None
    talk: Talk
    tick: Tick


def train_run(recipe: Recipe, name: str, context: RunContext) -> None:
    """Train one run to its end, going on from its last checkpoint where there is one."""
    _Training(recipe, name, context).run()


def is_finished(recipe: Recipe, name: str, folder: Path) -> bool:
    """True where the run's predictions, its last product, were made by its last epoch."""
    last, _ = latest_good(folder / name / "checkpoints" / "last.safetensors")
    predictions = folder / name / "predictions" / "val.parquet"
    return (
        last is not None
        and last.facts["epoch"] == recipe.runs[name].epochs
        and predictions.is_file()
    )


class _Training:
    def __init__(self, recipe: Recipe, name: str, context: RunContext) -> None:
        self.recipe, self.name, self.context = recipe, name, context
        self.run_config = recipe.runs[name]
        self.device = context.device
        self.folder = context.folder / name
        self.log = MetricLog(context.folder)
        # Every run has an order and augmentations of its own, whatever ran before it.
        self.seed = xxhash.xxh3_64_intdigest(f"{recipe.seed}/{name}".encode()) >> 1
        torch.manual_seed(self.seed)
        start = start_of(self.run_config, context.folder)
        train, val = loader_configs(self.run_config, self.seed, start, context.threads)
        self.train_loader = Loader(context.data, train, self.device)
        self.val_loader = Loader(context.data, val, self.device)
        self.class_names = self.train_loader.class_names
        self.model = build_model(
            recipe.model,
            len(self.class_names),
            train.channels,
            pretrained="none" if start else context.pretrained or "none",
        ).to(self.device)
        if start is not None:
            fresh = hand_over(self.model, start, self.class_names)
            if fresh:
                context.talk(f"{name}: classes that begin anew: {', '.join(fresh)}")
        self.optimizer = build_optimizer(
            self.model, weight_decay=self.run_config.weight_decay, device=self.device
        )
        self.total_steps = self.run_config.epochs * len(self.train_loader)
        self.step, self.epoch, self.best = 0, 0, float("-inf")
        self._resume()

    def run(self) -> None:
        with self.train_loader, self.val_loader:
            while self.epoch < self.run_config.epochs:
                self._epoch()
            self._predict()
        draw_curves(self.log.lines(), self.context.folder / "curves.png")

    def _epoch(self) -> None:
        started = perf_counter()
        self.train_loader.set_epoch(self.epoch)
        self.train_loader.meter.reset()
        train_loss = self._train()
        rate, wait = self.train_loader.meter.samples_per_s, self.train_loader.meter.wait_share
        val_loss, per_class = self._validate()
        means = averages(per_class)
        score = means[self.recipe.select_by].mean
        if math.isnan(score):
            raise DataError(
                "no class has a positive label in the validation split",
                str(self.context.data),
                "shard again with a larger --val-fraction, or with more images",
            )
        self.epoch += 1
        self.log.append(
            {
                "run": self.name,
                "stage": self.run_config.stage,
                "epoch": self.epoch - 1,
                "step": self.step,
                "train_loss": train_loss,
                "val_loss": val_loss,
                **{key: means[key].mean for key in AVERAGED},
                "n_classes": means["ap"].n_classes,
                "images_per_s": round(rate, 1),
                "wait_share": round(wait, 4),
                "seconds": round(perf_counter() - started, 2),
                "class_ap": _class_ap(per_class),
            }
        )
        # `best` first: were the run killed in between, the epoch would be trained again, identically.
        if score > self.best:
            self.best = score
            self._save("best", model_tensors(self.model), per_class)
        state = (
            model_tensors(self.model) | optimizer_tensors(self.optimizer) | rng_tensors(self.device)
        )
        self._save("last", state, per_class)
        self.context.talk(
            f"{self.name} epoch {self.epoch}/{self.run_config.epochs}  loss {train_loss:.4f}  "
            f"val {val_loss:.4f}  mAP {means['ap'].mean:.4f} per view, {means['study_ap'].mean:.4f} per "
            f"study ({means['ap'].n_classes} classes)  {rate:.0f} images/s, {wait:.0%} waiting"
        )

    def _train(self) -> float:
        """One epoch of updates; the mean loss, read from the device once."""
        self.model.train()
        total = torch.zeros((), device=self.device)
        steps = 0
        for batch in self.train_loader:
            rate = learning_rate(
                self.step,
                max_lr=self.run_config.max_lr,
                warmup_steps=round(self.run_config.warmup_epochs * len(self.train_loader)),
                total_steps=self.total_steps,
            )
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss = self._loss(self._forward(batch), batch)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            total += loss.detach()
            steps += 1
            self.step += 1
            self.context.tick(self.step, self.total_steps, f"{self.name}, epoch {self.epoch + 1}")
        mean = float(total) / max(1, steps)
        if math.isnan(mean):
            raise DataError(
                "the training loss is not a number",
                f"run {self.name}, epoch {self.epoch + 1}",
                f"lower the learning rate: -o runs.{self.name}.max_lr={self.run_config.max_lr / 10:g}",
            )
        return mean

    @torch.inference_mode()
    def _collect(self) -> tuple[float, Accumulator]:
        """Logits of the whole validation split and their mean loss."""
        self.model.eval()
        capacity = len(self.val_loader) * self.val_loader.config.global_batch_size
        accumulator = Accumulator(capacity, self.class_names, self.device)
        total = torch.zeros((), device=self.device)
        for batch in self.val_loader:
            logits = self._forward(batch)
            total += self._loss(logits, batch)
            accumulator.update(logits, batch)
        return float(total) / len(self.val_loader), accumulator

    def _validate(self) -> tuple[float, pl.DataFrame]:
        loss, accumulator = self._collect()
        return loss, accumulator.compute()

    def _predict(self) -> None:
        """Predictions of the best weights on the validation split."""
        best = read_checkpoint(best_checkpoint(self.context.folder, self.name))
        self.model.load_state_dict(best.part("model"))
        _, accumulator = self._collect()
        facts = {
            "run": self.name,
            "split": "val",
            "logit_scale": LOGIT_SCALE,
            "weights": best.hash,
            "tta": "none",
        }
        path = self.folder / "predictions" / "val.parquet"
        collected = accumulator.collect()
        write_predictions(path, collected, self.context.data, self.class_names, facts)

    def _forward(self, batch: Batch) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            return self.model(batch.images)

    def _loss(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return binary_cross_entropy(logits, batch.targets, batch.known & batch.valid[:, None])

    def _save(self, name: str, tensors: dict[str, torch.Tensor], per_class: pl.DataFrame) -> None:
        facts = {
            "run": self.name,
            "recipe": self.recipe.name,
            "config": _config(self.recipe, self.name),
            "class_names": list(self.class_names),
            "class_hash": self.train_loader.class_hash,
            "logit_scale": LOGIT_SCALE,
            "loader_config": self.train_loader.config.model_dump(mode="json"),
            "epoch": self.epoch,  # epochs done
            "step": self.step,
            "best": self.best,
            "loader": self.train_loader.state_dict(),
            "class_ap": _class_ap(per_class),
        }
        write_checkpoint(self.folder / "checkpoints" / f"{name}.safetensors", tensors, facts)

    def _resume(self) -> None:
        last, problems = latest_good(self.folder / "checkpoints" / "last.safetensors")
        for problem in problems:
            self.context.talk(f"{self.name}: a checkpoint was not usable: {problem}")
        if last is not None:
            if last.facts["config"] != _config(self.recipe, self.name):
                raise UsageError(
                    f"{self.name} was begun with other settings",
                    str(self.folder),
                    "use the settings it was begun with, or another --out",
                )
            self.train_loader.load_state_dict(last.facts["loader"])
            self.model.load_state_dict(last.part("model"))
            load_optimizer(self.optimizer, last.part("optimizer"))
            load_rng(last.part("rng"), self.device)
            self.step, self.epoch, self.best = (last.facts[k] for k in ("step", "epoch", "best"))
            self.context.talk(f"{self.name}: going on after epoch {self.epoch}")
        self.log.forget(self.name, self.epoch)


def _config(recipe: Recipe, name: str) -> dict[str, Any]:
    """What must not change while a run is interrupted."""
    return {
        "seed": recipe.seed,
        "select_by": recipe.select_by,
        "model": recipe.model.model_dump(mode="json"),
        "run": recipe.runs[name].model_dump(mode="json"),
    }


def _class_ap(per_class: pl.DataFrame) -> dict[str, float | None]:
    """AP by class; None where it is undefined, since JSON has no NaN."""
    ap = per_class["ap"].fill_nan(None)
    return dict(zip(per_class["finding"], ap, strict=True))
