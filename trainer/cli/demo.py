"""cxr-engine demo: the whole line on drawn X-rays, or on the user's own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr_engine.trainer.cli.progress import Reporter

if TYPE_CHECKING:
    from cxr_engine.shards import SourceTable

_MARK = "made-by-cxr-engine-demo"
_PARTS = ("drawn", "shards", "run")
_STORED_SIZE = 128  # pixels: stage 2 reads 96


def demo(
    out: Annotated[Path, typer.Option(help="Folder for pictures, shards and the run.")] = Path(
        "cxr-demo"
    ),
    images: Annotated[
        Path | None, typer.Option(help="Your own pictures instead of drawn ones; needs --labels.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Your own CSV: one row per picture.")] = None,
    count: Annotated[
        int,
        typer.Option(min=50, help="Drawn pictures; with few, rare findings go without positives."),
    ] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of pictures, split and training.")] = 0,
) -> None:
    """Draw X-rays with findings, shard them, train two stages, evaluate per view and per study.

    Example: cxr-engine demo --images pictures --labels labels.csv
    """
    from rich.console import Console

    from cxr_engine.engine import LoaderConfig
    from cxr_engine.shards import ShardOptions, TableColumns, UsageError, read_table
    from cxr_engine.trainer.cli.account import build_with_progress
    from cxr_engine.trainer.cli.evaluate import metrics_table
    from cxr_engine.trainer.evaluate import averages, evaluate
    from cxr_engine.trainer.predictions import read_predictions
    from cxr_engine.trainer.recipe import load_recipe
    from cxr_engine.trainer.schedule import run_context, runs_of, train
    from cxr_engine.trainer.sheet import contact_sheet

    if (images is None) != (labels is None):
        raise UsageError(
            "--images and --labels belong together", "cxr-engine demo", "give both, or neither"
        )
    if images is not None and labels is not None:
        table = read_table(labels, images, TableColumns())  # before anything is written
    _prepare(out)
    with Reporter() as reporter:
        if images is None:
            table = _draw(out / "drawn", count, seed, reporter)
        reporter.talk(f"2 of 4  sharding {table.frame.height} pictures into {out / 'shards'}")
        # A first look puts up with what `shard` refuses: rare findings go without positives.
        options = ShardOptions(
            size=_STORED_SIZE,
            seed=seed,
            shard_samples=250,
            allow_duplicates=True,
            allow_empty_val=True,
        )
        report = build_with_progress(table, out / "shards", options, reporter)
        sheet = LoaderConfig(image_size=_STORED_SIZE, channels=1, augment="cxr-lt-2024", seed=seed)
        contact_sheet(
            out / "sheet.png", out / "shards", sheet, pairs=min(18, report.rows_written), columns=3
        )

        reporter.talk(f"3 of 4  training stages 1 and 2 into {out / 'run'}")
        recipe = load_recipe("demo", (f"seed={seed}",))
        context = run_context(
            data=out / "shards",
            folder=out / "run",
            device=None,
            pretrained="none",
            threads=None,
            talk=reporter.talk,
            tick=reporter.tick,
        )
        train(recipe, runs_of(recipe, "all", None), context)
        reporter.talk("4 of 4  evaluating on patients the network has never seen")

    console = Console(highlight=False)
    scores = {}
    for name in recipe.main_line:
        predictions = read_predictions(out / "run" / name / "predictions" / "val.parquet")
        per_class = evaluate(predictions)
        scores[name] = averages(per_class)
    console.print(metrics_table(per_class, f"validation after {name}"))
    for name, means in scores.items():
        ap, study_ap = means["ap"], means["study_ap"]
        typer.echo(
            f"{name}: mAP {ap.mean:.4f} per view, {study_ap.mean:.4f} per study, over {ap.n_classes} classes"
        )
    typer.echo(f"pictures as stored and as augmented: {out / 'sheet.png'}")
    typer.echo(f"curves: {out / 'run' / 'curves.png'}")
    typer.echo(f"again, per class: cxr-engine evaluate {out / 'run'}")


def _prepare(out: Path) -> None:
    """An empty folder, or one of an earlier demo, whose parts are removed."""
    from cxr_engine.shards import UsageError

    if out.exists() and not out.is_dir():
        raise UsageError("the output is not a folder", str(out), "name another with --out")
    if out.exists() and not (out / _MARK).is_file() and any(out.iterdir()):
        raise UsageError(
            "the folder is not empty and no earlier demo made it",
            str(out),
            "name another with --out",
        )
    for part in _PARTS:
        shutil.rmtree(out / part, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARK).touch()


def _draw(folder: Path, count: int, seed: int, reporter: Reporter) -> SourceTable:
    from cxr_engine.shards import TableColumns, read_table
    from cxr_engine.shards.phantom import write_phantoms

    reporter.talk(f"1 of 4  drawing {count} radiographs into {folder}")
    labels = write_phantoms(
        folder,
        count,
        seed,
        progress=lambda done, total: reporter.tick(done, total, "radiographs drawn"),
    )
    return read_table(labels, folder / "images", TableColumns())
