"""A small world for decisions: two organizations, their users and certificates, and a view of them in memory.

The second organization's names collide with the first's on purpose: CA names, user names, serial numbers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from authz.decision import Decision, evaluate
from authz.errors import NotLoaded
from authz.headers import DecodeCache, present
from authz.model import (
    CheckRequest,
    CrlSourceKind,
    CrlSourceState,
    DirectoryReport,
    Enforcement,
    FetchedCrl,
    HeaderRules,
    Identity,
    LeafKeys,
    Organization,
    Registration,
    User,
)
from authz.pki import HARD_FAIL, Certificate, Crl, CrlStore, ModeOf, RevocationMode, TrustStore
from authz.view import Listener
from support.certificates import NOW, Authority, Minted

ACME = Organization(1, "acme", ("acme.example.test",))
EVIL = Organization(2, "evil", ("evil.example.test",))

ROOT = Authority.root("Root")
CA = ROOT.intermediate("CA")
EVIL_ROOT = Authority.root("Root")
EVIL_CA = EVIL_ROOT.intermediate("CA")

ALICE, BOB, STRANGER, REVOKED = (CA.leaf(name) for name in ("alice", "bob", "stranger", "revoked"))
EVIL_ALICE = EVIL_CA.leaf("alice", serial=ALICE.certificate.serial_number)

CRLS = (ROOT.crl(), CA.crl(REVOKED), EVIL_ROOT.crl(), EVIL_CA.crl())


@dataclass(frozen=True)
class Says:
    """An identity source that names one user of whatever organization is asked for."""

    user: str
    confirmation: bytes | None = None

    def identify(self, check: CheckRequest, organization: Organization, now: datetime) -> Identity:
        """The identity."""
        return Identity(self.user, self.confirmation)


@dataclass
class MemoryView:
    """A view that holds everything; `missing` raises `NotLoaded` once for each key in it."""

    organizations: dict[str, Organization] = field(default_factory=lambda: {o.hosts[0]: o for o in (ACME, EVIL)})
    users: list[User] = field(default_factory=list)
    registered: list[Registration] = field(default_factory=list)
    anchors: dict[int, list[Minted]] = field(default_factory=lambda: {1: [ROOT], 2: [EVIL_ROOT]})
    intermediates: dict[int, list[Minted]] = field(default_factory=dict)
    crl_ders: tuple[bytes, ...] = CRLS
    missing: set[object] = field(default_factory=set)
    mode: RevocationMode | None = None
    sought: list[tuple[bytes, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.memo = DecodeCache()
        self.stores: dict[int, TrustStore] = {}
        self.held: dict[tuple[bytes, ...], CrlStore] = {}

    def _load(self, key: object) -> None:
        if key in self.missing:
            raise NotLoaded(key)

    def organization(self, host: str) -> Organization | None:
        """See the protocol."""
        self._load(("host", host))
        return self.organizations.get(host)

    def user(self, organization: Organization, name: str) -> User | None:
        """See the protocol; folds case, as a careless database would."""
        self._load(("user", name))
        for one in self.users:
            if one.name.lower() == name.lower() and one.organization_id == organization.id:
                return one
        return None

    def registrations(self, organization: Organization, sha256: bytes) -> tuple[Registration, ...]:
        """See the protocol."""
        self._load("registrations")
        return tuple(one for one in self.registered if one.sha256 == sha256)

    def renewals(self, organization: Organization, keys: LeafKeys) -> tuple[Registration, ...]:
        """See the protocol; of every organization, as a careless database would."""
        self._load("renewals")
        wanted = {keys.tbs_sha256, keys.spki_sha256, *keys.identities}
        return tuple(
            registration
            for registration in self.registered
            if wanted & {registration.tbs_sha256, registration.spki_sha256, registration.identity}
        )

    def trust(self, organization: Organization) -> TrustStore:
        """See the protocol."""
        if organization.id not in self.stores:
            parsed = [Certificate.parse(one.der) for one in self.anchors.get(organization.id, [])]
            known = [Certificate.parse(one.der) for one in self.intermediates.get(organization.id, [])]
            self.stores[organization.id] = TrustStore(parsed, known)
        return self.stores[organization.id]

    def crls(self, organization: Organization) -> CrlStore:
        """See the protocol; a store for each set of CRLs, so that what is remembered with one counts."""
        if self.crl_ders not in self.held:
            self.held = {self.crl_ders: CrlStore(map(Crl, self.crl_ders))}
        return self.held[self.crl_ders]

    def mode_of(self, organization: Organization) -> ModeOf | None:
        """See the protocol."""
        return None if self.mode is None else lambda _: self.mode or HARD_FAIL

    def request_crls(self, organization: Organization, path: tuple[bytes, ...]) -> None:
        """See the protocol; what was asked for is kept."""
        self.sought.append(path)
        self._load("crls")

    def decode_cache(self, organization: Organization) -> DecodeCache:
        """See the protocol."""
        return self.memo


@dataclass
class CrlStates:
    """What a keeper of CRLs tells the telemetry."""

    sources: list[CrlSourceState] = field(default_factory=list)
    answering: list[FetchedCrl] = field(default_factory=list)
    outcomes: Counter[tuple[CrlSourceKind, str]] = field(default_factory=Counter)


@dataclass
class Reported:
    """A directory whose report the telemetry takes."""

    report: DirectoryReport = field(default_factory=DirectoryReport)


def standard_view() -> MemoryView:
    """Alice required, olga off, oscar observed, in both organizations; each alice's certificate registered for her."""
    view = MemoryView()
    for number, organization in enumerate((ACME, EVIL)):
        for offset, (name, enforcement) in enumerate(
            (("alice", Enforcement.REQUIRED), ("olga", Enforcement.OFF), ("oscar", Enforcement.OBSERVE))
        ):
            view.users.append(User(10 * number + offset, organization.id, name, enforcement))
    view.registered = [
        Registration(1, 1, 0, ALICE.sha256),
        Registration(2, 2, 10, EVIL_ALICE.sha256),
        Registration(3, 1, 1, BOB.sha256),
    ]
    return view


def request(
    *chain: Minted, host: str = "acme.example.test", headers: tuple[tuple[bytes, bytes], ...] = ()
) -> CheckRequest:
    """A request that presents a chain, leaf first, as Envoy hands it over."""
    if chain:
        value = present(chain[0].der, [one.der for one in chain[1:]])
        headers = (*headers, (b"x-forwarded-client-cert", value))
    return CheckRequest("id", host, headers)


def decide(
    check: CheckRequest,
    user: str = "alice",
    *,
    view: MemoryView | None = None,
    listener: Listener | None = None,
    confirmation: bytes | None = None,
    at: datetime = NOW,
) -> Decision:
    """What is decided about `check`, for the user an identity source names."""
    chosen = listener or Listener("test", (Says(user, confirmation),), HeaderRules())
    return evaluate(check, chosen, view or standard_view(), at)
