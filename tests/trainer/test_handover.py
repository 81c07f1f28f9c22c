"""Weights go from stage to stage by the name of the finding."""

from __future__ import annotations

import torch

from cxr_engine.trainer.checkpoint import Checkpoint, model_tensors
from cxr_engine.trainer.handover import hand_over
from cxr_engine.trainer.model import build_model
from cxr_engine.trainer.recipe import ModelConfig

NIH = ("Effusion", "Hernia", "No Finding", "Pleural_Thickening")
CXR_LT = ("Hernia", "Mass", "Normal", "Pleural Effusion", "Pleural Thickening")


def model_of(classes: tuple[str, ...], seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build_model(ModelConfig(backbone="test_resnet"), len(classes), 1)


def checkpoint_of(model: torch.nn.Module, classes: tuple[str, ...]) -> Checkpoint:
    return Checkpoint(tensors=model_tensors(model), facts={"class_names": list(classes)}, hash="")


def test_the_same_classes_take_over_every_weight() -> None:
    before, after = model_of(NIH, 0), model_of(NIH, 1)
    assert hand_over(after, checkpoint_of(before, NIH), NIH) == []
    x = torch.randn(2, 1, 64, 64)
    torch.testing.assert_close(after.eval()(x), before.eval()(x))


def test_other_classes_go_by_the_name_of_the_finding_and_the_rest_begins_anew() -> None:
    before, after = model_of(NIH, 0), model_of(CXR_LT, 1)
    mass = after.get_classifier().weight[1].detach().clone()
    assert hand_over(after, checkpoint_of(before, NIH), CXR_LT) == ["Mass"]
    x = torch.randn(2, 1, 64, 64)
    old, new = before.eval()(x), after.eval()(x)
    for name, spelled in (
        ("Effusion", "Pleural Effusion"),
        ("Hernia", "Hernia"),
        ("No Finding", "Normal"),
        ("Pleural_Thickening", "Pleural Thickening"),
    ):
        torch.testing.assert_close(new[:, CXR_LT.index(spelled)], old[:, NIH.index(name)])
    torch.testing.assert_close(after.get_classifier().weight[1], mass)


def test_a_reordered_class_list_is_not_taken_by_position() -> None:
    reordered = NIH[::-1]
    before, after = model_of(NIH, 0), model_of(reordered, 1)
    assert hand_over(after, checkpoint_of(before, NIH), reordered) == []
    x = torch.randn(2, 1, 64, 64)
    torch.testing.assert_close(after.eval()(x), before.eval()(x).flip(1))
