"""Checkpoints: one safetensors file each, written whole or not at all, with a hash inside.

The facts (epoch, loader state, scores) sit in the file's own header, so that weights and facts can
never come from two different moments. The `.json` beside repeats them for people.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from cxr_engine.shards.errors import DataError, IntegrityError
from cxr_engine.shards.publish import published, sync_folder

_FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """Tensors by name ("model.…", "optimizer.<i>.<key>", "rng.…") and facts that JSON can hold."""

    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any]
    hash: str  # xxh3_128 of facts, names and tensor bytes

    def part(self, prefix: str) -> dict[str, torch.Tensor]:
        """The tensors below `prefix`, without it."""
        return {
            name.removeprefix(f"{prefix}."): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(f"{prefix}.")
        }


def write_checkpoint(path: Path, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
    """Write `path` atomically; the file that stood there is kept as `previous-<name>`."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps({**facts, "format": _FORMAT})
    metadata = {"facts": text, "hash": _hash(text, tensors)}
    path.parent.mkdir(parents=True, exist_ok=True)
    new = _beside(path, "new")
    with published(new) as file:
        save_file(tensors, file.name, metadata=metadata)
    if path.exists():
        path.replace(_beside(path, "previous"))
    new.replace(path)
    sync_folder(path.parent)
    with published(path.with_suffix(".json")) as file:
        file.write(json.dumps(facts, indent=1).encode() + b"\n")


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and verify `path`; a torn, changed or foreign file is an IntegrityError."""
    if not path.is_file():
        raise DataError("there is no checkpoint", str(path), "train the run that makes it first")
    remedy = "delete the file; the run goes on from the one before, or from its start"
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            text, digest = metadata["facts"], metadata["hash"]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise IntegrityError(
            f"the checkpoint cannot be read: {error}", str(path), remedy
        ) from error
    if digest != _hash(text, tensors):
        raise IntegrityError("the checkpoint's content does not have its hash", str(path), remedy)
    facts = json.loads(text)
    if facts["format"] != _FORMAT:
        raise DataError(
            f"a checkpoint of format {facts['format']}; this cxr-engine reads {_FORMAT}",
            str(path),
            "install the version of cxr-engine that wrote it, or train again",
        )
    return Checkpoint(tensors=tensors, facts=facts, hash=digest)


def latest_good(path: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest sound one of `path` and its predecessor, and what was wrong with the others."""
    problems: list[str] = []
    # "new-…" stands alone for the moment between the two renames of `write_checkpoint`.
    for candidate in (path, _beside(path, "new"), _beside(path, "previous")):
        if candidate.is_file():
            try:
                return read_checkpoint(candidate), problems
            except IntegrityError as error:
                problems.append(f"{candidate.name}: {error.what}")
    return None, problems


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """State of the optimizer as "optimizer.<parameter index>.<key>"."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}.{key}": value
        for index, values in state.items()
        for key, value in values.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Inverse of `optimizer_tensors`, given the tensors below "optimizer"."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )


def rng_tensors(device: torch.device) -> dict[str, torch.Tensor]:
    """State of torch's generators as "rng.cpu" and, on a GPU, "rng.cuda"."""
    tensors = {"rng.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        tensors["rng.cuda"] = torch.cuda.get_rng_state(device)
    return tensors


def load_rng(tensors: dict[str, torch.Tensor], device: torch.device) -> None:
    """Inverse of `rng_tensors`, given the tensors below "rng"."""
    torch.set_rng_state(tensors["cpu"])
    if device.type == "cuda" and "cuda" in tensors:
        torch.cuda.set_rng_state(tensors["cuda"], device)


def model_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Weights and buffers as "model.<name>"."""
    return {f"model.{name}": tensor for name, tensor in model.state_dict().items()}


def _beside(path: Path, prefix: str) -> Path:
    return path.with_name(f"{prefix}-{path.name}")


def _hash(facts: str, tensors: dict[str, torch.Tensor]) -> str:
    digest = xxhash.xxh3_128(facts.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
