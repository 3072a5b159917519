"""`authz serve` and `authz demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from authz.cli.options import AsJson, settings_of
from authz.demo import run_demo
from authz.runtime import serve as run_service


def serve(context: typer.Context) -> None:
    """Run the service until it is told to stop (SIGTERM or SIGINT)."""
    run_service(settings_of(context))


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the rows; exit 0 if all are right.")] = False,
    request_level: Annotated[
        bool,
        typer.Option("--request-level", help="Let Envoy refuse no certificate, so that all have a reason."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show everything at work: a PKI, the service, a real Envoy, TLS clients, an application."""
    raise typer.Exit(run_demo(once=once, request_level=request_level, as_json=as_json))
