"""`authz crl`: the lists of revoked certificates that the service decides by."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Annotated, Final

import typer

from authz.app.crls import KeptCrls
from authz.cli.forecast import forecasts
from authz.cli.options import AsJson, InFile, open_store, settings_of
from authz.cli.output import Row, emit, emit_one, hint, say
from authz.cli.pem_file import read_crl
from authz.clock import SystemClock
from authz.directory.store import StoredCrl
from authz.errors import StoreError
from authz.model import CrlSourceState, FetchedCrl

POLL_SECONDS: Final = 0.2
"""How often `refresh` looks whether the service has tried."""

app = typer.Typer(help="Certificate revocation lists.", no_args_is_help=True)


@app.command("add", epilog="Example: authz crl add issuing.crl (holds within a second, on open connections too)")
def add(context: typer.Context, file: InFile, as_json: AsJson = False) -> None:
    """Keep a CRL that a known CA signed, in place of the one it supersedes."""
    crl = read_crl(file)
    now = SystemClock().now()
    with open_store(context) as store:
        added = store.add_crl(crl, now)
        listed = [one for one in store.registrations() if crl.index.find(one.leaf.serial, one.leaf.issuer) is not None]
    emit_one(_describe(added), as_json=as_json)
    for one in listed:
        say(f"it lists the certificate of {one.user} of {one.organization} (registration {one.registration.id})")
    if crl.next_update is None or crl.next_update < now:
        say("it is out of date already: its issuer's certificates stay refused")
        hint("fetch the current CRL from its CA")


@app.command(
    "list",
    epilog="Example: authz crl list. Sources are told by the running service; what failed last stands beside them.",
)
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List every CRL with where it came from, and the sources that have given none."""
    now = SystemClock().now()
    with open_store(context) as store:
        added, fetched, sources = store.crls(), store.fetched_crls(), store.crl_sources()
    states = {one.location: one for one in sources}
    found = [_row_of_added(one, now) for one in added]
    found += [_row_of_fetched(one, states.pop(one.location, None), now) for one in fetched]
    given = {one.location for one in fetched}
    found += [_row_of_source(one) for one in sources if one.location not in given]
    emit(found, as_json=as_json)
    if not found:
        hint("no certificate passes without one for each CA on its path: authz crl add FILE, or the setting crl.urls")
    if any(row["next_update"] is not None and row["left"] == "expired" for row in found):
        hint("what is expired refuses its issuer's certificates: authz crl refresh, or authz crl add FILE")


@app.command("show", epilog="Example: authz crl show 3f2a (as the SHA-256 begins that list shows)")
def show(
    context: typer.Context,
    sha256: Annotated[str, typer.Argument(metavar="SHA256", help="As list shows it; its beginning is enough.")],
    as_json: AsJson = False,
) -> None:
    """Show one CRL."""
    now = SystemClock().now()
    with open_store(context) as store:
        states = {one.location: one for one in store.crl_sources()}
        rows: list[Row] = [{**_row_of_added(each, now), **_details(each)} for each in store.crls()]
        for one in store.fetched_crls():
            source = states.get(one.location)
            rows.append({**_row_of_fetched(one, source, now), **_details_of_fetched(one, source)})
    found = [row for row in rows if row["sha256"].hex().startswith(sha256.lower())]  # type: ignore[attr-defined]
    if len({row["sha256"] for row in found}) != 1:
        raise StoreError(f"{len(found)} CRLs have a SHA-256 that begins so", hint="list them with 'authz crl list'")
    emit_one(found[-1], as_json=as_json)


@app.command("refresh", epilog="Example: authz crl refresh 'CN=Issuing CA'")
def refresh(
    context: typer.Context,
    wanted: Annotated[
        str | None, typer.Argument(metavar="ISSUER", help="An issuer, or a source's location; every source if absent.")
    ] = None,
    seconds: Annotated[float, typer.Option("--wait", min=0, help="How long to wait for the service to try.")] = 15,
    as_json: AsJson = False,
) -> None:
    """Have the running service ask its sources now. Exit code 1 unless every one of them gave what is held."""
    asked_at = SystemClock().now()
    deadline = time.monotonic() + seconds
    with open_store(context) as store:
        asked = store.ask_crl_sources(wanted, asked_at)
        while True:
            states = [one for one in store.crl_sources() if one.location in asked]
            tried = [one for one in states if one.tried_at is not None and one.tried_at >= asked_at and one.outcome]
            if len(tried) == len(asked) or time.monotonic() >= deadline:
                break
            time.sleep(POLL_SECONDS)
    emit([_row_of_source(one) for one in states], as_json=as_json)
    if not asked:
        hint("there are none: name some in the settings crl.urls or crl.files, or let certificates name theirs")
    if len(tried) < len(asked):
        say(f"{len(asked) - len(tried)} of {len(asked)} were not tried within {seconds:g} s")
        hint("is the service running with this database? it tries them when it can")
        raise typer.Exit(1)
    if any(one.failures for one in states):
        say("not every source gave a CRL that could be accepted; the ones held before stay")
        raise typer.Exit(1)


@app.command("forecast", epilog="Example: authz crl forecast --days 7")
def forecast(
    context: typer.Context,
    days: Annotated[int | None, typer.Option("--days", min=0, help="Only what stops within so many days.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say which registered certificates stop working when, if no CRL is refreshed: the first first."""
    settings, now = settings_of(context), SystemClock().now()
    with open_store(context) as store:
        crls = KeptCrls(settings, store.crl_store())
        rows = sorted(forecasts(store, crls, now), key=lambda one: (one.at, one.organization, one.user))
    if days is not None:
        rows = [one for one in rows if one.at <= now + timedelta(days=days)]
    emit([one._asdict() for one in rows], as_json=as_json)
    stopped = sum(one.at <= now for one in rows)
    if stopped:
        say(f"{stopped} do not work now")


def _row_of_added(one: StoredCrl, now: datetime) -> Row:
    crl = one.crl
    when = {"age": _span(now - crl.this_update), "left": _left(crl.next_update, now)}
    return {**_describe(one), "source": "added", **when, "problem": ""}


def _row_of_fetched(one: FetchedCrl, source: CrlSourceState | None, now: datetime) -> Row:
    return {
        "issuer": one.issuer,
        "number": None if one.number is None else int(one.number),
        "entries": one.entries,
        "this_update": one.this_update,
        "next_update": one.next_update,
        "sha256": one.sha256,
        "source": one.location,
        "age": _span(now - one.this_update),
        "left": _left(one.next_update, now),
        "problem": "" if source is None or not source.failures else f"{source.outcome}: {source.detail}",
    }


def _row_of_source(one: CrlSourceState) -> Row:
    """A source in the list: what it gave last, or why it gave nothing."""
    nothing = dict.fromkeys(("issuer", "number", "entries", "this_update", "next_update", "sha256"))
    problem = f"{one.outcome}: {one.detail}" if one.failures else one.outcome or "not tried yet"
    return {**nothing, "source": one.location, "age": "", "left": "", "problem": problem}


def _details_of_fetched(one: FetchedCrl, source: CrlSourceState | None) -> Row:
    more: Row = {"delta": one.delta, "signed_by": one.signer, "fetched": one.fetched_at, "kept_as": one.name}
    if source is None:
        return more
    return {**more, "tried": source.tried_at, "failures": source.failures, "next_try": source.next_at}


def _details(one: StoredCrl) -> Row:
    crl = one.crl
    more: Row = {"base_number": crl.base_number, "indirect": crl.indirect, "signed_by": one.signer}
    return {**more, "added": one.added_at, "unusable": crl.unusable}


def _left(next_update: datetime | None, now: datetime) -> str:
    if next_update is None:
        return "no nextUpdate"
    return "expired" if next_update < now else _span(next_update - now)


def _span(time: timedelta) -> str:
    """In the largest unit of which there are at least two."""
    minutes = int(time.total_seconds() // 60)
    for size, unit in ((24 * 60, "d"), (60, "h")):
        if minutes >= 2 * size:
            return f"{minutes // size} {unit}"
    return f"{minutes} min"


def _describe(one: StoredCrl) -> Row:
    crl = one.crl
    return {
        "issuer": crl.issuer.text,
        "number": crl.number,
        "entries": len(crl.index),
        "this_update": crl.this_update,
        "next_update": crl.next_update,
        "sha256": crl.sha256,
    }
