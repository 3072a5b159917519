"""`authz serve` and `authz demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from authz.cli.options import settings_of
from authz.demo import run_demo
from authz.demo.fill import fill as fill_folders
from authz.runtime import serve as run_service


def serve(context: typer.Context) -> None:
    """Run the service until it is told to stop (SIGTERM or SIGINT)."""
    run_service(settings_of(context))


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
) -> None:
    """Show everything at work: a PKI, the service, a real Envoy, TLS clients, an application."""
    if fill is not None:
        typer.echo(fill_folders(fill, settings_of(context).database), nl=False)
        return
    raise typer.Exit(run_demo(once=once, request_level=request_level))
