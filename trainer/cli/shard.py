"""cxr-engine shard SOURCE IN OUT: a data set as downloaded becomes tars and a manifest."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr_engine.trainer.cli.progress import Reporter

if TYPE_CHECKING:
    from cxr_engine.shards import Report, ShardOptions, SourceTable


class Fit(StrEnum):
    """How a picture becomes square."""

    squash = "squash"
    pad = "pad"


shard = typer.Typer(
    no_args_is_help=True,
    help="Make shards: SOURCE is table (any CSV and its images) or nih (ChestX-ray14 as downloaded).",
)

In = Annotated[Path, typer.Argument(metavar="IN", help="The folder as downloaded.")]
Out = Annotated[
    Path, typer.Argument(metavar="OUT", help="A folder that is empty or does not exist.")
]
Size = Annotated[int, typer.Option(min=16, max=4096, help="Side of the stored pictures in pixels.")]
Quality = Annotated[int, typer.Option(min=1, max=100, help="JPEG quality.")]
FitOption = Annotated[Fit, typer.Option(help="squash ignores the aspect ratio, pad adds black.")]
ValFraction = Annotated[
    float,
    typer.Option(min=0.0, max=0.9, help="Share of patients for validation, if IN has no split."),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the split and of the order in the shards.")]
ShardSamples = Annotated[int, typer.Option(min=1, help="Samples in a shard at most.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes; all processors by default.")]
AllowMissing = Annotated[
    int,
    typer.Option(min=0, help="Missing or unreadable pictures that are dropped rather than fatal."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]


@shard.command("table")
def shard_table(
    source: In,
    out: Out,
    table: Annotated[
        Path | None, typer.Option(help="The CSV; by default the only one in IN.")
    ] = None,
    image: Annotated[str | None, typer.Option(help="Column of the picture's file name.")] = None,
    patient: Annotated[
        str | None,
        typer.Option(help="Column of the patient; 'none': each picture its own patient."),
    ] = None,
    study: Annotated[str | None, typer.Option(help="Column of the study.")] = None,
    view: Annotated[
        str | None, typer.Option(help="Column of the view position (PA, AP, LATERAL).")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Column of the split (train, val, test, dev).")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Label columns, comma-separated; by default all that hold 1, 0, -1."),
    ] = None,
    size: Size = 576,
    quality: Quality = 95,
    fit: FitOption = Fit.squash,
    val_fraction: ValFraction = 0.2,
    seed: Seed = 0,
    shard_samples: ShardSamples = 1000,
    jobs: Jobs = None,
    allow_missing: AllowMissing = 0,
    as_json: Json = False,
) -> None:
    """Any CSV and the pictures it names.

    Example: cxr-engine shard table cxr-dev shards --labels "Mass,Nodule"
    """
    from cxr_engine.shards import ShardOptions, TableColumns, read_table

    columns = TableColumns(
        image=image,
        patient=patient,
        study=study,
        view=view,
        split=split,
        labels=tuple(name.strip() for name in labels.split(",")) if labels else None,
    )
    options = ShardOptions(
        size=size,
        quality=quality,
        fit=fit.value,
        val_fraction=val_fraction,
        seed=seed,
        shard_samples=shard_samples,
        jobs=jobs,
        allow_missing=allow_missing,
    )
    _build(read_table(table or _only_table(source), source, columns), out, options, as_json)


@shard.command("nih")
def shard_nih(
    source: In,
    out: Out,
    size: Size = 576,
    quality: Quality = 95,
    fit: FitOption = Fit.squash,
    val_fraction: ValFraction = 0.2,
    seed: Seed = 0,
    shard_samples: ShardSamples = 1000,
    jobs: Jobs = None,
    allow_missing: AllowMissing = 0,
    as_json: Json = False,
) -> None:
    """NIH ChestX-ray14 as downloaded: Data_Entry_2017*.csv, images, and the official lists if there.

    Example: cxr-engine shard nih ChestX-ray14 shards --size 576
    """
    from cxr_engine.shards import ShardOptions, read_nih

    options = ShardOptions(
        size=size,
        quality=quality,
        fit=fit.value,
        val_fraction=val_fraction,
        seed=seed,
        shard_samples=shard_samples,
        jobs=jobs,
        allow_missing=allow_missing,
    )
    _build(read_nih(source), out, options, as_json)


def build_with_progress(
    table: SourceTable, out: Path, options: ShardOptions, reporter: Reporter
) -> Report:
    """`build_shards`, with what was guessed, how far it is and what is odd on stderr."""
    from cxr_engine.shards import build_shards

    for note in table.notes:
        reporter.talk(note)
    report = build_shards(
        table, out, options, lambda done, total: reporter.tick(done, total, "pictures sharded")
    )
    for note in report.notes:
        if note not in table.notes:
            reporter.talk(note)
    return report


def _build(table: SourceTable, out: Path, options: ShardOptions, as_json: bool) -> None:
    with Reporter() as reporter:
        report = build_with_progress(table, out, options, reporter)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=1))
        return
    dropped = ", ".join(f"{n} {reason}" for reason, n in report.dropped.items() if n)
    typer.echo(
        f"{report.rows_read} rows read, {report.rows_written} written, dropped: {dropped or 'none'}"
    )
    for name, counts in report.splits.items():
        typer.echo(f"{name}: " + ", ".join(f"{n} {what}" for what, n in counts.items()))
    typer.echo(
        f"{len(report.classes)} classes, {report.shards} shards, {report.bytes / 1e6:.1f} MB in {out}"
    )


def _only_table(folder: Path) -> Path:
    from cxr_engine.shards import UsageError

    tables = sorted(p for p in folder.glob("*") if p.name.lower().endswith((".csv", ".csv.gz")))
    if len(tables) != 1:
        found = ", ".join(p.name for p in tables) or "none"
        raise UsageError(
            "which table?", f"{folder}, tables in it: {found}", "name it: --table FILE"
        )
    return tables[0]
