"""What the loader hands out."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """B samples on the device; the batch owns its memory.

    images   (B, 1|3, S, S) float32 or float16, channels-last, normalised
    targets  (B, C) float32, 1 for a positive finding, else 0
    known    (B, C) bool, False where the label is unknown
    valid    (B,) bool, False for rows that only pad the batch
    keys     B sample keys
    study    (B,) int64, code of the study in the manifest
    view     (B,) uint8, 0 frontal, 1 lateral, 2 unknown
    """

    images: torch.Tensor
    targets: torch.Tensor
    known: torch.Tensor
    valid: torch.Tensor
    keys: tuple[str, ...]
    study: torch.Tensor
    view: torch.Tensor

    def __len__(self) -> int:
        return len(self.keys)
