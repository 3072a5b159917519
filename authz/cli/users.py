"""`authz user`: the users of an organization, and what is demanded of their certificates."""

from __future__ import annotations

from typing import Annotated

import typer

from authz.admin.users import add_user, change_user, remove_user
from authz.cli.options import AfterName, AsJson, Limit, OrganizationName, UserName, open_store
from authz.cli.output import emit_one, emit_page, hint, say
from authz.cli.rows import user_row
from authz.directory.users import list_users
from authz.model import Enforcement

app = typer.Typer(help="Users, and what is demanded of their certificates.", no_args_is_help=True)

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
        hint(f"denied until a certificate is registered: authz cert add {organization} chain.pem --user {name}")


@app.command("set", epilog="Example: authz user set acme alice --enforcement observe")
def set_(
    context: typer.Context,
    organization: OrganizationName,
    name: UserName,
    enforcement: Enforced = None,
    active: Annotated[bool | None, typer.Option("--on/--off", help="Switch the user on or off.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change a user's enforcement, or switch the user on or off."""
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
        hint(f"add one: authz user add {organization} NAME")


@app.command("show", epilog="Example: authz user show acme alice")
def show(context: typer.Context, organization: OrganizationName, name: UserName, as_json: AsJson = False) -> None:
    """Show one user."""
    with open_store(context) as store:
        emit_one(user_row(organization, store.user(organization, name)), as_json=as_json)


@app.command(
    "remove", epilog="Example: authz user remove acme alice (to switch a user off: authz user set acme alice --off)"
)
def remove(context: typer.Context, organization: OrganizationName, name: UserName, as_json: AsJson = False) -> None:
    """Remove a user with all registered certificates."""
    with open_store(context) as store:
        remove_user(store, organization, name)
    emit_one({"removed": name, "organization": organization}, as_json=as_json)
    say("the user's registrations are removed, too")
