"""`authz demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from authz.cli.options import AsJson, settings_of
from authz.demo import run_demo
from authz.demo.fill import fill as fill_folders


def demo(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="End after the rows; exit 0 if all are right.")] = False,
    request_level: Annotated[
        bool,
        typer.Option("--request-level", help="Let Envoy refuse no certificate, so that all have a reason."),
    ] = False,
    fill: Annotated[
        Path | None,
        typer.Option(
            "--fill",
            metavar="FOLDER",
            help="Start nothing: make what docker-compose.yml needs, and print the lines to try.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show everything at work: a PKI, the service, a real Envoy, TLS clients, an application."""
    if fill is not None:
        typer.echo(fill_folders(fill, settings_of(context).database), nl=False)
        return
    raise typer.Exit(run_demo(once=once, request_level=request_level, as_json=as_json))
