"""One vocabulary for view positions: frontal, lateral, or unknown."""

from __future__ import annotations

import re

import polars as pl

VIEWS = ("frontal", "lateral", "unknown")  # the index is the code: 0, 1, 2

# The words of MIMIC-CXR, NIH, PadChest, CheXpert, IU X-ray and the COVID collections. They are
# compared as a whole: published code that looks for "AP|PA" inside takes "SPARE" for a frontal.
_FRONTAL = (
    "frontal", "front", "ap", "pa", "ap axial", "ap lld", "ap rld", "pa lld", "pa rld",
    "ap supine", "ap erect", "ap horizontal", "ap portable", "pa erect", "posteroanterior",
    "anteroposterior", "postero anterior", "antero posterior",
)  # fmt: skip
_LATERAL = (
    "lateral", "lat", "l", "ll", "rl", "left lateral", "right lateral", "xtable lateral",
    "cross table lateral", "swimmers",
)  # fmt: skip
_VIEW_OF = dict.fromkeys(_FRONTAL, "frontal") | dict.fromkeys(_LATERAL, "lateral")


def view_of(position: str | None) -> str:
    """The view that a raw view position stands for.

    Case, blanks, hyphens and underscores do not matter. Obliques (LAO, RAO), a bare decubitus,
    blanks and whatever is not in the vocabulary are "unknown".
    """
    words = re.sub(r"[\s_-]+", " ", position or "").strip().lower()
    return _VIEW_OF.get(words, "unknown")


def views_of(positions: pl.Series) -> pl.Series:
    """`view_of` for a column of raw view positions; null is unknown."""
    raw = positions.fill_null("")
    vocabulary = {position: view_of(position) for position in raw.unique()}
    return raw.replace_strict(vocabulary, return_dtype=pl.String)
