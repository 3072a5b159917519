"""`authz crl`: the lists of revoked certificates that the service decides by."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from importlib import import_module
from shlex import quote
from typing import Annotated, Final

import typer
from sqlalchemy import Connection

from authz.admin.crls import add_crl, remove_crl, renumber, request_fetch
from authz.admin.forecast import forecasts
from authz.cli.options import Anyway, AsJson, InFile, Limit, open_store, settings_of, sha256_text
from authz.cli.output import Row, emit, emit_one, emit_page, hint, say
from authz.cli.pem_file import read_crl
from authz.cli.rows import crl_details, crl_row, crl_source_row, fetched_crl_row, fetched_details, listed_crl_row
from authz.clock import SystemClock
from authz.directory import Store
from authz.directory.crls import find_crl, get_crl, list_crl_sources, list_crls, list_fetched_crls
from authz.directory.registrations import StoredRegistration
from authz.errors import Problem, StoreError

POLL_SECONDS: Final = 0.2
"""How often `refresh` looks whether the service has tried."""

MAX_DIGITS: Final = 19
"""More than the id of a row can have."""

Beginning = Annotated[
    str, typer.Argument(parser=sha256_text, metavar="SHA256", help="As list shows it; its beginning is enough.")
]

Wait = Annotated[float, typer.Option("--wait", min=0, help="How long to wait for the service to try.")]

app = typer.Typer(no_args_is_help=True)


@app.command("add", epilog="Example: authz crl add issuing.crl (holds within a second, on open connections too)")
def add(context: typer.Context, file: InFile, anyway: Anyway = False, as_json: AsJson = False) -> None:
    """Keep a CRL that a known CA signed, in place of the one it supersedes.

    One that can show no certificate to be good (no nextUpdate, an unknown critical extension) replaces none: what it
    lists is refused until a newer complete CRL does not list it. --anyway lets an expired CRL replace a current one.
    """
    crl = read_crl(file)
    now = SystemClock().now()
    with open_store(context) as store:
        added = add_crl(store, crl, now, anyway=anyway)
    emit_one(crl_row(added.stored), as_json=as_json)
    for listed in added.listed:
        say(f"it lists the certificate of {_whose(listed)}")
    if crl.unusable:
        say(f"it has {crl.unusable}: it shows no certificate to be good and replaces no CRL; what it lists is refused")
        hint(f"have its CA issue it without that; 'authz crl remove {crl.sha256.hex()[:12]}' takes it back")
    elif added.outdated:
        say("it is out of date already: its issuer's certificates stay refused")
        hint("fetch the current CRL from its CA")
    elif crl.is_delta:
        say("it is a delta CRL: it shows no certificate to be good without the complete CRL of its scope")
        hint(f"add that one too, if it is not held: number {crl.base_number} or later")
    if added.unmet:
        say(f"no certificate known here names its distribution point, {added.unmet}: it shows none of them to be good")
        hint(
            f"have the CA name {added.unmet} in its certificates (step-ca: crlDistributionPoints in the provisioner's "
            "template, the same URL as crl.idpURL), or issue the CRL without a distribution point"
        )


def _whose(listed: StoredRegistration) -> str:
    return f"{listed.user} of {listed.organization} (registration {listed.registration.id})"


@app.command("remove", epilog="Example: authz crl remove 3f2a (as the SHA-256 begins that list shows)")
def remove(context: typer.Context, sha256: Beginning, as_json: AsJson = False) -> None:
    """Remove a CRL that was added. What it lists is refused no more, unless another CRL lists it.

    If it was the only one of its issuer, the issuer's certificates are refused until another one is added or fetched.
    An older one can be added in its place. A CRL that the service fetched goes with its source, not by this command.
    """
    with open_store(context) as store:
        with store.reading() as connection:
            digest = find_crl(connection, sha256)
            fetched = list_fetched_crls(connection, digest)
        try:
            removed = remove_crl(store, digest)
        except StoreError as error:
            if error.kind is not Problem.CRL_UNKNOWN or not fetched:
                raise
            message = f"this CRL was not added: the service fetched it from {fetched[0].location}"
            hint_ = "have its CA publish a newer one there, or ask that source no more; see docs/revocation.md"
            raise StoreError(message, hint=hint_) from error
    emit_one(crl_row(removed.stored), as_json=as_json)
    for listed in removed.listed:
        say(f"it listed the certificate of {_whose(listed)}, which passes now unless another CRL lists it")
    issuer = removed.stored.crl.issuer.text
    if removed.left:
        say(f"{removed.left} other CRLs of {issuer} are held")
    else:
        say(f"no other CRL of {issuer} is held: its certificates are refused")
        hint("add its current CRL: authz crl add FILE")


@app.command(
    "list",
    epilog="Example: authz crl list. The running service reports sources, with their last failure.",
)
def list_(
    context: typer.Context,
    limit: Limit = None,
    after: Annotated[str | None, typer.Option("--after", metavar="ID", help="Only those behind this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """List every CRL with where it came from, and the sources that have given none."""
    expired = False

    def noticed(row: Row) -> Row:
        nonlocal expired
        expired = expired or row["left"] == "expired"
        return row

    with open_store(context) as store, store.reading() as connection:
        rows = map(noticed, _rows(connection, after, SystemClock().now()))
        renumbered = [one.location for one in list_crl_sources(connection) if one.outcome == "disagrees"]
        listed = emit_page(rows, "id", limit, as_json=as_json)
    if not listed and after is None:
        hint("no certificate passes without one for each CA on its path: authz crl add FILE, or the setting crl.urls")
    if renumbered:
        hint(f"if its CA was restored, and counts its CRLs anew: authz crl renumber {quote(renumbered[0])}")
    if expired:
        hint("what is expired refuses its issuer's certificates: authz crl refresh, or authz crl add FILE")


def _rows(connection: Connection, after: str | None, now: datetime) -> Iterator[Row]:
    """CRLs added, by number; those from sources, by the name of their file; and sources without one, by location."""
    rest = _rows_of_sources(connection, now)
    if after is None or (after.isdecimal() and len(after) < MAX_DIGITS):
        for stored in list_crls(connection, None if after is None else int(after)):
            yield {"id": stored.id, **listed_crl_row(stored, now)}
    elif all(row["id"] != after for row in rest):
        raise StoreError(f"nothing in the list has the id {after}", kind=Problem.CRL_UNKNOWN)
    yield from rest


def _rows_of_sources(connection: Connection, now: datetime) -> Iterator[Row]:
    fetched, sources = list_fetched_crls(connection), list_crl_sources(connection)
    states = {source.location: source for source in sources}
    for crl in fetched:
        yield {"id": crl.name, **fetched_crl_row(crl, states.pop(crl.location, None), now)}
    giving = {crl.location for crl in fetched}
    for source in sources:
        if source.location not in giving:
            yield {"id": source.location, **crl_source_row(source)}


@app.command("show", epilog="Example: authz crl show 3f2a (as the SHA-256 begins that list shows)")
def show(
    context: typer.Context,
    sha256: Beginning,
    as_json: AsJson = False,
) -> None:
    """Show one CRL."""
    now = SystemClock().now()
    with open_store(context) as store, store.reading() as connection:
        digest = find_crl(connection, sha256)
        if fetched := list_fetched_crls(connection, digest):
            crl, states = fetched[-1], {source.location: source for source in list_crl_sources(connection)}
            source = states.get(crl.location)
            emit_one({**fetched_crl_row(crl, source, now), **fetched_details(crl, source)}, as_json=as_json)
        else:
            stored = get_crl(connection, digest)
            emit_one({**listed_crl_row(stored, now), **crl_details(stored)}, as_json=as_json)


@app.command("dependents", epilog="Example: authz crl dependents 3f2a (who stops if no newer one comes)")
def dependents_(context: typer.Context, sha256: Beginning, as_json: AsJson = False) -> None:
    """List the users below the CA that signed it: without a CRL of that CA, what it issued is of unknown status."""
    with open_store(context) as store:
        with store.reading() as connection:
            digest = find_crl(connection, sha256)
            fetched = list_fetched_crls(connection, digest)
            signer = fetched[-1].signer if fetched else get_crl(connection, digest).signer
        listed = import_module("authz.admin.dependents").crl_dependents
        anchors = import_module("authz.cli.anchors")
        anchors.emit_dependents(store, lambda connection, now: listed(connection, signer, now), as_json=as_json)


@app.command("refresh", epilog="Example: authz crl refresh 'CN=Issuing CA'")
def refresh(
    context: typer.Context,
    wanted: Annotated[
        str | None, typer.Argument(metavar="ISSUER", help="An issuer, or a source's location; every source if absent.")
    ] = None,
    seconds: Wait = 15,
    as_json: AsJson = False,
) -> None:
    """Have the running service ask its sources now. Exit code 1 unless every one of them gave what is held."""
    asked_at = SystemClock().now()
    with open_store(context) as store:
        asked = request_fetch(store, wanted, asked_at)
        _wait_for(store, asked, asked_at, seconds, as_json=as_json)


@app.command("renumber", epilog="Example: authz crl renumber http://crl.example.com/ca.crl")
def renumber_(
    context: typer.Context,
    location: Annotated[str, typer.Argument(metavar="LOCATION", help="Of the source, as list shows it.")],
    seconds: Wait = 15,
    as_json: AsJson = False,
) -> None:
    """Take the next CRL of a source by its date alone: its CA was restored, and counts its CRLs anew.

    Its outcome was "disagrees": a later date, and a lower number than that of the CRL held. That one goes when a
    current, complete CRL of a later date comes; what was issued before stays refused, and cannot be replayed.
    What the CA does not list any more is refused no more: ask it whether revocations were lost with its numbers.
    """
    asked_at = SystemClock().now()
    with open_store(context) as store:
        renumber(store, location, asked_at)
        _wait_for(store, [location], asked_at, seconds, as_json=as_json)


def _wait_for(store: Store, asked: list[str], asked_at: datetime, seconds: float, *, as_json: bool) -> None:
    """Until the service has tried the sources, and say what came of it. Exit code 1 unless each gave what is held."""
    deadline = time.monotonic() + seconds
    while True:
        states = [source for source in store.crl_sources() if source.location in asked]
        tried = [state for state in states if state.tried_at and state.tried_at >= asked_at and state.outcome]
        if len(tried) == len(asked) or time.monotonic() >= deadline:
            break
        time.sleep(POLL_SECONDS)
    emit(list(map(crl_source_row, states)), as_json=as_json)
    if not asked:
        hint("there are none: name some in the settings crl.urls or crl.files, or let certificates name theirs")
    if len(tried) < len(asked):
        say(f"{len(asked) - len(tried)} of {len(asked)} were not tried within {seconds:g} s")
        hint("is the service running with this database? it tries them when it can")
        raise typer.Exit(1)
    if any(state.failures for state in states):
        say("not every source gave a CRL that could be accepted; the ones held before stay")
        raise typer.Exit(1)


@app.command("forecast", epilog="Example: authz crl forecast --days 7")
def forecast(
    context: typer.Context,
    days: Annotated[
        int | None, typer.Option("--days", min=0, max=36_500, help="Only what stops within so many days.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say which registered certificates stop working when, if no CRL is refreshed: the first first."""
    settings, now = settings_of(context), SystemClock().now()
    with open_store(context) as store:
        # The service's own way to its CRLs, with a client of HTTP: no other verb here needs it.
        crls = import_module("authz.app.crls").CrlSnapshot(settings, store.crl_store())
        rows = sorted(forecasts(store, crls, now), key=lambda row: (row.at, row.organization, row.user))
    if days is not None:
        rows = [row for row in rows if row.at <= now + timedelta(days=days)]
    emit([row._asdict() for row in rows], as_json=as_json)
    stopped = sum(row.at <= now for row in rows)
    if stopped:
        say(f"{stopped} do not work now")
