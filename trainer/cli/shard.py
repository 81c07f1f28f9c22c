"""cxr-engine shard SOURCE IN OUT: a data set as downloaded becomes tars and a manifest."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr_engine.trainer.cli.progress import Reporter

if TYPE_CHECKING:
    from cxr_engine.shards import Report, ShardOptions, SourceTable, TableColumns

_TABLE = "Columns, for SOURCE table (guessed for usual names)"


class Source(StrEnum):
    """The layouts that can be read."""

    table = "table"
    nih = "nih"


class Fit(StrEnum):
    """How a picture becomes square."""

    squash = "squash"
    pad = "pad"


def _column(help_text: str) -> typer.models.OptionInfo:
    return typer.Option(help=help_text, metavar="COLUMN", rich_help_panel=_TABLE)


def shard(
    source: Annotated[
        Source,
        typer.Argument(
            metavar="SOURCE", help="table: any CSV and its pictures; nih: ChestX-ray14."
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="IN", help="The folder as downloaded.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="A folder that is empty or does not exist.")
    ],
    size: Annotated[
        int, typer.Option(min=16, max=4096, help="Side of the stored pictures in pixels.")
    ] = 576,
    quality: Annotated[int, typer.Option(min=1, max=100, help="JPEG quality.")] = 95,
    fit: Annotated[
        Fit, typer.Option(help="squash ignores the aspect ratio, pad adds black.")
    ] = Fit.squash,
    val_fraction: Annotated[
        float,
        typer.Option(
            min=0.0, max=0.9, help="Share of patients for validation, if IN has no split."
        ),
    ] = 0.2,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the split and of the order in the shards.")
    ] = 0,
    shard_samples: Annotated[int, typer.Option(min=1, help="Samples in a shard at most.")] = 1000,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes; all processors by default.")
    ] = None,
    allow_missing: Annotated[
        int,
        typer.Option(
            min=0, help="Missing or unreadable pictures that are dropped rather than fatal."
        ),
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    table: Annotated[
        Path | None,
        typer.Option(help="The CSV; by default the only one in IN.", rich_help_panel=_TABLE),
    ] = None,
    image: Annotated[str | None, _column("The picture's file.")] = None,
    patient: Annotated[str | None, _column("The patient; 'none': each picture is its own.")] = None,
    study: Annotated[str | None, _column("The study.")] = None,
    view: Annotated[str | None, _column("The view position: PA, AP, LATERAL.")] = None,
    split: Annotated[str | None, _column("The split: train, val, test, dev.")] = None,
    labels: Annotated[
        str | None, _column("Labels, with commas; by default all that hold 1, 0, -1.")
    ] = None,
) -> None:
    """Make shards of a data set; every row is accounted for, and the manifest is written last.

    Example: cxr-engine shard table my-xrays shards --labels "Mass,Nodule"
    """
    from cxr_engine.shards import ShardOptions, TableColumns

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
    columns = TableColumns(
        image=image,
        patient=patient,
        study=study,
        view=view,
        split=split,
        labels=tuple(name.strip() for name in labels.split(",")) if labels else None,
    )
    with Reporter() as reporter:
        rows = _read(source, folder, table, columns)
        report = build_with_progress(rows, out, options, reporter)
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


def _read(source: Source, folder: Path, table: Path | None, columns: TableColumns) -> SourceTable:
    from cxr_engine.shards import TableColumns, UsageError, read_nih, read_table

    if source is Source.table:
        return read_table(table or _only_table(folder), folder, columns)
    if table is not None or columns != TableColumns():
        raise UsageError(
            f"--table and the column options are for SOURCE table, not {source}",
            f"cxr-engine shard {source}",
            "leave them out, or shard it as a table",
        )
    return read_nih(folder)


def _only_table(folder: Path) -> Path:
    from cxr_engine.shards import UsageError

    tables = sorted(p for p in folder.glob("*") if p.name.lower().endswith((".csv", ".csv.gz")))
    if len(tables) != 1:
        found = ", ".join(p.name for p in tables) or "none"
        raise UsageError(
            "which table?", f"{folder}, tables in it: {found}", "name it: --table FILE"
        )
    return tables[0]
