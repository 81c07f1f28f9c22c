"""cxr-engine: the commands, and how errors become three lines and an exit code."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import click
import typer

from cxr_engine.shards.errors import ThreeLineError
from cxr_engine.trainer.cli.demo import demo
from cxr_engine.trainer.cli.evaluate import evaluate
from cxr_engine.trainer.cli.shard import shard
from cxr_engine.trainer.cli.train import train

app = typer.Typer(
    name="cxr-engine",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Shard, stream, train and evaluate long-tailed multi-label chest X-ray classification.",
)
app.command()(demo)
app.add_typer(shard, name="shard")
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
        sys.exit(app(standalone_mode=False))
    except ThreeLineError as error:
        typer.echo(f"error: {error.what}\nwhere: {error.where}\nremedy: {error.remedy}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        typer.echo("interrupted", err=True)
        sys.exit(130)
