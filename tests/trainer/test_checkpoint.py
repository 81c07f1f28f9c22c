"""Checkpoints: whole or not at all, verified, with the one before as a fallback."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from cxr_engine.shards.errors import DataError, IntegrityError
from cxr_engine.trainer.checkpoint import (
    latest_good,
    load_optimizer,
    model_tensors,
    optimizer_tensors,
    read_checkpoint,
    write_checkpoint,
)


def save(path: Path, value: float, epoch: int) -> None:
    tensors = {"model.weight": torch.full((64, 3), value), "model.steps": torch.tensor(epoch)}
    write_checkpoint(path, tensors, {"epoch": epoch})


def test_tensors_and_facts_come_back(tmp_path: Path) -> None:
    save(tmp_path / "last.safetensors", 2.5, 4)
    checkpoint = read_checkpoint(tmp_path / "last.safetensors")
    assert torch.equal(checkpoint.part("model")["weight"], torch.full((64, 3), 2.5))
    assert checkpoint.facts["epoch"] == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.json", "last.safetensors"]


def test_no_changed_byte_is_loaded_silently(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save(path, 2.5, 4)
    good = path.read_bytes()
    rng = random.Random(0)
    unnoticed = []
    for _ in range(300):
        data = bytearray(good)
        at = rng.randrange(len(data))
        data[at] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(data))
        try:
            read_checkpoint(path)
        except IntegrityError:
            continue
        unnoticed.append(at)
    assert not unnoticed
    for cut in range(0, len(good), 37):
        path.write_bytes(good[:cut])
        with pytest.raises(IntegrityError):
            read_checkpoint(path)


def test_a_damaged_last_falls_back_to_the_one_before_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save(path, 1.0, 1)
    save(path, 2.0, 2)
    path.write_bytes(path.read_bytes()[:-10])
    checkpoint, problems = latest_good(path)
    assert checkpoint is not None
    assert checkpoint.facts["epoch"] == 1
    assert len(problems) == 1
    assert "last.safetensors" in problems[0]


def test_a_kill_between_the_renames_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save(path, 1.0, 1)
    save(path, 2.0, 2)
    path.rename(tmp_path / "new-last.safetensors")
    checkpoint, problems = latest_good(path)
    assert checkpoint is not None
    assert checkpoint.facts["epoch"] == 2
    assert problems == []


def test_a_write_that_fails_leaves_the_last_one_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.safetensors"
    save(path, 1.0, 1)

    def full_disk(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cxr_engine.trainer.checkpoint.save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        save(path, 2.0, 2)
    assert read_checkpoint(path).facts["epoch"] == 1
    assert not list(tmp_path.glob("*.partial"))


def test_an_absent_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no checkpoint"):
        read_checkpoint(tmp_path / "best.safetensors")


def test_a_restored_optimizer_takes_the_same_steps() -> None:
    def steps(model: torch.nn.Module, optimizer: torch.optim.Optimizer, n: int) -> None:
        for i in range(n):
            optimizer.zero_grad()
            model(torch.full((2, 4), float(i))).square().sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    steps(model, optimizer, 3)
    saved = {k: v.clone() for k, v in (model_tensors(model) | optimizer_tensors(optimizer)).items()}
    steps(model, optimizer, 3)

    other = torch.nn.Linear(4, 2)
    other.load_state_dict({k[6:]: v for k, v in saved.items() if k.startswith("model.")})
    again = torch.optim.AdamW(other.parameters(), lr=0.1)
    load_optimizer(again, {k[10:]: v for k, v in saved.items() if k.startswith("optimizer.")})
    steps(other, again, 3)
    assert torch.equal(other.weight, model.weight)
