"""cxr-engine: the commands, and how errors become three lines and an exit code."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from cxr_engine.shards.errors import ResourceError, ThreeLineError
from cxr_engine.trainer.cli.demo import demo
from cxr_engine.trainer.cli.evaluate import evaluate
from cxr_engine.trainer.cli.shard import shard
from cxr_engine.trainer.cli.train import train
from cxr_engine.trainer.cli.verify import verify

app = typer.Typer(
    name="cxr-engine",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Shard, stream, train and evaluate long-tailed multi-label chest X-ray classification.",
)
app.command()(demo)
app.command()(shard)
app.command()(verify)
app.command()(train)
app.command()(evaluate)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("cxr-engine"))
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point. 0 done, 1 bug, 2 usage, 3 data, 4 integrity, 5 resource, 130 interrupted."""
    try:
        app()
    except ThreeLineError as error:
        _three_lines(error.what, error.where, error.remedy)
        sys.exit(error.exit_code)
    except OSError as error:
        where = error.filename or "the disk"
        _three_lines(str(error.strerror or error), str(where), "check free space and permissions")
        sys.exit(ResourceError.exit_code)


def _three_lines(what: str, where: str, remedy: str) -> None:
    typer.echo(f"error: {what}\nwhere: {where}\nremedy: {remedy}", err=True)
