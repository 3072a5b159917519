"""`authz db`: the directory itself. No other verb makes one, or migrates one."""

from __future__ import annotations

from typing import Annotated

import typer

from authz.cli.options import AsJson, settings_of
from authz.cli.output import emit_one, hint
from authz.directory.sqlite.engine import database_file
from authz.directory.sqlite.migrate import create, migrate
from authz.directory.sqlite.version import VERSION, check_directory, version_of
from authz.errors import StoreError

app = typer.Typer(help="The directory itself: make it, bring it up to date.", no_args_is_help=True)


@app.command("init", epilog="Example: authz db init")
def init(context: typer.Context, as_json: AsJson = False) -> None:
    """Make the directory that `database` names; one that is there is left as it is."""
    url = settings_of(context).database
    made = create(url)
    check_directory(url)
    _emit(url, None if made else VERSION, as_json=as_json)
    if made:
        hint("begin: authz org add acme --host api.example.com")


@app.command("upgrade", epilog="Example: authz db upgrade (idempotent: in a deployment, before every start)")
def upgrade(
    context: typer.Context,
    make: Annotated[bool, typer.Option("--create", help="Make the directory if it does not exist.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the directory to the version of this program, wholly or not at all. Services that run go on reading it."""
    url = settings_of(context).database
    path = database_file(url)
    before = version_of(path)
    if before is None and not make:
        raise StoreError(f"there is no directory at {path}", hint="make one: authz db init; or set AUTHZ_DATABASE")
    if before is None or before < VERSION:
        migrate(url)
    check_directory(url)
    _emit(url, before, as_json=as_json)


def _emit(url: str, before: str | None, *, as_json: bool) -> None:
    """Print where the directory is, its version, and the one it had: none if it was made now."""
    emit_one({"directory": database_file(url).absolute(), "version": VERSION, "before": before}, as_json=as_json)
