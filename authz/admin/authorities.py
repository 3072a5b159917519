"""Anchors and intermediates: added and removed, in one organization or, for None, in all.

Every function raises `ConfigError` or `Refused` for certificates that cannot be used, and `StoreError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from authz import pki
from authz.admin.audited_store import AuditedStore
from authz.admin.described import described_ca
from authz.admin.public_roots import PUBLIC_ROOTS, SOURCE
from authz.directory import Store
from authz.directory.authorities import ANCHORS, INTERMEDIATES, Authorities
from authz.directory.rows import readable
from authz.errors import ConfigError, Problem, Refused
from authz.reasons import Reason

if TYPE_CHECKING:
    from authz.pki import AlgorithmRules, Certificate


def add_anchors(
    store: AuditedStore,
    organization: str | None,
    certificates: Sequence[Certificate],
    source: object,
    *,
    anyway: bool = False,
) -> list[Certificate]:
    """Trust the CA certificates of a source, which errors name; returns those that were new.

    One that is not self-signed becomes an anchor only if `anyway`: no CRL is asked about an anchor.
    """
    cas = _usable_cas(store, organization, certificates, source)
    for ca in cas:
        if not (anyway or is_self_signed(ca)):
            message = f"{ca.subject.text} in {source} is not self-signed, and as an anchor it is never revoked"
            raise ConfigError(message, kind=Problem.ANCHOR_NOT_SELF_SIGNED)
    return _add(store, ANCHORS, organization, cas)


def add_intermediates(
    store: AuditedStore, organization: str | None, certificates: Sequence[Certificate], source: object
) -> list[Certificate]:
    """Know the CA certificates of a source, which errors name; returns those that were new."""
    return _add(store, INTERMEDIATES, organization, _usable_cas(store, organization, certificates, source))


def _add(
    store: AuditedStore, authorities: Authorities, organization: str | None, cas: Sequence[Certificate]
) -> list[Certificate]:
    with store.change() as change:
        new = authorities.add(change.connection, organization, cas)
        for ca in new:
            change.record(
                "add", thing(authorities, ca.sha256), organization, after=described_ca(ca.sha256, ca.subject.text)
            )
    return new


def remove(store: AuditedStore, authorities: Authorities, organization: str | None, sha256: bytes) -> None:
    """Trust or know a CA no longer, in an organization, or for None the one that was shared."""
    with store.change() as change:
        ca = readable(authorities.remove(change.connection, organization, sha256))
        change.record(
            "remove",
            thing(authorities, sha256),
            organization,
            before=described_ca(sha256, None if ca is None else ca.subject.text),
        )


def thing(authorities: Authorities, sha256: bytes) -> str:
    """What the audit log calls a CA certificate: `anchor 3f2a…`, `intermediate 3f2a…`."""
    return f"{authorities.table.name.removesuffix('s')} {sha256.hex()}"


def is_self_signed(certificate: Certificate) -> bool:
    """Whether the certificate's own key signed it; with an algorithm that is not accepted, its names alone decide."""
    refusal = pki.signature_refusal(certificate, certificate) if certificate.self_issued else None
    return certificate.self_issued and (refusal is None or refusal.reason is Reason.ALGORITHM_NOT_ALLOWED)


def anchor_warnings(certificates: Iterable[Certificate], now: datetime) -> Iterator[str]:
    """What an operator should know about each of these anchors."""
    for certificate in certificates:
        subject = certificate.subject.text
        if certificate.not_after < now:
            yield f"{subject} expired on {certificate.not_after:%Y-%m-%d %H:%M:%SZ}: no certificate below it passes"
        if not is_self_signed(certificate):
            yield f"{subject} is not self-signed: no CRL is asked whether it is revoked"
        if certificate.spki_sha256.hex() in PUBLIC_ROOTS:
            yield (
                f"{subject} is a public root ({SOURCE}): its CAs sign the servers of anybody, and clients no longer; "
                "use a CA of your own"
            )


def intermediate_warnings(certificates: Iterable[Certificate], now: datetime) -> Iterator[str]:
    """What an operator should know about each of these intermediates."""
    for certificate in certificates:
        subject = certificate.subject.text
        if certificate.not_after < now:
            yield f"{subject} expired on {certificate.not_after:%Y-%m-%d %H:%M:%SZ}: no path goes through it"
        if is_self_signed(certificate):
            yield f"{subject} is self-signed: no path goes through it, unless it is an anchor too"


def _usable_cas(
    store: Store, organization: str | None, certificates: Sequence[Certificate], source: object
) -> Sequence[Certificate]:
    """The certificates, each of which can be a CA, with a key that the organization accepts; any one, for None."""
    owners = store.organizations() if organization is None else [store.organization(organization)]
    accepted = [pki.service_policy(owner.path).algorithms for owner in owners]
    if organization is None:
        accepted.append(pki.DEFAULT_ALGORITHMS)
    for certificate in certificates:
        if certificate.v3 and not certificate.extensions.ca:
            message = f"{source} holds the certificate of {certificate.subject.text}, which is no CA"
            raise ConfigError(message, kind=Problem.IS_NO_CA)
        _check_key(certificate, accepted)
    return certificates


def _check_key(certificate: Certificate, accepted: Sequence[AlgorithmRules]) -> None:
    """A key that none of the rules accepts is reported now, not at the first request. Raises `Refused`."""
    certificate.public_key  # noqa: B018 - one that cannot be read is reported as well
    *others, last = accepted
    for rules in others:
        with suppress(Refused):
            return rules.check_key(certificate.key, certificate.der, stored=True)
    return last.check_key(certificate.key, certificate.der, stored=True)
