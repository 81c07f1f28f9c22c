"""The schedule's values and the loss over known labels."""

from __future__ import annotations

import math

import pytest
import torch

from cxr_engine.trainer.loss import binary_cross_entropy
from cxr_engine.trainer.optim import learning_rate


def test_learning_rate_warms_up_linearly_then_falls_by_half_a_cosine() -> None:
    rates = [learning_rate(s, max_lr=1e-3, warmup_steps=10, total_steps=110) for s in range(111)]
    assert rates[0] == 0
    assert rates[5] == pytest.approx(5e-4)
    assert max(rates) == rates[10] == 1e-3
    assert rates[60] == pytest.approx(5e-4)
    assert rates[35] == pytest.approx(1e-3 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert rates[110] == pytest.approx(0, abs=1e-12)


def test_learning_rate_equals_transformers_cosine_with_warmup() -> None:
    """Lambda of get_cosine_schedule_with_warmup with num_cycles = 0.5, written out."""
    for step in range(0, 300, 7):
        if step < 30:
            factor = step / 30
        else:
            progress = (step - 30) / (300 - 30)
            factor = max(0.0, 0.5 * (1.0 + math.cos(math.pi * 0.5 * 2.0 * progress)))
        got = learning_rate(step, max_lr=2e-3, warmup_steps=30, total_steps=300)
        assert got == pytest.approx(2e-3 * factor, abs=1e-15)


def test_unknown_labels_have_neither_loss_nor_gradient() -> None:
    logits = torch.tensor([[0.3, -2.0], [1.5, 100.0]], requires_grad=True)
    targets = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    known = torch.tensor([[True, True], [True, False]])
    loss = binary_cross_entropy(logits, targets, known)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        logits.flatten()[:3], targets.flatten()[:3]
    )
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[1, 1] == 0


def test_a_batch_without_known_labels_has_loss_zero() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    loss = binary_cross_entropy(logits, torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss == 0


def test_half_precision_logits_give_a_finite_float32_loss() -> None:
    logits = torch.tensor([[60000.0, -60000.0]], dtype=torch.float16)
    loss = binary_cross_entropy(
        logits, torch.tensor([[0.0, 1.0]]), torch.ones(1, 2, dtype=torch.bool)
    )
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
