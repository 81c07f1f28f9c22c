"""A contact sheet: what is stored, and beside it what the network sees, from the real stream."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cxr_engine.engine import Batch, Loader, LoaderConfig
from cxr_engine.shards.publish import published

_GAP = 8  # pixels between pairs
_CAPTION = 34  # pixels below each pair
_VIEWS = ("frontal", "lateral", "view unknown")


def contact_sheet(
    path: Path, data: Path, config: LoaderConfig, *, pairs: int, columns: int
) -> None:
    """Write a PNG of `pairs` samples of the first batch of `config`: plain left, augmented right."""
    config = config.model_copy(update={"global_batch_size": pairs})
    plain = config.model_copy(update={"augment": "none"})
    with Loader(data, plain, "cpu") as left, Loader(data, config, "cpu") as right:
        before, after = next(iter(left)), next(iter(right))
        names = left.class_names
    side = config.image_size
    rows = -(-pairs // columns)
    tile_width, tile_height = 2 * side + _GAP, side + _CAPTION
    sheet = Image.new("L", (columns * tile_width + _GAP, rows * tile_height + _GAP), 255)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(11)
    for i in range(pairs):
        x = _GAP + (i % columns) * tile_width
        y = _GAP + (i // columns) * tile_height
        for offset, batch in ((0, before), (side, after)):
            sheet.paste(Image.fromarray(gray_levels(batch, i, config)), (x + offset, y))
        for line, text in enumerate(_captions(before, i, names)):
            draw.text((x, y + side + 2 + 14 * line), _fit(text, draw, 2 * side, font), 0, font)
    with published(path) as file:
        sheet.save(file, "PNG")


def gray_levels(batch: Batch, i: int, config: LoaderConfig) -> NDArray[np.uint8]:
    """(S, S) uint8: sample i of a batch with its normalisation undone, first channel."""
    mean, std = config.normalisation
    plane = batch.images[i, 0].float().cpu().numpy() * std[0] + mean[0]
    return np.rint(plane * 255).clip(0, 255).astype(np.uint8)


def _captions(batch: Batch, i: int, names: tuple[str, ...]) -> tuple[str, str]:
    present = [
        name for name, target in zip(names, batch.targets[i].tolist(), strict=True) if target
    ]
    return f"{batch.keys[i]} ({_VIEWS[int(batch.view[i])]})", ", ".join(
        present
    ) or "no positive label"


def _fit(
    text: str,
    draw: ImageDraw.ImageDraw,
    width: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> str:
    while draw.textlength(text, font) > width:
        text = text.removesuffix("…")[:-1] + "…"
    return text
