"""`authz serve`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from shlex import quote
from typing import Annotated

import typer

from authz.admin.canary import CANARY, is_left_over
from authz.admin.organizations import problem_of_key_set
from authz.app.config import Settings, with_workers
from authz.app.variables import passed_over
from authz.cli.options import settings_of
from authz.cli.output import emit
from authz.directory import Store
from authz.errors import ConfigError, StoreError
from authz.supervision.binary_upgrade import is_trial
from authz.supervision.config_check import check_sockets, checked
from authz.supervision.supervisor import serve as run_service
from authz.telemetry import Telemetry
from authz.text import shown

Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, max=256, help="Processes that answer checks; limits.workers if absent."),
]


def serve(
    context: typer.Context,
    workers: Workers = None,
    check: Annotated[bool, typer.Option("--check", help="Only say whether it would start; exit 0 if so.")] = False,
    running: Annotated[
        bool, typer.Option("--running", help="With --check: beside the running service, which has the sockets.")
    ] = False,
) -> None:
    """Run the service until a signal stops it (SIGTERM or SIGINT).

    SIGHUP reads the settings again, SIGUSR2 changes to the version that is installed by then; neither loses a request.
    """

    def load() -> Settings:
        return with_workers(settings_of(context), workers)

    if running and not check:
        raise typer.BadParameter("--running goes with --check")
    settings = load()
    if check:
        _check(settings, running=running)
        return
    variables = passed_over()
    if variables:
        Telemetry().say("variables_passed_over", variables=list(map(shown, variables)))
    _warn_of_canary(settings)
    run_service(settings, load)


def _check(settings: Settings, *, running: bool) -> None:
    """Print what was checked. Raises `ConfigError` or `StoreError` for the first thing on which a start would fail.

    Key sets in files are the operator's; one behind a URL is its tenant's, and keeps no service from starting.
    """
    rows = [*checked(settings, Telemetry())]
    if not is_trial():
        rows += [] if running else _sockets(settings)
        rows += _key_sets(settings)
    if variables := passed_over():
        rows.append(("environment", f"passed over, for Kubernetes makes them: {', '.join(variables)}"))
    emit([{"checked": name, "found": found} for name, found in rows], as_json=False)


def _sockets(settings: Settings) -> list[tuple[str, str]]:
    try:
        return list(check_sockets(settings))
    except ConfigError as error:
        hints = filter(None, (error.hint, "beside the running service: authz serve --check --running"))
        raise ConfigError(str(error), hint="; ".join(hints)) from error


def _key_sets(settings: Settings) -> Iterator[tuple[str, str]]:
    with closing(Store(settings.database)) as store:
        users = {each.token.keys: each.name for each in store.organizations() if each.token.keys is not None}
    for location, organization in users.items():
        problem = problem_of_key_set(location)
        if problem and "://" not in location:
            message = f"the key set {location} of {organization} cannot be used: {problem}"
            raise ConfigError(message, hint=f"see each of its keys: authz org show {quote(organization)}")
        yield f"key set of {organization}", f"cannot be used now: {problem}" if problem else location


def _warn_of_canary(settings: Settings) -> None:
    """What `authz doctor prepare` made is not for long; a directory that cannot be read is the service's to report."""
    with suppress(StoreError, ConfigError), closing(Store(settings.database)) as store:
        if is_left_over(store):
            Telemetry().warn(f"the canary organization {CANARY} is left over: authz doctor prepare FOLDER --remove")
