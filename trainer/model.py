"""The network: a timm backbone with one logit per class."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from torch import nn

from cxr_engine.shards.errors import ResourceError, UsageError
from cxr_engine.trainer.recipe import ModelConfig

LOGIT_SCALE = 1.0  # probability = sigmoid(LOGIT_SCALE · logit); saved with every prediction


def build_model(
    config: ModelConfig, n_classes: int, channels: int, *, pretrained: str = "none"
) -> nn.Module:
    """Channels-last network (B, channels, S, S) -> (B, n_classes) logits.

    `pretrained` is "none", "hub" (timm downloads), or the path of a weights file. A file's classifier is
    dropped where its classes differ in number; its first layer is summed over colours for one channel.
    """
    overlay = None
    if pretrained not in ("none", "hub"):
        if not Path(pretrained).is_file():
            raise UsageError("the weights file does not exist", pretrained, "name an existing file")
        overlay = {"file": pretrained}
    try:
        model = timm.create_model(
            config.backbone,
            pretrained=pretrained != "none",
            pretrained_cfg_overlay=overlay,
            in_chans=channels,
            num_classes=n_classes,
            drop_rate=config.drop_rate,
        )
    except (OSError, RuntimeError) as error:
        if pretrained == "none":
            raise UsageError(
                f"timm cannot build it: {error}",
                f"model.backbone = {config.backbone}",
                "name another",
            ) from error
        raise ResourceError(
            f"the weights cannot be had: {_first_line(error)}",
            f"--pretrained {pretrained} for {config.backbone}",
            "fetch timm's file on a machine with internet and give its path: --pretrained FILE",
        ) from error
    # torch's stubs do not know that a module takes a memory format.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
