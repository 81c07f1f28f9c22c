"""A published system as data: a TOML file, merged with overrides, validated, frozen."""

from __future__ import annotations

import difflib
import json
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cxr_engine.engine.config import LoaderConfig
from cxr_engine.shards.errors import UsageError

_FOLDER = Path(__file__).parent / "recipes"
_LOADER_FIELDS_OF_A_RUN = ("split", "shuffle", "seed")  # the trainer sets these


class ModelConfig(BaseModel):
    """The network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str  # timm's name
    pretrained: bool = False  # the first stage starts from published weights
    drop_rate: float = Field(default=0.0, ge=0.0, lt=1.0)  # before the classifier


class RunConfig(BaseModel):
    """One training run: a row of the paper's table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: int = Field(ge=1)
    init: str | None = None  # run whose best weights it starts from
    epochs: int = Field(ge=1)
    warmup_epochs: float = Field(default=1.0, ge=0.0)
    max_lr: float = Field(gt=0.0)  # not rescaled with the batch size
    weight_decay: float = Field(default=0.0, ge=0.0)
    oversample_below_ap: float | None = Field(default=None, ge=0.0, le=1.0)  # by the AP of `init`
    loader: LoaderConfig


class Recipe(BaseModel):
    """Runs that build on each other; `main_line` is what `--stage 1, 2, …` follows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    description: str
    seed: int = 0
    select_by: Literal["ap", "study_ap"] = "ap"  # mean over classes; its best epoch is kept
    main_line: tuple[str, ...] = Field(min_length=1)
    model: ModelConfig
    runs: dict[str, RunConfig]

    @model_validator(mode="after")
    def _runs_build_on_each_other(self) -> Recipe:
        for name, run in self.runs.items():
            if run.init is not None and run.init not in self.runs:
                raise ValueError(f"run {name} starts from {run.init!r}, which is no run")
            if run.init is not None and self.runs[run.init].stage >= run.stage:
                raise ValueError(
                    f"run {name} starts from {run.init}, which is not of an earlier stage"
                )
            if run.oversample_below_ap is not None and run.init is None:
                raise ValueError(f"run {name} oversamples by the AP of its init, but has none")
        for stage, name in enumerate(self.main_line, 1):
            if name not in self.runs or self.runs[name].stage != stage:
                raise ValueError(
                    f"main_line[{stage - 1}] must be a run of stage {stage}, got {name!r}"
                )
        return self

    def run_of_stage(self, stage: int) -> str:
        """Name of the run of `stage` on the main line."""
        if not 1 <= stage <= len(self.main_line):
            raise UsageError(
                f"stage {stage} does not exist",
                f"recipe {self.name}: stages 1 to {len(self.main_line)}",
                f"use --stage 1 … {len(self.main_line)} or --stage all",
            )
        return self.main_line[stage - 1]


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load_recipe(name: str, overrides: tuple[str, ...] = ()) -> Recipe:
    """A shipped recipe by name, or a TOML file by path, with `key=value` overrides.

    Keys of an override: `stage.2.epochs` (the main line's run), `runs.model6.epochs`,
    `defaults.epochs` (every run), `model.backbone`; values are TOML, a bare word is a string.
    """
    path = Path(name) if name.endswith(".toml") else _FOLDER / f"{name}.toml"
    if not path.is_file():
        near = difflib.get_close_matches(name, shipped_recipes(), 1)
        raise UsageError(
            f"there is no recipe {name!r}",
            f"shipped recipes: {', '.join(shipped_recipes())}",
            f"did you mean {near[0]}?" if near else "name one of them, or a .toml file",
        )
    try:
        tree = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"not TOML: {error}", str(path), "mend the file") from error
    for override in overrides:
        _override(tree, override)
    return parse_recipe(tree, where=str(path.name))


def parse_recipe(tree: dict[str, Any], *, where: str) -> Recipe:
    """Validate a parsed recipe; each run inherits what `[defaults]` says and it does not."""
    tree = dict(tree)
    defaults = tree.pop("defaults", {})
    runs = tree.get("runs")
    if isinstance(runs, dict) and isinstance(defaults, dict):
        merged = {n: _merge(defaults, r) if isinstance(r, dict) else r for n, r in runs.items()}
        for run_name, run in merged.items():
            taken = [k for k in _LOADER_FIELDS_OF_A_RUN if k in (_table(run).get("loader") or {})]
            if taken:
                raise UsageError(
                    f"runs.{run_name}.loader.{taken[0]} is set by the trainer",
                    where,
                    "remove the key",
                )
        tree["runs"] = merged
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise _explain(error, where) from error


def save_recipe(recipe: Recipe) -> str:
    """The resolved recipe as TOML that `parse_recipe` reads back to an equal one."""
    tree = recipe.model_dump(mode="json", exclude_none=True)
    runs = tree.pop("runs")
    model = tree.pop("model")
    lines = [f"{key} = {json.dumps(value)}" for key, value in tree.items()]
    lines += ["", "[model]", *(f"{key} = {json.dumps(value)}" for key, value in model.items())]
    for name, run in runs.items():
        loader = {k: v for k, v in run.pop("loader").items() if k not in _LOADER_FIELDS_OF_A_RUN}
        tables = {k: loader.pop(k) for k in list(loader) if isinstance(loader[k], dict)}
        lines += ["", f"[runs.{name}]", *(f"{k} = {json.dumps(v)}" for k, v in run.items())]
        lines += [
            "",
            f"[runs.{name}.loader]",
            *(f"{k} = {json.dumps(v)}" for k, v in loader.items()),
        ]
        for table, values in tables.items():
            lines += ["", f"[runs.{name}.loader.{table}]"]
            lines += [f"{k} = {json.dumps(v)}" for k, v in values.items()]
    return "\n".join(lines) + "\n"


def _override(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise UsageError(
            f"cannot read the override {override!r}", "-o", "write it as -o stage.2.epochs=3"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    if path[0] == "stage" and len(path) > 2:
        line = tree.get("main_line", [])
        if not (path[1].isdigit() and 1 <= int(path[1]) <= len(line)):
            raise UsageError(
                f"stage {path[1]} does not exist", f"-o {override}", f"use 1 to {len(line)}"
            )
        path = ["runs", line[int(path[1]) - 1], *path[2:]]
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise UsageError(f"{part} is a value, not a table", f"-o {override}", "shorten the key")
    tree[path[-1]] = value


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _explain(error: ValidationError, where: str) -> UsageError:
    """The first problem by its key, with the nearest key that exists."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        models = (Recipe, ModelConfig, RunConfig, LoaderConfig)
        known = [field for model in models for field in model.model_fields]
        near = difflib.get_close_matches(str(first["loc"][-1]), known, 1)
        remedy = f"did you mean {near[0]}?" if near else "remove it"
        return UsageError(f"unknown key {key}", where, remedy)
    return UsageError(f"{key or 'the recipe'}: {first['msg']}", where, "mend the value")
