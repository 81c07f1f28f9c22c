"""cxr-engine verify SHARDS: a data set against its hashes; all problems in one pass."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr_engine.trainer.cli.progress import Reporter

if TYPE_CHECKING:
    from cxr_engine.shards import VerifyReport

_RESUMABLE = 75
_DURATION = re.compile(r"(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s?)?")


def verify(
    folder: Annotated[
        Path, typer.Argument(metavar="SHARDS", help="A folder that `cxr-engine shard` wrote.")
    ],
    full: Annotated[
        bool, typer.Option("--full", help="Read every byte and compare all hashes.")
    ] = False,
    decode: Annotated[
        bool, typer.Option("--decode", help="Decode every picture too; implies --full.")
    ] = False,
    time_limit: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Begin no further shard after this long, as 90s, 30m, 1h; exit 75 if any is left.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a run that was stopped had come to.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Threads; all processors by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Compare shards with their manifest: names, sizes and headers, or every byte.

    Exit code 0: all as written; 4: problems, each on a line; 75: stopped by --time-limit.

    Example: cxr-engine verify shards --full --time-limit 1h --resume
    """
    from cxr_engine.shards import IntegrityError, verify_shards

    limit = None if time_limit is None else _seconds(time_limit)
    with Reporter() as reporter:
        report = verify_shards(
            folder,
            full=full,
            decode=decode,
            jobs=jobs,
            time_limit=limit,
            resume=resume,
            on_progress=lambda done, total, n_bytes: reporter.tick(
                done, total, "shards verified", n_bytes if full or decode else 0
            ),
        )
        for note in report.notes:
            reporter.talk(note)
    typer.echo(json.dumps(report.to_dict(), indent=1) if as_json else "\n".join(_lines(report)))
    if not report.is_complete:
        typer.echo("stopped by --time-limit; go on with the same command and --resume", err=True)
        raise typer.Exit(_RESUMABLE)
    if report.problems:
        shards = len({problem.shard for problem in report.problems})
        raise IntegrityError(
            f"{_count(len(report.problems), 'problem')} in {_count(shards, 'shard')}",
            str(folder),
            "see the remedies above" if not as_json else "see the remedies in the report",
        )


def _lines(report: VerifyReport) -> list[str]:
    """A line for each problem, each remedy once below its problems, and the account."""
    by_remedy: dict[str, list[str]] = {}
    for problem in report.problems:
        by_remedy.setdefault(problem.remedy, []).append(str(problem))
    lines = []
    for remedy, problems in by_remedy.items():
        lines += [*problems, f"  remedy: {remedy}", ""]
    how = {
        "fast": "names, sizes, headers and padding",
        "full": "every byte",
        "decode": "every byte and every pixel",
    }[report.mode]
    done = f"{report.shards_done:,} of {_count(report.shards, 'shard')}"
    lines.append(f"{done}, {report.bytes / 1e6:,.1f} MB: {how}")
    found = _count(len(report.problems), "problem") if report.problems else "no problem"
    lines.append(f"{found} found")
    return lines


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _seconds(text: str) -> float:
    from cxr_engine.shards import UsageError

    parts = _DURATION.fullmatch(text)
    if not (text and parts):
        raise UsageError(
            f"{text!r} is not a duration", "--time-limit", "give one such as 90s, 30m, 1h or 1h30m"
        )
    hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    return 3600 * hours + 60 * minutes + seconds
