"""The CRLs at hand. Immutable: one more CRL makes another store.

A CRL is known by issuer name, signing key and scope. The key is proven by the signature alone; where
whoever keeps the CRLs remembers it, a look-up passes over the CRLs of other keys, so that the CAs of two
tenants that share a name do not even cost each other time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.errors import Refused
from authz.pki.cache import Cache, SharedCache, points_weight
from authz.pki.x509.algorithms import verify_signature
from authz.pki.x509.distribution_points import Points
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping

    from authz.pki.cache.issuer_chains import Assurance, Kind
    from authz.pki.crl.crl import Crl
    from authz.pki.revocation.crl_scope import Plan
    from authz.pki.x509.certificate import Certificate
    from authz.pki.x509.distinguished_name import Name

MAX_REMEMBERED: Final = 16 * 1024 * 1024
"""Bytes of what is remembered with one store, for all tenants: some 1,500 with a kind or two of certificates each."""

PLAN_BYTES: Final = 1_024
"""A plan without its voices, openings and points."""

VOICE_BYTES: Final = 1_024
"""A voice or an opening, besides its CRLs, which the store has."""


class Plans(Cache["tuple[object, ...]", "Plan"]):
    """One tenant's plans."""

    __slots__ = ()


class Assurances(Cache["Kind", "Assurance"]):
    """What is known about the CAs above one tenant's leaves."""

    __slots__ = ()


class Shelf:
    """The CRLs of one issuer name, by key and by the names of their distribution point."""

    __slots__ = ("_named", "_nameless")

    def __init__(self) -> None:
        self._nameless: dict[bytes | None, tuple[Crl, ...]] = {}
        self._named: dict[tuple[object, bytes | None], tuple[Crl, ...]] = {}

    def add(self, crl: Crl, signer: bytes | None) -> None:
        """Put one more CRL there; while a store is made only."""
        if not crl.names:
            self._nameless[signer] = (*self._nameless.get(signer, ()), crl)
        for name in crl.names:
            self._named[name, signer] = (*self._named.get((name, signer), ()), crl)

    def all(self, names: Iterable[object]) -> set[Crl]:
        """Those of whatever key, for a distribution point that has one of `names`."""
        wanted = set(names)
        named = (crls for (name, _), crls in self._named.items() if name in wanted)
        return {one for crls in (*self._nameless.values(), *named) for one in crls}

    def find(self, names: Iterable[object], spki_sha256: bytes) -> tuple[Crl, ...]:
        """Those that the key may have signed, for a distribution point that has one of `names`.

        Those without a name of their own are for every point (RFC 5280 section 6.3.3 (b) (2) (i)).
        """
        found = self._nameless.get(spki_sha256, ()) + self._nameless.get(None, ())
        if not self._named:
            return found
        keys = [(name, signer) for name in names for signer in (spki_sha256, None)]
        return tuple(dict.fromkeys((*found, *(one for key in keys for one in self._named.get(key, ())))))


class CrlStore:
    """CRLs, complete and delta, by the name of their issuer.

    `signers` maps the SHA-256 of a CRL to the key (`Certificate.spki_sha256`) that is said to have signed it.
    It narrows what is looked at and proves nothing: a wrong key makes the CRL silent, never trusted.
    `memory` holds what was found out about certificates, and cannot change while the CRLs are the same: it goes with
    the store, and what one tenant has in it no other drives out.
    """

    def __init__(self, crls: Iterable[Crl] = (), signers: Mapping[bytes, bytes] | None = None) -> None:
        self.memory = SharedCache(MAX_REMEMBERED)
        self._signers = dict(signers or {})
        self._crls: dict[bytes, Crl] = {one.sha256: one for one in crls}
        self._shelves: dict[Name, Shelf] = {}
        for one in self._crls.values():
            self._shelves.setdefault(one.issuer, Shelf()).add(one, self._signers.get(one.sha256))

    def under(self, issuer: Name) -> Shelf | None:
        """The CRLs of that issuer name, or None where there are none."""
        return self._shelves.get(issuer)

    def plans(self, owner: Hashable) -> Plans:
        """The plans of a tenant, by all that they depend on (see `remember`)."""
        return self.memory.part(owner, Plans)

    def assurance(self, owner: Hashable, kind: Kind) -> Assurance | None:
        """What these CRLs say about the CAs above such a leaf of a tenant's, and which of them speak for it."""
        tenant = self.memory.tenants.get(owner)
        assurances: Assurances | None = None if tenant is None else tenant.parts.get(Assurances)
        entry = None if assurances is None else assurances.entries.get(kind)
        if entry is None:
            return None
        entry.used = True
        return entry.value

    def remember(self, owner: Hashable, identity: tuple[object, ...], plan: Plan) -> None:
        """Keep a plan: `identity` is its certificate's points, whether that is a CA, and those above by SHA-256."""
        crls = sum(len(voice.crls) for voice in plan.voices)
        weight = PLAN_BYTES + VOICE_BYTES * (len(plan.voices) + len(plan.openings)) + 100 * (len(identity) + crls)
        points = identity[0]
        self.plans(owner).put(identity, plan, weight + (points_weight(points) if isinstance(points, Points) else 0))

    def assure(self, owner: Hashable, kind: Kind, assurance: Assurance) -> None:
        """Keep what these CRLs say about the CAs above such a leaf."""
        points = kind[1]
        weight = assurance.weight + (points_weight(points) if isinstance(points, Points) else 0)
        self.memory.part(owner, Assurances).put(kind, assurance, weight)

    def with_crl(self, crl: Crl, signer: bytes | None = None) -> CrlStore:
        """A store that holds `crl` as well; what is held is not read again."""
        signers = self._signers if signer is None else {**self._signers, crl.sha256: signer}
        return CrlStore((*self, crl), signers)

    def __iter__(self) -> Iterator[Crl]:
        return iter(self._crls.values())

    def __len__(self) -> int:
        return len(self._crls)


def current(crls: Iterable[Crl]) -> list[Crl]:
    """Those of `crls`, all of one issuer, key and scope, that no other supersedes."""
    crls = list(crls)
    return [one for one in crls if not any(other.supersedes(one) for other in crls)]


def may_sign_crls(certificate: Certificate) -> bool:
    """Whether key usage lets the certificate's key sign CRLs (RFC 5280 section 6.3.3 (f))."""
    usage = certificate.extensions.key_usage
    return usage is None or "cRLSign" in usage


def signer_of(crl: Crl, candidates: Iterable[Certificate]) -> Certificate:
    """The certificate among `candidates` whose key signed `crl`: its subject is the CRL's issuer, and it may sign CRLs.

    Proves nothing about the signer itself. Raises `Refused` (revocation_unknown) when it is none of them.
    """
    for one in candidates:
        try:
            if one.subject == crl.issuer and may_sign_crls(one):
                verify_signature(one.public_key, crl.signed)
                return one
        except Refused:
            continue
    raise Refused(Reason.REVOCATION_UNKNOWN, f"no known CA signed the CRL of {crl.issuer.text}")
