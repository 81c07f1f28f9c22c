"""What happened in a run folder: metrics.jsonl and metrics.csv are the truth, curves.png the picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from cxr_engine.shards.publish import published


class MetricLog:
    """One line per epoch of each run of a recipe, kept over interruptions."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "metrics.jsonl"

    def append(self, line: dict[str, Any]) -> None:
        """Add one epoch (`run`, `stage`, `epoch` and whatever was measured)."""
        self._write([*self.lines(), line])

    def forget(self, run: str, from_epoch: int) -> None:
        """Drop the epochs of `run` that are about to be trained again."""
        lines = self.lines()
        kept = [n for n in lines if n["run"] != run or n["epoch"] < from_epoch]
        if len(kept) < len(lines):
            self._write(kept)

    def lines(self) -> list[dict[str, Any]]:
        """All epochs so far, oldest first."""
        if not self._path.is_file():
            return []
        return [json.loads(line) for line in self._path.read_text("utf-8").splitlines()]

    def _write(self, lines: list[dict[str, Any]]) -> None:
        with published(self._path) as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
        flat = [{k: v for k, v in n.items() if not isinstance(v, dict)} for n in lines]
        with published(self._folder / "metrics.csv") as file:
            pl.DataFrame(flat, infer_schema_length=None).write_csv(file)


def draw_curves(lines: list[dict[str, Any]], path: Path) -> None:
    """Loss and mean AP over all epochs, stages side by side with their borders."""
    import matplotlib as mpl  # noqa: PLC0415  half a second that other commands need not wait for

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    figure, (loss, ap) = plt.subplots(1, 2, figsize=(11, 4), constrained_layout=True)
    x = range(1, len(lines) + 1)
    for axis, columns in (
        (loss, {"train_loss": "train", "val_loss": "validation"}),
        (ap, {"ap": "per view", "study_ap": "per study"}),
    ):
        for column, label in columns.items():
            axis.plot(x, [line[column] for line in lines], marker=".", label=label)
        axis.set_xlabel("epoch, all stages")
        axis.set_xlim(0.4, len(lines) + 0.6)
        axis.grid(alpha=0.3)
        axis.margins(y=0.12)  # room for the names of the stages
        for i in range(1, len(lines)):
            if lines[i]["run"] != lines[i - 1]["run"]:
                axis.axvline(i + 0.5, color="black", linestyle="--", linewidth=1)
                axis.text(
                    i + 0.6, 0.98, lines[i]["run"], va="top", transform=axis.get_xaxis_transform()
                )
        if lines:
            axis.text(0.6, 0.98, lines[0]["run"], va="top", transform=axis.get_xaxis_transform())
    loss.set_title("loss")
    ap.set_title("mean average precision, validation")
    loss.legend(loc="lower left")
    ap.legend(loc="lower right")
    with published(path) as file:
        figure.savefig(file, format="png", dpi=120)
    plt.close(figure)
