"""`authz user`: the users of an organization, and what is demanded of their certificates."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from authz.admin.users import add_user, change_user, remove_user
from authz.cli.options import AfterName, Anyway, AsJson, Limit, OrganizationName, UserName, open_store
from authz.cli.output import emit, emit_one, emit_page, hint, say
from authz.cli.rows import registration_row, seen_row, user_row
from authz.clock import SystemClock
from authz.directory.last_seen_rows import leaves_seen_of
from authz.directory.registrations import list_registrations
from authz.directory.users import get_user, list_users
from authz.model import Enforcement

app = typer.Typer(no_args_is_help=True)

Enforced = Annotated[
    Enforcement | None,
    typer.Option("--enforcement", help="required: the registered certificate; observe: record only; off: nothing."),
]


@app.command("add", epilog="Example: authz user add acme alice --enforcement required")
def add(
    context: typer.Context,
    organization: OrganizationName,
    name: UserName,
    enforcement: Enforced = None,
    as_json: AsJson = False,
) -> None:
    """Add a user; without --enforcement the organization's default applies."""
    with open_store(context) as store:
        added = add_user(store, organization, name, enforcement)
    emit_one(user_row(organization, added), as_json=as_json)
    if added.enforcement is Enforcement.REQUIRED:
        add_one = f"authz cert add {quote(organization)} chain.pem --user {quote(name)}"
        hint(f"denied until a certificate is registered: {add_one}")


@app.command(
    "set",
    epilog="Example: authz user set acme alice --enforcement observe; authz user set acme --all --enforcement required",
)
def set_(
    context: typer.Context,
    organization: OrganizationName,
    name: Annotated[
        str | None, typer.Argument(metavar="USER", help="The user's name, without --all or --from.")
    ] = None,
    enforcement: Enforced = None,
    active: Annotated[bool | None, typer.Option("--on/--off", help="Switch the user on or off.")] = None,
    every: Annotated[bool, typer.Option("--all", help="The enforcement of every user of the organization.")] = False,
    names: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="That of the users in a file, a name on each line.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list who would be denied by it.")] = False,
    anyway: Anyway = False,
    as_json: AsJson = False,
) -> None:
    """Change a user's enforcement, or switch the user on or off.

    With --all or --from the enforcement of many: those whom it would deny, by what observe has recorded, are listed
    first, and if there are any nothing is changed without --anyway.
    """
    if (name is not None) + every + (names is not None) != 1:
        raise typer.BadParameter("give USER, --all or --from FILE")
    if name is None:
        if enforcement is None or active is not None:
            raise typer.BadParameter("--all and --from change the --enforcement, and nothing else")
        # What compares and applies plans: no other verb of a user needs it.
        many_users = import_module("authz.cli.many_users")
        wanted = None if names is None else many_users.read_names(names)
        how = {"anyway": anyway, "dry_run": dry_run, "as_json": as_json}
        with open_store(context) as store:
            many_users.set_enforcement(store, organization, wanted, enforcement, **how)
        return
    with open_store(context) as store:
        changed = change_user(store, organization, name, enforcement=enforcement, active=active)
    emit_one(user_row(organization, changed), as_json=as_json)


@app.command("list", epilog="Example: authz user list acme")
def list_(
    context: typer.Context,
    organization: OrganizationName,
    limit: Limit = None,
    after: AfterName = None,
    as_json: AsJson = False,
) -> None:
    """List the users of an organization, by name."""
    with open_store(context) as store, store.reading() as connection:
        users = (user_row(organization, user) for user in list_users(connection, organization, after))
        listed = emit_page(users, "user", limit, as_json=as_json)
    if not listed and after is None:
        hint(f"add one: authz user add {quote(organization)} NAME")


@app.command("show", epilog="Example: authz user show acme alice")
def show(context: typer.Context, organization: OrganizationName, name: UserName, as_json: AsJson = False) -> None:
    """Show one user, with what is registered for the user, and the certificates that the user presented."""
    now = SystemClock().now()
    with open_store(context) as store, store.reading() as connection:
        stored = get_user(connection, organization, name)
        user = user_row(organization, stored)
        certificates = [registration_row(each, now) for each in list_registrations(connection, organization, name)]
        seen = [seen_row(leaf) for leaf in leaves_seen_of(connection, stored.id)]
    if as_json:
        emit_one({**user, "certificates": certificates, "seen": seen}, as_json=True)
        return
    emit_one(user, as_json=False)
    if certificates:
        emit(certificates, as_json=False)
    else:
        hint(f"register a certificate: authz cert add {quote(organization)} chain.pem --user {quote(name)}")
    if seen:
        say("presented, until half a minute ago:")
        emit(seen, as_json=False)


@app.command(
    "remove", epilog="Example: authz user remove acme alice (to switch a user off: authz user set acme alice --off)"
)
def remove(context: typer.Context, organization: OrganizationName, name: UserName, as_json: AsJson = False) -> None:
    """Remove a user with all registered certificates."""
    with open_store(context) as store:
        remove_user(store, organization, name)
    emit_one({"removed": name, "organization": organization}, as_json=as_json)
    say("the user's registrations are removed, too")
