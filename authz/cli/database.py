"""`authz db`: the directory itself. No other verb makes one, or migrates one."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from authz.cli.options import AsJson, settings_of
from authz.cli.output import emit, emit_one, hint, say
from authz.directory.database import VERSION, Database
from authz.directory.databases import database_of

app = typer.Typer(help="The directory itself: make it, bring it up to date.", no_args_is_help=True)


@app.command("init", epilog="Example: authz db init")
def init(context: typer.Context, as_json: AsJson = False) -> None:
    """Make the directory that `database` names; one that is there is left as it is."""
    database = database_of(settings_of(context).database)
    made = database.create()
    database.check()
    _emit(database, None if made else VERSION, as_json=as_json)
    if made:
        hint("begin: authz org add acme --host api.example.com")


@app.command("upgrade", epilog="Example: authz db upgrade (idempotent: in a deployment, before every start)")
def upgrade(
    context: typer.Context,
    make: Annotated[bool, typer.Option("--create", help="Make the directory if it does not exist.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the directory to the version of this program. Services that run go on reading it.

    The schema changes wholly or not at all. What is registered is then read in steps: if that is interrupted, the next
    call goes on.
    """
    database = database_of(settings_of(context).database)
    before = database.version()
    if before is None and not make:
        raise database.missing()
    if before is None or before.number < VERSION or (before.number == VERSION and database.unread()):
        database.migrate(_report)
    database.check()
    _emit(database, None if before is None else before.number, as_json=as_json)


def _report(read: int) -> None:
    if read % _REPORTED == 0:
        say(f"{read} registrations read")


_REPORTED: Final = 20_000


@app.command("grants", epilog="Example: authz db grants (idempotent, as the owner of the tables; PostgreSQL alone)")
def grants(context: typer.Context, as_json: AsJson = False) -> None:
    """Make the roles of PostgreSQL, and give each what it may do: reading for services, writing for this command."""
    database = database_of(settings_of(context).database)
    database.check()
    roles = database.grant()
    emit([{"role": role} for role in roles], as_json=as_json)
    hint(f"make a user of each: CREATE ROLE ... LOGIN IN ROLE {roles[0]}")


def _emit(database: Database, before: str | None, *, as_json: bool) -> None:
    """Print where the directory is, its version, and the one it had: none if it was made now."""
    where = database.name if database.file is None else database.file.absolute()
    emit_one({"directory": where, "version": VERSION, "before": before}, as_json=as_json)
