"""`authz cert`: which certificate is registered for which user, and from when until when."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from authz.cli.options import AsJson, InFile, OrganizationName, moment, open_store
from authz.cli.output import Row, emit, emit_one, hint, say
from authz.cli.pem_file import read_certificates, split_leaf
from authz.clock import SystemClock
from authz.directory import Store
from authz.directory.store import StoredRegistration
from authz.errors import ConfigError, Refused
from authz.pki import SERVICE_POLICY, Certificate, TrustAnchor, TrustStore, verify_path

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
    leaf, chain = split_leaf(file, read_certificates(file))
    if leaf.not_after < now:
        raise ConfigError(f"the certificate expired on {leaf.not_after:%Y-%m-%d %H:%M:%SZ}", hint="renew it")
    with open_store(context) as store:
        added = store.register(
            organization,
            user,
            leaf,
            chain,
            label=label,
            valid_from=valid_from,
            valid_until=valid_until,
            now=now,
        )
        elsewhere = store.registered_elsewhere(organization, leaf.sha256)
        problem = _problem(store, organization, leaf, chain, now)
    emit_one(describe(added, now), as_json=as_json)
    if elsewhere:
        say(f"the certificate is registered in {', '.join(elsewhere)} too")
    if problem:
        say(f"registered, but it does not verify now: {problem}")
        hint("see every gate: authz check HOST USER --cert FILE")


def _problem(store: Store, organization: str, leaf: Certificate, chain: list[Certificate], now: datetime) -> str:
    """Why the certificate would be refused now, empty if it would not."""
    try:
        anchors = [TrustAnchor(one.certificate) for one in store.anchors(organization)]
        known = [one.certificate for one in store.intermediates(organization)]
        verify_path(leaf, chain, TrustStore(anchors, known), store.crl_store(), now, SERVICE_POLICY)
    except Refused as refusal:
        return str(refusal)
    return ""


@app.command("list", epilog="Example: authz cert list acme --user alice")
def list_(
    context: typer.Context,
    organization: Annotated[str | None, typer.Argument(metavar="ORGANIZATION", help="All if absent.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="Of one user only.")] = None,
    as_json: AsJson = False,
) -> None:
    """List registered certificates."""
    now = SystemClock().now()
    with open_store(context) as store:
        found = store.registrations(organization, user)
    emit([describe(one, now) for one in found], as_json=as_json)
    if not found:
        hint("register one: authz cert add ORGANIZATION chain.pem --user USER")


@app.command("show", epilog="Example: authz cert show 7")
def show(context: typer.Context, key: Id, as_json: AsJson = False) -> None:
    """Show one registration."""
    with open_store(context) as store:
        found = store.registration(key)
    issuer = {"issuer": found.leaf.issuer.text, "serial": f"{found.leaf.serial:x}"}
    stored = {"stored_chain": len(found.registration.chain)}
    emit_one({**describe(found, SystemClock().now()), **issuer, **stored}, as_json=as_json)


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
        retired = store.retire(key, at or now)
    emit_one(describe(retired, now), as_json=as_json)


def describe(one: StoredRegistration, now: datetime) -> Row:
    """A registration as it is printed."""
    held = one.registration
    return {
        "id": held.id,
        "organization": one.organization,
        "user": one.user,
        "label": held.label,
        "state": held.state(now),
        "from": held.valid_from,
        "until": held.retired_at or held.valid_until,
        "subject": one.leaf.subject.text,
        "not_after": one.leaf.not_after,
        "sha256": held.sha256,
    }
