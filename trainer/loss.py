"""Losses in float32 on logits, over known labels only."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def binary_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, known: torch.Tensor
) -> torch.Tensor:
    """Mean binary cross-entropy over the known entries; 0 where none is known.

    logits   (B, C) any float type
    targets  (B, C) float32, 0 or 1
    known    (B, C) bool
    """
    entries = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
    return torch.where(known, entries, 0.0).sum() / known.sum().clamp(min=1)
