"""`authz crl`: the lists of revoked certificates that the service decides by."""

from __future__ import annotations

from typing import Annotated

import typer

from authz.cli.options import AsJson, InFile, open_store
from authz.cli.output import Row, emit, emit_one, hint, say
from authz.cli.pem_file import read_crl
from authz.clock import SystemClock
from authz.directory.store import StoredCrl
from authz.errors import StoreError

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


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List every CRL."""
    with open_store(context) as store:
        found = store.crls()
    emit([_describe(one) for one in found], as_json=as_json)
    if not found:
        hint("no certificate passes without one for each CA on its path: authz crl add FILE")


@app.command("show")
def show(
    context: typer.Context,
    sha256: Annotated[str, typer.Argument(metavar="SHA256", help="As list shows it; its beginning is enough.")],
    as_json: AsJson = False,
) -> None:
    """Show one CRL."""
    with open_store(context) as store:
        found = [one for one in store.crls() if one.crl.sha256.hex().startswith(sha256.lower())]
    if len(found) != 1:
        raise StoreError(f"{len(found)} CRLs have a SHA-256 that begins so", hint="list them with 'authz crl list'")
    crl = found[0].crl
    more = {"base_number": crl.base_number, "indirect": crl.indirect, "signed_by": found[0].signer}
    emit_one({**_describe(found[0]), **more, "added": found[0].added_at, "unusable": crl.unusable}, as_json=as_json)


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
