"""Small pictures and tables that the tests of shards/ are run on."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_engine.shards.sources import SourceTable
from cxr_engine.shards.sources.table import read_table

FINDINGS = ("Mass", "Edema")


def draw(seed: int, height: int = 40, width: int = 48) -> Image.Image:
    """A smooth gray picture, another one for each seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4), np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


@dataclass(frozen=True, slots=True)
class Tree:
    """A CSV file beside a folder of images; rows may be edited before they are written."""

    folder: Path
    rows: list[dict[str, str]]

    @property
    def csv(self) -> Path:
        return self.folder / "labels.csv"

    @property
    def images(self) -> Path:
        return self.folder / "images"

    def write(self) -> Tree:
        with self.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
        return self

    def read(self) -> SourceTable:
        return read_table(self.csv, self.images)


@pytest.fixture
def make_tree(tmp_path: Path) -> Callable[..., Tree]:
    """Patients with two studies each, a study with a frontal and a lateral view."""

    def make(n_patients: int = 4, name: str = "tree") -> Tree:
        folder = tmp_path / name
        (folder / "images").mkdir(parents=True)
        rows = []
        for number in range(4 * n_patients):
            patient, study, view = number // 4, number // 2, ("PA", "LATERAL")[number % 2]
            image = f"p{patient}_s{study}_{view}.png"
            draw(number).save(folder / "images" / image)
            mass, edema = ("1", "0")[study % 2], ("0", "1.0", "", "-1")[study % 4]
            rows.append(
                {"image": image, "patient": f"p{patient}", "study": f"s{study}", "view": view}
                | dict(zip(FINDINGS, (mass, edema), strict=True))
            )
        return Tree(folder, rows).write()

    return make
