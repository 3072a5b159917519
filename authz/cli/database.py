"""`authz db`: the directory itself. No other verb makes one, or migrates one."""

from __future__ import annotations

from typing import Annotated

import typer

from authz.cli.options import settings_of
from authz.cli.output import hint, say
from authz.directory.sqlite.engine import database_file
from authz.directory.sqlite.migrate import create, migrate
from authz.directory.sqlite.version import VERSION, check_directory, version_of
from authz.errors import StoreError

app = typer.Typer(help="The directory itself: make it, bring it up to date.", no_args_is_help=True)


@app.command("init", epilog="Example: AUTHZ_DATABASE=sqlite:////var/lib/authz/authz.db authz db init")
def init(context: typer.Context) -> None:
    """Make the directory that `database` names; one that is there is left as it is."""
    url = settings_of(context).database
    if create(url):
        say(f"made {database_file(url)}, of version {VERSION}")
        hint("begin: authz org add acme --host api.example.com")
    else:
        check_directory(url)
        say(f"{database_file(url)} is there, of version {VERSION}")


@app.command("upgrade", epilog="Example: authz db upgrade (idempotent: in a deployment, before every start)")
def upgrade(
    context: typer.Context,
    make: Annotated[bool, typer.Option("--create", help="Make the directory where there is none.")] = False,
) -> None:
    """Bring the directory to the version of this program, wholly or not at all. Services that run go on reading it."""
    url = settings_of(context).database
    path = database_file(url)
    before = version_of(path)
    if before is None and not make:
        raise StoreError(f"there is no directory at {path}", hint="make one: authz db init; or set AUTHZ_DATABASE")
    if before != VERSION:
        migrate(url)
    say(f"{path} is of version {VERSION}" + (f"; it was of {before}" if before not in {None, VERSION} else ""))
