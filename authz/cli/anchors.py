"""`authz anchor` and `authz intermediate`: whom an organization trusts, and which CAs are merely known."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from sqlalchemy import Connection

from authz.admin import authorities
from authz.cli.options import AfterId, Anyway, AsJson, Limit, open_store, sha256_text
from authz.cli.output import Row, emit, emit_one, emit_page, fail, hint, say
from authz.cli.pem_file import read_certificates
from authz.cli.rows import SHARED, authority_row, listed_authority_row
from authz.clock import SystemClock
from authz.directory import Store
from authz.directory.authorities import ANCHORS, INTERMEDIATES, Authorities, StoredCertificate
from authz.envoy_sds import replace_file, request_level_secret, sds_secret

if TYPE_CHECKING:
    from authz.admin.dependents import Dependent
    from authz.pki import Certificate

anchor_app = typer.Typer(no_args_is_help=True)
intermediate_app = typer.Typer(no_args_is_help=True)

Shared = Annotated[bool, typer.Option("--shared", help="For every organization, instead of one.")]
Arguments = Annotated[
    list[str], typer.Argument(metavar="ORGANIZATION FILE", help="With --shared the file alone, PEM or DER.")
]
Sha256 = Annotated[
    list[str],
    typer.Argument(metavar="ORGANIZATION SHA256", help="With --shared the SHA-256 alone; its beginning is enough."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only list the users who depend on it.")]
Owner = Annotated[str | None, typer.Argument(metavar="ORGANIZATION", help="Its own and the shared; all if absent.")]


def _split(arguments: list[str], *, shared: bool, second: str) -> tuple[str | None, str]:
    """Organization and the other argument; with --shared there is no organization. Usage is exit code 2."""
    if len(arguments) != (1 if shared else 2):
        raise typer.BadParameter(f"give {second} alone with --shared, else ORGANIZATION {second}")
    return (None, arguments[0]) if shared else (arguments[0], arguments[1])


@anchor_app.command("add", epilog="Example: authz anchor add acme roots.pem, or authz anchor add --shared roots.pem")
def add_anchor(
    context: typer.Context,
    arguments: Arguments,
    shared: Shared = False,
    anyway: Anyway = False,
    as_json: AsJson = False,
) -> None:
    """Trust the CA certificates in a file.

    One that is not self-signed needs --anyway: as an anchor it is trusted itself, and no CRL is asked about it.
    """
    organization, file = _split(arguments, shared=shared, second="FILE")
    cas = read_certificates(Path(file))
    with open_store(context) as store:
        new = authorities.add_anchors(store, organization, cas, file, anyway=anyway)
    _emit_added(organization, cas, new, as_json=as_json)
    for warning in authorities.anchor_warnings(cas, SystemClock().now()):
        say(warning)
    hint("every CA on a path needs a CRL: authz crl add FILE; Envoy's own bundle: authz anchor export --sds FILE")


@intermediate_app.command("add", epilog="Example: authz intermediate add acme issuing-ca.pem")
def add_intermediate(
    context: typer.Context, arguments: Arguments, shared: Shared = False, as_json: AsJson = False
) -> None:
    """Know the CA certificates in a file, for clients that do not send them."""
    organization, file = _split(arguments, shared=shared, second="FILE")
    cas = read_certificates(Path(file))
    with open_store(context) as store:
        new = authorities.add_intermediates(store, organization, cas, file)
    _emit_added(organization, cas, new, as_json=as_json)
    for warning in authorities.intermediate_warnings(cas, SystemClock().now()):
        say(warning)
    if any(map(authorities.is_self_signed, cas)):
        hint("trust a self-signed CA with 'authz anchor add'")
    hint("every CA on a path needs a CRL: authz crl add FILE")


def _emit_added(organization: str | None, cas: list[Certificate], new: list[Certificate], *, as_json: bool) -> None:
    emit([{**authority_row(StoredCertificate(organization, ca)), "new": ca in new} for ca in cas], as_json=as_json)
    say(f"{len(new)} of {len(cas)} are new")


def _list_command(table: Authorities, if_empty: str = "") -> Callable[..., None]:
    def list_(
        context: typer.Context,
        organization: Owner = None,
        limit: Limit = None,
        after: AfterId = None,
        as_json: AsJson = False,
    ) -> None:
        with open_store(context) as store, store.reading() as connection:
            rows = map(listed_authority_row, table.list(connection, organization, after))
            listed = emit_page(rows, "id", limit, as_json=as_json)
        if if_empty and not listed and after is None:
            hint(if_empty)

    return list_


anchor_app.command("list", help="List trust anchors, in the order added.", epilog="Example: authz anchor list acme")(
    _list_command(ANCHORS, "no certificate verifies without one: authz anchor add ORGANIZATION roots.pem")
)
intermediate_app.command(
    "list", help="List known intermediates, in the order added.", epilog="Example: authz intermediate list acme"
)(_list_command(INTERMEDIATES))


def _dependents_command(table: Authorities) -> Callable[..., None]:
    def dependents_(context: typer.Context, arguments: Sha256, shared: Shared = False, as_json: AsJson = False) -> None:
        organization, beginning = _split(arguments, shared=shared, second="SHA256")
        with open_store(context) as store:
            digest = _digest(store, table, organization, beginning)
            emit_dependents(store, _of_ca(organization, digest), as_json=as_json)

    return dependents_


def _remove_command(table: Authorities, then: str = "") -> Callable[..., None]:
    def remove_(
        context: typer.Context,
        arguments: Sha256,
        shared: Shared = False,
        dry_run: DryRun = False,
        as_json: AsJson = False,
    ) -> None:
        organization, beginning = _split(arguments, shared=shared, second="SHA256")
        with open_store(context) as store:
            digest = _digest(store, table, organization, beginning)
            if dry_run:
                emit_dependents(store, _of_ca(organization, digest), as_json=as_json)
                return
            authorities.remove(store, table, organization, digest)
        emit_one({"removed": digest, "organization": organization or SHARED}, as_json=as_json)
        if then:
            hint(then)

    return remove_


for _app, _table, _name in ((anchor_app, ANCHORS, "anchor"), (intermediate_app, INTERMEDIATES, "intermediate")):
    _app.command(
        "dependents",
        help="List the users whose active registrations, or what they presented lately, lead to it.",
        epilog=f"Example: authz {_name} dependents acme 3f2a (then: authz {_name} remove acme 3f2a)",
    )(_dependents_command(_table))

anchor_app.command(
    "remove",
    help="Trust a CA no longer; every certificate below it is refused from the next second on.",
    epilog="Example: authz anchor remove acme 3f2a (as the SHA-256 begins that list shows)",
)(_remove_command(ANCHORS, "export Envoy's bundle again: authz anchor export --sds FILE"))
intermediate_app.command(
    "remove",
    help="Know an intermediate no longer.",
    epilog="Example: authz intermediate remove acme 3f2a (as the SHA-256 begins that list shows)",
)(_remove_command(INTERMEDIATES))


def _of_ca(organization: str | None, digest: bytes) -> Callable[[Connection, datetime], Iterator[Dependent]]:
    return lambda connection, now: import_module("authz.admin.dependents").dependents(
        connection, organization, digest, now
    )


def emit_dependents(
    store: Store, listed: Callable[[Connection, datetime], Iterator[Dependent]], *, as_json: bool
) -> None:
    """Print the users that `listed` yields, each as a row, and how many of them stop."""
    counts = [0, 0]

    def rows() -> Iterator[Row]:
        with store.reading() as connection:
            for dependent in listed(connection, SystemClock().now()):
                counts[dependent.stops] += 1
                yield {**dependent._asdict(), "stops": dependent.stops}

    emit(rows(), as_json=as_json)
    elsewhere, stop = counts
    say(f"users who depend on it: {elsewhere + stop}; with another way: {elsewhere}; without one: {stop}")


def _digest(store: Store, ca_table: Authorities, organization: str | None, beginning: str) -> bytes:
    beginning = sha256_text(beginning)
    if not re.fullmatch("[0-9a-fA-F]{1,64}", beginning):
        raise typer.BadParameter("a SHA-256 begins with up to 64 hexadecimal digits; list shows it")
    with store.reading() as connection:
        return ca_table.digest(connection, organization, beginning)


@anchor_app.command("export", epilog="Example: authz anchor export --sds /etc/envoy/tls/client-ca.yaml")
def export(
    context: typer.Context,
    organization: Owner = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write a PEM bundle here.")] = None,
    sds: Annotated[Path | None, typer.Option("--sds", help="Write the secret that deploy/envoy.yaml watches.")] = None,
    request_level: Annotated[
        bool,
        typer.Option("--request-level", help="With --sds: let the proxy refuse no certificate."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write anchors for the proxy's own validation, in one step a watching proxy sees whole; stdout by default."""
    if request_level:
        if sds is None:
            raise typer.BadParameter("--request-level goes with --sds")
        replace_file(sds, request_level_secret())
        if as_json:
            emit_one({"anchors": [], "files": [str(sds)]}, as_json=True)
        say("the proxy asks for a certificate and refuses none; who may pass is the service's alone to say")
        return
    with open_store(context) as store:
        anchors = {stored.certificate.der: stored.certificate for stored in store.anchors(organization)}
    if not anchors:
        # An empty bundle would switch the proxy's validation off, or lock everybody out.
        fail("there is no anchor to export", "add one: authz anchor add ORGANIZATION roots.pem")
        raise typer.Exit(1)
    pem = "".join(ssl.DER_cert_to_PEM_cert(anchor.der) for anchor in anchors.values())
    if out is not None:
        replace_file(out, pem)
    if sds is not None:
        replace_file(sds, sds_secret(pem))
    if as_json:
        files = [str(path) for path in (out, sds) if path is not None]
        emit_one({"anchors": [anchor.sha256 for anchor in anchors.values()], "files": files}, as_json=True)
    elif out is None and sds is None:
        typer.echo(pem, nl=False)
    say(f"{len(anchors)} anchors exported")
