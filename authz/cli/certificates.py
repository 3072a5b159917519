"""`authz cert`: which certificate is registered for which user, and from when until when."""

from __future__ import annotations

import re
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from authz.admin import registrations
from authz.cli.moments import moment
from authz.cli.options import AfterId, AsJson, Limit, OrganizationName, open_store, sha256_text
from authz.cli.output import emit, emit_one, emit_page, hint, say
from authz.cli.pem_file import name_of, read_certificates
from authz.cli.rows import registration_row
from authz.clock import SystemClock
from authz.directory import Store
from authz.directory.registrations import StoredRegistration, find_registration, list_registrations
from authz.directory.users import require_user
from authz.errors import StoreError
from authz.model import RegistrationKind

if TYPE_CHECKING:
    from authz.pki import Certificate

app = typer.Typer(no_args_is_help=True)

AnchorSha256 = Annotated[
    str | None,
    typer.Option(
        "--anchor", parser=sha256_text, metavar="SHA256", help="The anchor of its path; the leaf's own if absent."
    ),
]
MIN_DIGITS = 8
"""Digits that may be the beginning of a SHA-256, where no registration has that id."""

Key = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="The registration's id, as list shows it, or how the SHA-256 of its leaf begins."
    ),
]
From = Annotated[datetime | None, typer.Option("--from", parser=moment, metavar="TIME", help="At once if absent.")]
Until = Annotated[datetime | None, typer.Option("--until", parser=moment, metavar="TIME", help="For good if absent.")]


@app.command(
    "add",
    epilog="Example: authz cert add acme alice-chain.pem --user alice --label laptop --until +90d (or: … | authz cert "
    "add acme - --user alice)",
)
def add(
    context: typer.Context,
    organization: OrganizationName,
    user: Annotated[str, typer.Option("--user", help="Whose it is: no name in it says so.")],
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE…]", help="PEM or DER, a leaf in each; - is stdin.")
    ] = None,
    kind: Annotated[
        RegistrationKind,
        typer.Option("--kind", help="The certificate, its key, or a name of it (docs/registrations.md)."),
    ] = RegistrationKind.CERTIFICATE,
    name: Annotated[
        str | None,
        typer.Option("--name", help="The name: uri:…, dns:…, email:… or upn:…; the leaf's only one if absent."),
    ] = None,
    anchor: AnchorSha256 = None,
    label: Annotated[str, typer.Option("--label", help="At most 64 characters.")] = "",
    valid_from: From = None,
    valid_until: Until = None,
    as_json: AsJson = False,
) -> None:
    """Register the leaf in a file for a user, with the CA certificates beside it, in any order; or its key, or a name.

    Of several files all are registered, or none. One that is registered just so already is no error.
    """
    now = SystemClock().now()
    if kind is not RegistrationKind.IDENTITY and (name is not None or anchor is not None):
        raise typer.BadParameter("--name and --anchor are for --kind identity")
    if not files and kind is not RegistrationKind.IDENTITY:
        raise typer.BadParameter("give a file; a name alone is registered by --kind identity")
    read: list[tuple[list[Certificate], str]] = [(read_certificates(file), name_of(file)) for file in files or ()]
    new = [
        registrations.NewRegistration(
            organization, user, certificates, source, label, kind, name, anchor, valid_from, valid_until
        )
        for certificates, source in read or [([], "")]
    ]
    with open_store(context) as store:
        added = registrations.register_all(store, new, now)
    _report(added, now, as_json=as_json)


def _report(added: list[registrations.Registered], now: datetime, *, as_json: bool) -> None:
    """Print registrations that were added, each with what is to be said of it."""
    rows = [registration_row(each.registration, now) for each in added]
    if len(rows) == 1:
        emit_one(rows[0], as_json=as_json)
    else:
        emit(rows, as_json=as_json)
    for each in added:
        if not each.new:
            say(f"registration {each.registration.registration.id} was there already")
        _warn(each, now)


def _warn(registered: registrations.Registered, now: datetime) -> None:
    """Print what of a registration that was added or changed does not do what one may think."""
    registration = registered.registration.registration
    until = registration.valid_until
    if until is not None and until <= now:
        say(f"the registration has ended already, on {until:%Y-%m-%d %H:%M:%SZ}: it counts for no request")
        hint(f"give it a later end: authz cert set {registration.id} --until +90d")
    if registered.elsewhere:
        say(f"the certificate is registered in {', '.join(registered.elsewhere)} too")
    if registered.problem:
        say(f"registered, but it does not verify now: {registered.problem}")
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
        if organization is not None and user is not None:
            require_user(connection, organization, user)
        every = list_registrations(connection, organization, user, after)
        listed = emit_page((registration_row(stored, now) for stored in every), "id", limit, as_json=as_json)
    if not listed and after is None:
        hint("register one: authz cert add ORGANIZATION chain.pem --user USER")


@app.command("show", epilog="Example: authz cert show 7")
def show(context: typer.Context, key: Key, as_json: AsJson = False) -> None:
    """Show one registration."""
    with open_store(context) as store:
        stored = _find(store, key)
    leaf = stored.leaf
    issuer = {} if leaf is None else {"issuer": leaf.issuer.text, "serial": f"{leaf.serial:x}"}
    chain = {"stored_chain": len(stored.registration.chain)}
    emit_one({**registration_row(stored, SystemClock().now()), **issuer, **chain}, as_json=as_json)


def _find(store: Store, key: str) -> StoredRegistration:
    """The registration of that id, or whose leaf's SHA-256 begins so. Raises `StoreError`; usage is exit code 2."""
    if re.fullmatch(r"[0-9]{1,18}", key):
        try:
            return store.registration(int(key))
        except StoreError:
            # One SHA-256 in forty begins with eight digits; fewer were meant as an id, perhaps of what is gone.
            if len(key) < MIN_DIGITS:
                raise
    beginning = sha256_text(key)
    if not re.fullmatch(r"[0-9a-fA-F]{1,64}", beginning):
        raise typer.BadParameter(f"{key} is neither an id nor the beginning of a SHA-256; list shows both")
    with store.reading() as connection:
        return find_registration(connection, beginning)


@app.command(
    "set", epilog="Example: authz cert set 7 --label phone --until +90d (or --until none: it does not end by itself)"
)
def set_(
    context: typer.Context,
    key: Key,
    label: Annotated[str | None, typer.Option("--label", help="At most 64 characters.")] = None,
    valid_from: Annotated[str | None, typer.Option("--from", metavar="TIME", help="none takes it away.")] = None,
    valid_until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="none takes it away.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change label or period of a registration."""
    now = SystemClock().now()
    times = {"valid_from": valid_from, "valid_until": valid_until}
    changed = {name: None if text == "none" else moment(text) for name, text in times.items() if text is not None}
    changes: dict[str, object] = {**({} if label is None else {"label": label}), **changed}
    if not changes:
        raise typer.BadParameter("give --label, --from or --until")
    with open_store(context) as store:
        done = registrations.change_registration(store, _find(store, key).registration.id, changes, now)
    emit_one(registration_row(done.registration, now), as_json=as_json)
    _warn(done, now)


@app.command("retire", epilog="Example: authz cert retire 7 (holds within a second, on open connections too)")
def retire(
    context: typer.Context,
    key: Key,
    at: Annotated[datetime | None, typer.Option("--at", parser=moment, metavar="TIME", help="Now if absent.")] = None,
    renewals: Annotated[
        bool, typer.Option("--renewals", help="End the registrations of its key and its names for the user as well.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """End a registration, until it is reinstated."""
    now = SystemClock().now()
    with open_store(context) as store:
        retired = registrations.retire(store, _find(store, key).registration.id, at or now)
        others = registrations.renewals_of(store, retired)
        ended = [registrations.retire(store, other.registration.id, at or now) for other in others if renewals]
    rows = [registration_row(each, now) for each in (retired, *ended)]
    if ended:
        emit(rows, as_json=as_json)
    else:
        emit_one(rows[0], as_json=as_json)
    hint(f"take it back: authz cert reinstate {retired.registration.id}")
    for other in others[len(ended) :]:
        admitted = other.registration
        say(f"registration {admitted.id}, of kind {admitted.kind}, still admits other certificates of {other.user}")
        hint(f"end it as well, if the key was stolen: authz cert retire {admitted.id}")


@app.command("reinstate", epilog="Example: authz cert reinstate 7")
def reinstate(context: typer.Context, key: Key, as_json: AsJson = False) -> None:
    """Undo the retirement of a registration; its period stays."""
    now = SystemClock().now()
    with open_store(context) as store:
        done = registrations.reinstate(store, _find(store, key).registration.id, now)
    emit_one(registration_row(done.registration, now), as_json=as_json)
    _warn(done, now)


@app.command(
    "rotate",
    epilog="Example: authz cert rotate acme alice renewed.pem --overlap 7d, or authz cert rotate acme --from renewed/",
)
def rotate(
    context: typer.Context,
    organization: OrganizationName,
    user: Annotated[str | None, typer.Argument(metavar="USER", help="Whose certificate was renewed.")] = None,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The new leaf and the CA certificates beside it, PEM or DER.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--from", metavar="FOLDER", help="Instead: a file USER.pem for each user.")
    ] = None,
    overlap: Annotated[
        str, typer.Option("--overlap", metavar="SPAN", help="How long the certificate before stays good: 7d, 12h, 0s.")
    ] = "7d",
    label: Annotated[
        str | None, typer.Option("--label", help="Which of several certificates of a user is renewed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Register renewed certificates; the ones before them end after the overlap. All of them, or none."""
    # What plans and applies: no other verb of a certificate needs it.
    renew = import_module("authz.cli.rotation").rotate
    renew(context, organization, user, file, folder, overlap=overlap, label=label, as_json=as_json)
