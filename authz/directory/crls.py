"""CRLs that were added, and the state of the sources that the service fetches from, within a transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from authz.directory import rows
from authz.directory.limits import check_order
from authz.directory.queries import behind, find, inserted_key
from authz.directory.schema import anchors, crl_sources, crls, fetched_crls, intermediates, registrations
from authz.errors import Problem, Refused, StoreError
from authz.model import CrlSourceKind, CrlSourceState, FetchedCrl
from authz.pki import Certificate, Crl, signer_of
from authz.pki.crl.crl import MAX_EVIDENCE, puts_out
from authz.reasons import Reason


@dataclass(frozen=True, slots=True)
class StoredCrl:
    """A CRL, the SHA-256 of the key that signed it, when it was added, and the id of its row."""

    crl: Crl
    signer: bytes
    added_at: datetime
    id: int


def add_crl(
    connection: sa.Connection, crl: Crl, known: list[Certificate], now: datetime, *, anyway: bool = False
) -> StoredCrl:
    """Keep a CRL that the key of a `known` CA signed; those it replaces go. One that is unusable replaces none.

    Known (`known_cas`) are the anchors and intermediates of every organization and the CAs stored with
    registrations: a CRL speaks for a key, so no tenant's CRL answers for another's. One that has expired replaces a
    current one only if `anyway`.
    """
    if crl.this_update > now:
        # It would replace the one that holds now, and say nothing itself.
        hint = "compare the clocks of CA and service, or add it later"
        raise StoreError(f"this CRL begins on {crl.this_update:%Y-%m-%d %H:%M:%SZ}", hint=hint)
    signers = set(connection.execute(sa.select(crls.c.signer)).scalars())
    signer = _signer(crl, known, signers)
    keys = _forms(signer, known)
    place = _same_place(connection, crl, keys)
    for former in place.values():
        if former.sha256 == crl.sha256 or (former.is_delta == crl.is_delta and not former.unusable):
            check_order(crl, former)
    if not anyway and (puts_out(crl, place.values(), now) or _puts_out_fetched(connection, crl, keys, now)):
        message = "this CRL has expired, and the one that it would replace has not"
        raise StoreError(message, kind=Problem.CRL_EXPIRED, issuer=crl.issuer.text)
    evidence = [row for row, former in place.items() if former.unusable and crl.unusable][: 1 - MAX_EVIDENCE]
    for row, former in place.items():
        if row in evidence or crl.replaces(former):
            connection.execute(sa.delete(crls).where(crls.c.id == row))
    values = {"sha256": crl.sha256, "signer": signer.plain_spki_sha256, "der": crl.der, "added_at": now}
    added = connection.execute(sa.insert(crls).values(**values, signer_key=signer.plain_spki))
    return StoredCrl(crl, signer.plain_spki_sha256, now, inserted_key(added))


def _same_place(connection: sa.Connection, crl: Crl, keys: set[bytes]) -> dict[int, Crl]:
    """The CRLs of the same issuer, key and scope, by the id of their row, in the order added."""
    signed = connection.execute(sa.select(crls).where(crls.c.signer.in_(keys)).order_by(crls.c.id))
    formers = {row.id: Crl(row.der) for row in signed}
    return {row: former for row, former in formers.items() if (former.issuer, former.scope) == (crl.issuer, crl.scope)}


def _forms(signer: Certificate, known: list[Certificate]) -> set[bytes]:
    """The digests of a signer's key in each form that is known: an earlier version filed CRLs under any of them."""
    forms = {signer.plain_spki_sha256}
    for ca in known:
        with suppress(Refused):
            if ca.subject == signer.subject and ca.plain_spki_sha256 == signer.plain_spki_sha256:
                forms.add(ca.spki_sha256)
    return forms


def _puts_out_fetched(connection: sa.Connection, crl: Crl, keys: set[bytes], now: datetime) -> bool:
    """Whether `crl` has expired and would answer for a current one that the service fetched, if of the same scope."""
    if crl.unusable or crl.next_update is None or crl.next_update >= now:
        return False
    fetched = fetched_crls.c
    of_its_key = (fetched.issuer == crl.issuer.text) & fetched.signer.in_(keys)
    older = (fetched.delta == crl.is_delta) & (fetched.this_update <= crl.this_update)
    current = sa.select(fetched.name).where(of_its_key & older & (fetched.next_update >= now))
    return connection.execute(current).first() is not None


def list_crls(connection: sa.Connection, after: int | None = None) -> Iterator[StoredCrl]:
    """The CRLs that were added, in that order; those behind the id `after`."""
    return map(_stored, connection.execute(behind(sa.select(crls), crls.c.id, after)))


def get_crl(connection: sa.Connection, sha256: bytes) -> StoredCrl:
    """One CRL that was added."""
    row = find(connection, crls, sha256=sha256)
    if row is None:
        raise StoreError(f"no CRL that was added has the SHA-256 {sha256.hex()}", kind=Problem.CRL_UNKNOWN)
    return _stored(row)


def _stored(row: sa.Row[Any]) -> StoredCrl:
    return StoredCrl(Crl(row.der), row.signer, row.added_at, row.id)


def find_crls(connection: sa.Connection, beginning: str) -> set[bytes]:
    """The SHA-256 of each CRL, added or fetched, for which its hexadecimal form begins so."""
    digests = sa.union(sa.select(crls.c.sha256), sa.select(fetched_crls.c.sha256)).subquery().c.sha256
    query = sa.select(digests).where(sa.func.lower(sa.func.hex(digests)).startswith(beginning.lower(), autoescape=True))
    return set(connection.execute(query).scalars())


def remove_crl(connection: sa.Connection, sha256: bytes) -> StoredCrl:
    """Remove one CRL that was added. What it lists is not refused any more, unless another CRL lists it."""
    removed = get_crl(connection, sha256)
    connection.execute(sa.delete(crls).where(crls.c.sha256 == sha256))
    return removed


def remove_crls(connection: sa.Connection, signer: bytes) -> None:
    """Remove the CRLs that a key signed, by the SHA-256 of its SubjectPublicKeyInfo."""
    connection.execute(sa.delete(crls).where(crls.c.signer == signer))


def known_cas(connection: sa.Connection) -> list[Certificate]:
    """Every CA certificate the directory holds, of any organization."""
    ders = {row.der for table in (anchors, intermediates) for row in connection.execute(sa.select(table.c.der))}
    for row in connection.execute(sa.select(registrations.c.chain).distinct()):
        ders.update(rows.split_chain(row.chain))
    return list(map(rows.certificate, ders))


def _signer(crl: Crl, known: list[Certificate], signers: set[bytes]) -> Certificate:
    try:
        return signer_of(crl, known, signers)
    except Refused as refusal:
        hint = _HINTS.get(refusal.reason, "")
        kind = None if hint else Problem.CRL_SIGNER_UNKNOWN
        raise StoreError(f"this CRL is not accepted: {refusal.detail}", hint=hint, kind=kind) from refusal


_HINTS: Final = {
    Reason.ALGORITHM_NOT_ALLOWED: "have its CA sign with SHA-256 or a longer digest of SHA-2",
    Reason.KEY_USAGE_NOT_ALLOWED: "have the CA's certificate issued again with cRLSign in its key usage",
}


def list_crl_sources(connection: sa.Connection) -> list[CrlSourceState]:
    """The state of every source, by location."""
    names = [field.name for field in fields(CrlSourceState)]
    every = connection.execute(sa.select(crl_sources).order_by(crl_sources.c.location))
    states = [CrlSourceState(**{name: getattr(row, name) for name in names}) for row in every]
    return [replace(state, kind=CrlSourceKind(state.kind)) for state in states]


def list_fetched_crls(connection: sa.Connection, sha256: bytes | None = None) -> list[FetchedCrl]:
    """The CRLs that the service holds from sources, by issuer; those of that SHA-256."""
    query = sa.select(fetched_crls).order_by(fetched_crls.c.issuer, fetched_crls.c.name)
    if sha256 is not None:
        query = query.where(fetched_crls.c.sha256 == sha256)
    return [FetchedCrl(**row._asdict()) for row in connection.execute(query)]


def ask_crl_sources(connection: sa.Connection, wanted: str | None, now: datetime) -> list[str]:
    """Have the running service try sources now: that of a location, those of an issuer's CRLs, or for None all.

    Returns their locations.
    """
    location = crl_sources.c.location
    query = sa.select(location).order_by(location)
    if wanted is not None:
        of_issuer = sa.select(fetched_crls.c.location).where(fetched_crls.c.issuer == wanted)
        query = query.where((location == wanted) | location.in_(of_issuer))
    locations = list(connection.execute(query).scalars())
    if wanted is not None and not locations:
        raise StoreError(f"no source is {wanted}, or has given its CRL", kind=Problem.CRL_SOURCE_UNKNOWN)
    connection.execute(sa.update(crl_sources).where(location.in_(locations)).values(asked_at=now))
    return locations
