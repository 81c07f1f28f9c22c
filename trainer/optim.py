"""Optimizer and learning-rate schedule of one stage."""

from __future__ import annotations

import math

import torch
from torch import nn


def learning_rate(step: int, *, max_lr: float, warmup_steps: int, total_steps: int) -> float:
    """Linear from 0 over the warm-up, then half a cosine down to 0 (spec: HF's cosine with warm-up).

    `step` counts optimizer updates from 0; the value is for the update about to be made.
    """
    if step < warmup_steps:
        return max_lr * step / warmup_steps
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return max_lr * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


def build_optimizer(
    model: nn.Module, *, weight_decay: float, device: torch.device
) -> torch.optim.AdamW:
    """AdamW over all trainable parameters; the rate is set before each step."""
    return torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=0.0,
        weight_decay=weight_decay,
        fused=device.type == "cuda",
    )
