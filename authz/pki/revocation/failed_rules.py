"""Why no CRL shows that a certificate is not revoked: of each CRL of its issuer's name the first rule that it failed.

The order is that of section 6.3.3 turned round, as an operator mends it: signature algorithm, signature, key usage,
the signer's own path, scope, time. Computed after a refusal alone, and of the CRLs that a key of the organization's
own CAs may have signed: what others publish under the same name costs nothing, and is counted only.
"""

from __future__ import annotations

from contextlib import suppress
from heapq import nlargest
from itertools import chain
from typing import TYPE_CHECKING, Final

from authz.errors import Refused
from authz.pki.revocation.crl_scope import scope_failure
from authz.pki.revocation.crl_signers import may_sign_crls
from authz.pki.revocation.crl_with_deltas import lateness
from authz.pki.x509.distinguished_name import Name
from authz.pki.x509.library import named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from authz.pki.context import Validation
    from authz.pki.crl.crl import Crl
    from authz.pki.revocation.crl_signers import CrlSigners, PathPosition
    from authz.pki.revocation.crl_store import CrlStore
    from authz.pki.x509.certificate import Certificate

MAX_EXAMINED: Final = 32
"""CRLs that are looked at for one certificate, the newest first."""

MAX_REPORTED: Final = 8
"""CRLs in one report, those first that came furthest; of each kind of failure there is seldom more than one."""

MAX_NAMES: Final = 3
"""Names of a distribution point in a report."""


def failed_rules(position: PathPosition, store: CrlStore, signers: CrlSigners, validation: Validation) -> str:
    """A sentence for the operator; `position` is of a certificate that was refused as revocation_unknown."""
    certificate = position.certificate
    failures: list[tuple[int, str, Crl]] = []
    strangers = 0
    # Once the budget is used up, what was found so far is reported.
    with suppress(Refused):
        for name in dict.fromkeys(name for point in certificate.crl_points for name in point.crl_issuers):
            by_issuer = store.under(name)
            if by_issuer is None:
                continue
            known = signers.known(name, position)
            keys = ((signer.plain_spki_sha256, signer.spki_sha256) for signer in known)
            own = by_issuer.signed_by(chain.from_iterable(keys))
            strangers += len(by_issuer) - len(own)
            newest = nlargest(MAX_EXAMINED, own, key=lambda crl: crl.this_update)
            failures += ((*_failure(crl, own, known, position, signers, validation), crl) for crl in newest)
    return _report(certificate, failures, strangers)


def _report(certificate: Certificate, failures: list[tuple[int, str, Crl]], strangers: int) -> str:
    failures.sort(key=lambda failure: failure[0], reverse=True)
    reports = [f"{_named(crl)} {text}" for _, text, crl in failures[:MAX_REPORTED]]
    if len(failures) > MAX_REPORTED:
        reports.append(f"and {len(failures) - MAX_REPORTED} more")
    if strangers:
        reports.append(f"{strangers} of that name signed by keys that are not known to be its CA's")
    issuer = certificate.issuer.text
    return f"no CRL of {issuer} shows that it is not revoked: {'; '.join(reports) or _none_held(certificate)}"


def _none_held(certificate: Certificate) -> str:
    """Where the certificate says that its CRL is, as far as anything is fetched from there."""
    stated = _stated(certificate)
    if not stated and certificate.no_rev_avail:
        return (
            "none is held, and by the certificate its CA publishes none (noRevAvail, RFC 9608); that alone lets "
            "nothing pass; see [[crl.exception]]"
        )
    if not stated:
        return "none is held, and the certificate names no distribution point to fetch one from"
    if any(str(getattr(name, "value", "")).startswith(("http:", "https:")) for name in stated):
        return f"none is held; the certificate names {listed_names(stated)}"
    return f"none is held, and none is fetched from {listed_names(stated)}: only from http and https"


def _stated(certificate: Certificate) -> list[object]:
    """The names in the distribution points that the certificate has: the implied one is the last."""
    return [name for point in certificate.crl_points[:-1] for name in point.names]


def _named(crl: Crl) -> str:
    number = "" if crl.number is None else f" {crl.number}"
    return f"the CRL{number} of {crl.this_update:%Y-%m-%d %H:%M:%SZ}"


def _failure(
    crl: Crl,
    own: Iterable[Crl],
    known: list[Certificate],
    position: PathPosition,
    signers: CrlSigners,
    validation: Validation,
) -> tuple[int, str]:
    """How far the CRL came, and what it failed."""

    def rules() -> Iterator[str]:
        yield _algorithm(crl, validation)
        yield _signature(crl, known, position, signers)
        yield _scope(crl, position.certificate)
        yield _time(crl, own, validation.at)
        yield "covers only some of the reasons, and no other CRL the rest"

    return next((rank, text) for rank, text in enumerate(rules()) if text)


def _algorithm(crl: Crl, validation: Validation) -> str:
    try:
        oid = crl.signed.oid
    except Refused as refusal:
        return f"has an algorithm that is not accepted: {refusal.detail}"
    accepted = oid in validation.policy.algorithms.signatures
    return (
        "" if accepted else f"has an algorithm that the organization does not accept: signature algorithm {named(oid)}"
    )


def _signature(crl: Crl, known: list[Certificate], position: PathPosition, signers: CrlSigners) -> str:
    """6.3.3 (g) and (f)."""
    by = signers.verifying(crl, known)
    if not by:
        return f"has a signature that verifies under no known key of {crl.issuer.text}"
    able = [signer for signer in by if may_sign_crls(signer)]
    if not able:
        return f"is signed by {crl.issuer.text}, whose key usage lacks cRLSign"
    keys = {signer.spki_sha256 for signer in signers.on_path(crl.issuer, position)}
    if any(signer.spki_sha256 in keys or signers.is_authorized(signer, crl.issuer, position) for signer in able):
        return ""
    return "is signed by another key, which has no path of its own from the same CA to the same anchor"


def _scope(crl: Crl, certificate: Certificate) -> str:
    """6.3.3 (b)."""
    points = [point for point in certificate.crl_points if crl.issuer in point.crl_issuers]
    if crl.names and all(point.names.isdisjoint(crl.names) for point in points):
        stated = _stated(certificate)
        meant = f"names {listed_names(stated)}" if stated else "names no distribution point"
        return f"is for the distribution point {listed_names(crl.names)}, and the certificate {meant}"
    return scope_failure(crl, certificate)


def listed_names(names: Iterable[object]) -> str:
    """Names of distribution points, a few of them, for people to read."""
    texts = sorted(name.text if isinstance(name, Name) else str(getattr(name, "value", name)) for name in names)
    return ", ".join(texts[:MAX_NAMES]) + (", …" if len(texts) > MAX_NAMES else "")


def _time(crl: Crl, own: Iterable[Crl], at: datetime) -> str:
    if crl.this_update > at:
        return f"begins on {crl.this_update:%Y-%m-%d %H:%M:%SZ}"
    if crl.unusable:
        return f"has {crl.unusable}"
    late = lateness(crl, at)
    if late:
        return late
    if crl.is_delta:
        return "is a delta CRL, and no complete one of its scope and key shows it"
    peers = [other for other in own if other.scope == crl.scope and other.this_update <= at and not other.is_delta]
    return next(filter(None, (_order(crl, other, at) for other in peers)), "")


def _order(crl: Crl, other: Crl, at: datetime) -> str:
    """Why a CRL does not count beside another complete one of its place: it is older, or may be."""
    if other.supersedes(crl):
        return f"is older than {_named(other)}"
    if other.unusable or other.sha256 == crl.sha256 or crl.supersedes(other) or not lateness(other, at):
        return ""
    return f"is neither newer nor older, by number and date, than {_named(other)}, which is not current"
