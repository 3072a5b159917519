"""`authz cert`: which certificate is registered for which user, and from when until when."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from authz.admin import registrations
from authz.cli.options import AfterId, AsJson, InFile, Limit, OrganizationName, moment, open_store
from authz.cli.output import emit_one, emit_page, hint, say
from authz.cli.pem_file import read_certificates
from authz.cli.rows import registration_row
from authz.clock import SystemClock
from authz.directory.registrations import list_registrations

app = typer.Typer(help="Registered certificates of users.", no_args_is_help=True)

Id = Annotated[int, typer.Argument(metavar="ID", help="The registration's id, as list shows it.")]


@app.command("add", epilog="Example: authz cert add acme alice-chain.pem --user alice --label laptop")
def add(
    context: typer.Context,
    organization: OrganizationName,
    file: InFile,
    user: Annotated[str, typer.Option("--user", help="Whose it is: no name in it says so.")],
    label: Annotated[str, typer.Option("--label", help="At most 64 characters.")] = "",
    valid_from: Annotated[datetime | None, typer.Option("--from", parser=moment, metavar="TIME")] = None,
    valid_until: Annotated[datetime | None, typer.Option("--until", parser=moment, metavar="TIME")] = None,
    as_json: AsJson = False,
) -> None:
    """Register the leaf in a file for a user, with the CA certificates beside it, in any order."""
    now = SystemClock().now()
    certificates = read_certificates(file)
    new = registrations.NewRegistration(organization, user, certificates, file, label, valid_from, valid_until)
    with open_store(context) as store:
        added = registrations.register(store, new, now)
    emit_one(registration_row(added.registration, now), as_json=as_json)
    if valid_until is not None and valid_until <= now:
        say(f"the registration has ended already, on {valid_until:%Y-%m-%d %H:%M:%SZ}: it counts for no request")
        hint(f"add it again with a later --until; this one: authz cert retire {added.registration.registration.id}")
    if added.elsewhere:
        say(f"the certificate is registered in {', '.join(added.elsewhere)} too")
    if added.problem:
        say(f"registered, but it does not verify now: {added.problem}")
        hint("see every gate: authz check HOST USER --cert FILE")


@app.command("list", epilog="Example: authz cert list acme --user alice")
def list_(
    context: typer.Context,
    organization: Annotated[str | None, typer.Argument(metavar="ORGANIZATION", help="All if absent.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="Of one user only.")] = None,
    limit: Limit = None,
    after: AfterId = None,
    as_json: AsJson = False,
) -> None:
    """List registered certificates, the oldest first."""
    now = SystemClock().now()
    with open_store(context) as store, store.reading() as connection:
        every = list_registrations(connection, organization, user, after)
        listed = emit_page((registration_row(stored, now) for stored in every), "id", limit, as_json=as_json)
    if not listed and after is None:
        hint("register one: authz cert add ORGANIZATION chain.pem --user USER")


@app.command("show", epilog="Example: authz cert show 7")
def show(context: typer.Context, key: Id, as_json: AsJson = False) -> None:
    """Show one registration."""
    with open_store(context) as store:
        stored = store.registration(key)
    issuer = {"issuer": stored.leaf.issuer.text, "serial": f"{stored.leaf.serial:x}"}
    chain = {"stored_chain": len(stored.registration.chain)}
    emit_one({**registration_row(stored, SystemClock().now()), **issuer, **chain}, as_json=as_json)


@app.command("retire", epilog="Example: authz cert retire 7 (holds within a second, on open connections too)")
def retire(
    context: typer.Context,
    key: Id,
    at: Annotated[datetime | None, typer.Option("--at", parser=moment, metavar="TIME", help="Now if absent.")] = None,
    as_json: AsJson = False,
) -> None:
    """End a registration for good."""
    now = SystemClock().now()
    with open_store(context) as store:
        retired = registrations.retire(store, key, at or now)
    emit_one(registration_row(retired, now), as_json=as_json)
