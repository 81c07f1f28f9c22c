"""cxr-engine shard SOURCE IN OUT: a data set as downloaded becomes tars and a manifest."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cxr_engine.trainer.cli.account import (
    build_with_progress,
    estimate_lines,
    estimate_with_progress,
    report_lines,
)
from cxr_engine.trainer.cli.progress import Reporter
from cxr_engine.trainer.cli.sources import Source, SourceFlags, read_source

_IMAGES = "Images"
_ROWS = "Rows and splits"
_CHECKS = "What is put up with, and checks"
_LABELS = "Labels (as SOURCE takes them)"
_TABLE = "Columns, for SOURCE table (guessed for usual names)"


class Fit(StrEnum):
    """How a picture becomes square."""

    squash = "squash"
    pad = "pad"
    crop = "crop"


class Encoding(StrEnum):
    """How a picture is stored."""

    jpeg = "jpeg"
    png8 = "png8"
    png16 = "png16"


def _column(help_text: str) -> typer.models.OptionInfo:
    return typer.Option(help=help_text, metavar="COLUMN", rich_help_panel=_TABLE)


def shard(
    source: Annotated[
        Source,
        typer.Argument(
            metavar="SOURCE",
            help=f"{', '.join(Source)}; auto looks at the folder, table is any CSV and its pictures.",
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="IN", help="The folder as downloaded.")],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="A folder that is empty or does not exist, or where this command was interrupted.",
        ),
    ],
    sizes: Annotated[
        str,
        typer.Option(
            "--sizes",
            "--size",
            metavar="PIXELS,…",
            help="Side of the stored pictures; of several, smaller ones are copies beside the "
            "largest, for stages that train on small pictures.",
            rich_help_panel=_IMAGES,
        ),
    ] = "576",
    quality: Annotated[
        int, typer.Option(min=1, max=100, help="JPEG quality.", rich_help_panel=_IMAGES)
    ] = 95,
    fit: Annotated[
        Fit,
        typer.Option(
            help="squash ignores the aspect ratio, pad adds black, crop keeps the middle.",
            rich_help_panel=_IMAGES,
        ),
    ] = Fit.squash,
    window: Annotated[
        str,
        typer.Option(
            help="What becomes black and white of more than 8 bits: full, bits (the significant "
            "ones), percentile:LOW-HIGH, dicom (the file's own).",
            rich_help_panel=_IMAGES,
        ),
    ] = "full",
    encoding: Annotated[
        Encoding, typer.Option(help="png8 and png16 are lossless.", rich_help_panel=_IMAGES)
    ] = Encoding.jpeg,
    keep_original: Annotated[
        bool,
        typer.Option(
            help="Keep the bytes of a picture that is what is asked already.",
            rich_help_panel=_IMAGES,
        ),
    ] = True,
    val_fraction: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=0.9,
            help="Share of patients for validation, if IN has no split.",
            rich_help_panel=_ROWS,
        ),
    ] = 0.2,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            help="Seed of the split, of --limit and of the order in the shards.",
            rich_help_panel=_ROWS,
        ),
    ] = 0,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="A first try: whole patients until they bring this many pictures.",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    shard_samples: Annotated[
        int, typer.Option(min=1, help="Samples in a shard at most.", rich_help_panel=_ROWS)
    ] = 1000,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="SHARDS",
            help="A data set whose patients must not be in other splits here; repeatable.",
            rich_help_panel=_CHECKS,
        ),
    ] = None,
    allow_missing: Annotated[
        str,
        typer.Option(
            metavar="N|all",
            help="Missing or unreadable pictures that are dropped rather than fatal.",
            rich_help_panel=_CHECKS,
        ),
    ] = "0",
    allow_duplicates: Annotated[
        bool,
        typer.Option(
            "--allow-duplicates",
            help="Identical pictures of different patients are kept rather than fatal.",
            rich_help_panel=_CHECKS,
        ),
    ] = False,
    allow_empty_val: Annotated[
        bool,
        typer.Option(
            "--allow-empty-val",
            help="Classes may be without positives in the validation split made here.",
            rich_help_panel=_CHECKS,
        ),
    ] = False,
    audit: Annotated[
        bool,
        typer.Option(
            "--audit",
            help="Decode each written picture once more from its shard.",
            rich_help_panel=_CHECKS,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Count rows, estimate bytes and time, and write nothing."),
    ] = False,
    break_lock: Annotated[
        bool,
        typer.Option(
            "--break-lock",
            help="Take the place of a run on another host that is known to have ended.",
        ),
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes; all processors by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|NAMES",
            help="mimic, dicom: the file of labels; table, padchest: names of classes, with commas "
            "(by default all columns that hold 1, 0, -1; all labels).",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    uncertain: Annotated[
        str | None,
        typer.Option(
            metavar="POLICY",
            help="Labels of -1: unknown, positive, negative, or drop the row.",
            show_default="unknown",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    blank: Annotated[
        str | None,
        typer.Option(
            metavar="POLICY",
            help="Blank labels: unknown or negative.",
            show_default="unknown",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    removal: Annotated[
        bool | None,
        typer.Option(
            help="cxr-lt-2026: leave out what the official removal list names.",
            show_default="removal",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    id_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="dicom: a secret key; patient, study and picture ids become keyed hashes.",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(help="The CSV; by default the only one in IN.", rich_help_panel=_TABLE),
    ] = None,
    image: Annotated[str | None, _column("The picture's file.")] = None,
    patient: Annotated[str | None, _column("The patient; 'none': each picture is its own.")] = None,
    study: Annotated[str | None, _column("The study.")] = None,
    view: Annotated[str | None, _column("The view position: PA, AP, LATERAL.")] = None,
    split: Annotated[str | None, _column("The split: train, val, test, dev.")] = None,
    bits: Annotated[str | None, _column("Significant bits of the pixels.")] = None,
    findings: Annotated[str | None, _column("Positive findings in one cell: Mass|Nodule.")] = None,
) -> None:
    """Make shards of a data set; every row is accounted for, and the manifest is written last.

    Interrupted, the same command continues; on a finished data set, it mends broken shards.

    Example: cxr-engine shard table my-xrays shards --labels "Mass,Nodule"
    """
    from cxr_engine.shards import ShardOptions

    *renditions, size = _parse_sizes(sizes)
    options = ShardOptions(
        size=size,
        renditions=tuple(renditions),
        quality=quality,
        fit=fit.value,
        window=window,
        encoding=encoding.value,
        keep_original=keep_original,
        val_fraction=val_fraction,
        seed=seed,
        shard_samples=shard_samples,
        limit=limit,
        jobs=jobs,
        allow_missing=_parse_allowance(allow_missing),
        allow_duplicates=allow_duplicates,
        allow_empty_val=allow_empty_val,
        audit=audit,
        against=tuple(against or ()),
    )
    flags = SourceFlags(
        table=table,
        image=image,
        patient=patient,
        study=study,
        view=view,
        split=split,
        bits=bits,
        findings=findings,
        labels=labels,
        uncertain=uncertain,
        blank=blank,
        removal=removal,
        id_key=id_key,
    )
    with Reporter() as reporter:
        rows = read_source(source, folder, flags)
        if source is Source.auto:
            reporter.talk(f"source: {rows.name} (detected)")
        if dry_run:
            estimate = estimate_with_progress(rows, out, options, reporter)
        else:
            report = build_with_progress(rows, out, options, reporter, break_lock=break_lock)
    if dry_run:
        document, lines = estimate.to_dict(), estimate_lines(estimate)
    else:
        document, lines = report.to_dict(), report_lines(report, out)
    typer.echo(json.dumps(document, indent=1) if as_json else "\n".join(lines))
    if dry_run:
        estimate.check_room(out)


def _parse_sizes(text: str) -> list[int]:
    """Sides in pixels, the largest last."""
    from cxr_engine.shards import UsageError

    try:
        return sorted(int(side) for side in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"{text!r} is not a list of sizes", "--sizes", "give pixels with commas: 288,576"
        ) from error


def _parse_allowance(text: str) -> int | None:
    """A number of rows, or None for all."""
    from cxr_engine.shards import UsageError

    if text == "all":
        return None
    if text.isascii() and text.isdigit():
        return int(text)
    raise UsageError(
        f"{text!r} is not a number of pictures", "--allow-missing", "give a number, or all"
    )
