"""CRLs that were added, and the state of the sources that the service fetches from, within a transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from authz import pki
from authz.directory import rows
from authz.directory.authorities import known_authorities
from authz.directory.database import insert_of
from authz.directory.limits import check_order
from authz.directory.queries import begins, behind, distinct, find, inserted_key, only
from authz.directory.schema import crl_sources, crls, fetched_crls, registrations, renumbered_sources
from authz.errors import Problem, Refused, StoreError
from authz.model import CrlSourceKind, CrlSourceState, FetchedCrl
from authz.reasons import Reason

if TYPE_CHECKING:
    from authz.pki import Certificate, Crl


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
    signer = _signer(crl, known, _signers(connection, crl))
    keys = _forms(signer, known)
    place = _same_place(crl, signed_by(connection, keys))
    for former in place.values():
        if former.sha256 == crl.sha256 or (former.is_delta == crl.is_delta and not former.unusable):
            check_order(crl, former)
    if not anyway and (pki.puts_out(crl, place.values(), now) or _puts_out_fetched(connection, crl, keys, now)):
        message = "this CRL has expired, and the one that it would replace has not"
        raise StoreError(message, kind=Problem.CRL_EXPIRED, issuer=crl.issuer.text)
    evidence = [row for row, former in place.items() if former.unusable and crl.unusable][: 1 - pki.MAX_EVIDENCE]
    for row, former in place.items():
        if row in evidence or crl.replaces(former):
            connection.execute(sa.delete(crls).where(crls.c.id == row))
    values = {"sha256": crl.sha256, "signer": signer.plain_spki_sha256, "der": crl.der, "added_at": now}
    issuer = pki.written_issuer(crl.der or b"", len(crl.der or b""))
    added = connection.execute(sa.insert(crls).values(**values, signer_key=signer.plain_spki, issuer=issuer))
    return StoredCrl(crl, signer.plain_spki_sha256, now, inserted_key(added))


def in_its_place(
    connection: sa.Connection, crl: Crl, known: list[Certificate], signed: Callable[[frozenset[bytes]], dict[int, Crl]]
) -> dict[int, Crl]:
    """The CRLs of the same issuer, key and scope, by the id of their row; nothing where no `known` CA signed it.

    `signed` is `signed_by`, or its results of before.
    """
    try:
        signer = pki.signer_of(crl, known, _signers(connection, crl))
    except Refused:
        return {}
    return _same_place(crl, signed(_forms(signer, known)))


def _signers(connection: sa.Connection, crl: Crl) -> set[bytes]:
    """The keys of all other CRLs; see `signer_of`."""
    return set(connection.execute(sa.select(crls.c.signer).where(crls.c.sha256 != crl.sha256)).scalars())


def signed_by(connection: sa.Connection, keys: frozenset[bytes]) -> dict[int, Crl]:
    """The CRLs that one of the keys signed, by the id of their row, in the order added."""
    signed = connection.execute(sa.select(crls).where(crls.c.signer.in_(keys)).order_by(crls.c.id))
    return {row.id: pki.Crl(row.der) for row in signed}


def _same_place(crl: Crl, signed: dict[int, Crl]) -> dict[int, Crl]:
    """Of the CRLs of a key those of the same issuer and scope."""
    return {row: former for row, former in signed.items() if (former.issuer, former.scope) == (crl.issuer, crl.scope)}


def _forms(signer: Certificate, known: list[Certificate]) -> frozenset[bytes]:
    """The digests of a signer's key in each form that is known: an earlier version filed CRLs under any of them."""
    forms = {signer.plain_spki_sha256}
    for ca in known:
        with suppress(Refused):
            if ca.subject == signer.subject and ca.plain_spki_sha256 == signer.plain_spki_sha256:
                forms.add(ca.spki_sha256)
    return frozenset(forms)


def _puts_out_fetched(connection: sa.Connection, crl: Crl, keys: frozenset[bytes], now: datetime) -> bool:
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
    return StoredCrl(pki.Crl(row.der), row.signer, row.added_at, row.id)


def readable_crls(connection: sa.Connection, issuers: Sequence[bytes] | None) -> list[Crl]:
    """The CRLs of issuers (DER), or for None those whose issuer no version wrote down; but for unreadable ones."""
    issuer = crls.c.issuer
    query = sa.select(crls.c.der).where(issuer.is_(None) if issuers is None else issuer.in_(issuers))
    return list(_read(connection.execute(query.order_by(crls.c.id)).scalars()))


def _read(ders: Iterable[bytes]) -> Iterator[Crl]:
    for der in ders:
        with suppress(Refused):
            yield pki.Crl(der)


def find_crl(connection: sa.Connection, beginning: str) -> bytes:
    """The SHA-256 of the one CRL, added or fetched, for which its hexadecimal form begins so."""
    digests = sa.union(sa.select(crls.c.sha256), sa.select(fetched_crls.c.sha256)).subquery().c.sha256
    wanted = set(connection.execute(sa.select(digests).where(begins(digests, beginning))).scalars())
    return only(wanted, "CRL", beginning, Problem.CRL_UNKNOWN)


def remove_crl(connection: sa.Connection, sha256: bytes) -> StoredCrl:
    """Remove one CRL that was added. What it lists is not refused any more, unless another CRL lists it."""
    removed = get_crl(connection, sha256)
    connection.execute(sa.delete(crls).where(crls.c.sha256 == sha256))
    return removed


def remove_crls(connection: sa.Connection, signer: bytes) -> None:
    """Remove the CRLs that a key signed, by the SHA-256 of its SubjectPublicKeyInfo."""
    connection.execute(sa.delete(crls).where(crls.c.signer == signer))


def known_cas(connection: sa.Connection) -> list[Certificate]:
    """Every CA certificate that the directory holds, of any organization; what was stored first comes first.

    One that cannot be read has signed nothing, and is not among them.
    """
    ders = known_authorities(connection)
    one = sa.select(registrations.c.chain).where(registrations.c.chain_sha256 == sa.bindparam("chain_sha256")).limit(1)
    for chain_sha256 in distinct(connection, registrations.c.chain_sha256):
        ders += rows.readable_chain(connection.execute(one, {"chain_sha256": chain_sha256}).scalar_one())
    return [ca for der in dict.fromkeys(ders) if (ca := rows.readable(der)) is not None]


def _signer(crl: Crl, known: list[Certificate], signers: set[bytes]) -> Certificate:
    try:
        return pki.signer_of(crl, known, signers)
    except Refused as refusal:
        hint = _HINTS.get(refusal.reason, "")
        kind = None if hint else Problem.CRL_SIGNER_UNKNOWN
        raise StoreError(f"this CRL is not accepted: {refusal.detail}", hint=hint, kind=kind) from refusal


_HINTS: Final = {
    Reason.ALGORITHM_NOT_ALLOWED: "have its CA sign with SHA-256 or a longer digest of SHA-2",
    Reason.KEY_USAGE_NOT_ALLOWED: "have the CA's certificate issued again with cRLSign in its key usage",
}


def list_crl_sources(connection: sa.Connection) -> list[CrlSourceState]:
    """The state of every source, by location: of several replicas, that with most failures, or that tried it first."""
    columns = [crl_sources.c[field.name] for field in fields(CrlSourceState)]
    worst = crl_sources.c.failures, crl_sources.c.tried_at.desc().nulls_last()
    every = connection.execute(sa.select(*columns).order_by(crl_sources.c.location, *worst))
    states = {row.location: CrlSourceState(**row._asdict()) for row in every}
    return [replace(state, kind=CrlSourceKind(state.kind)) for state in states.values()]


def list_fetched_crls(connection: sa.Connection, sha256: bytes | None = None) -> list[FetchedCrl]:
    """The CRLs that the service holds from sources, by issuer; those of that SHA-256.

    Where several replicas hold different ones under one name, the oldest.
    """
    columns = [fetched_crls.c[field.name] for field in fields(FetchedCrl)]
    query = sa.select(*columns).order_by(fetched_crls.c.issuer, fetched_crls.c.name, fetched_crls.c.this_update.desc())
    if sha256 is not None:
        query = query.where(fetched_crls.c.sha256 == sha256)
    return list({row.name: FetchedCrl(**row._asdict()) for row in connection.execute(query)}.values())


def renumber_source(connection: sa.Connection, location: str, now: datetime) -> None:
    """Let the numbers of CRLs that begin no later than `now` not count for what a source gives from now on."""
    # Not an issuer: which of several sources began to count anew is for the operator to say.
    if ask_crl_sources(connection, location, now) != [location]:
        raise StoreError(f"no source is {location}", kind=Problem.CRL_SOURCE_UNKNOWN)
    statement = insert_of(connection)(renumbered_sources).values(location=location, until=now)
    connection.execute(statement.on_conflict_do_update(index_elements=["location"], set_={"until": now}))


def ask_crl_sources(connection: sa.Connection, wanted: str | None, now: datetime) -> list[str]:
    """Have the running service try sources now: that of a location, those of an issuer's CRLs, or for None all.

    Returns their locations.
    """
    location = crl_sources.c.location
    query = sa.select(location).distinct().order_by(location)
    if wanted is not None:
        of_issuer = sa.select(fetched_crls.c.location).where(fetched_crls.c.issuer == wanted)
        query = query.where((location == wanted) | location.in_(of_issuer))
    locations = list(connection.execute(query).scalars())
    if wanted is not None and not locations:
        raise StoreError(f"no source is {wanted}, or has given its CRL", kind=Problem.CRL_SOURCE_UNKNOWN)
    connection.execute(sa.update(crl_sources).where(location.in_(locations)).values(asked_at=now))
    return locations
