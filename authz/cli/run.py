"""`authz serve` and `authz demo`."""

from __future__ import annotations

from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated

import typer

from authz.admin.canary import CANARY, is_left_over
from authz.app.config import Settings, with_workers
from authz.cli.options import AsJson, settings_of
from authz.demo import run_demo
from authz.demo.fill import fill as fill_folders
from authz.directory import Store
from authz.directory.sqlite.engine import database_file
from authz.errors import ConfigError, StoreError
from authz.supervision.config_check import check as check_settings
from authz.supervision.supervisor import serve as run_service
from authz.telemetry import Telemetry

Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, max=256, help="Processes that answer checks; limits.workers if absent."),
]


def serve(
    context: typer.Context,
    workers: Workers = None,
    check: Annotated[bool, typer.Option("--check", help="Only say whether it would start; exit 0 if so.")] = False,
) -> None:
    """Run the service until a signal stops it (SIGTERM or SIGINT).

    SIGHUP reads the settings again, SIGUSR2 changes to the version that is installed by then; neither loses a request.
    """

    def load() -> Settings:
        return with_workers(settings_of(context), workers)

    if check:
        check_settings(load(), Telemetry())
    else:
        settings = load()
        _warn_of_canary(settings)
        run_service(settings, load)


def _warn_of_canary(settings: Settings) -> None:
    """What `authz doctor prepare` made is not for long; a directory that cannot be read is the service's to report."""
    if not database_file(settings.database).exists():
        return
    with suppress(StoreError, ConfigError), closing(Store(settings.database)) as store:
        if is_left_over(store):
            Telemetry().warn(f"the canary organization {CANARY} is left over: authz doctor prepare FOLDER --remove")


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
