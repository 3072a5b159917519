"""A keeper of CRLs with a real folder, a real fetcher and real servers; the clock and the directory are ours."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from authz.crls.disk_store import CrlDiskStore
from authz.crls.fetch.address_rules import AddressRules
from authz.crls.fetch.client import Fetcher, FetchLimits
from authz.crls.indexing.client import index_crl
from authz.crls.refresher import Refresher
from authz.crls.rules import CrlRules
from authz.crls.schedule import Schedule
from authz.decision import Allow, Decision, Evidence
from authz.errors import NotLoaded, Refused
from authz.model import CheckRequest, CrlRow, CrlSourceState, Enforcement, FetchedCrl, Organization, User
from authz.pki import Certificate, TrustStore, VerifiedPath, verify_path
from authz.reasons import Reason
from authz.view import Listener
from support.certificates import NOW, Authority, Minted
from support.crl_server import CrlServer, crl_server, says

ACME = Organization(1, "acme", ("acme.example.test",))
EVIL = Organization(2, "evil", ("evil.example.test",))
ROOT = Authority.root("Root")
CA = ROOT.intermediate("CA")
GOOD = "good"

SCHEDULE = Schedule(timedelta(seconds=30), timedelta(minutes=15), timedelta(hours=1), 0)
PATIENCE = 30.0
LOOPBACK = AddressRules((ipaddress.ip_network("127.0.0.0/8"),))


def crl(by: Authority = CA, *listed: Minted | int, number: int = 1, hours: float = 9, **more: object) -> bytes:
    """A CRL issued so many hours ago."""
    return by.crl(*listed, number=number, this_update=NOW - timedelta(hours=hours), **more)  # type: ignore[arg-type]


def points(*urls: str) -> list[tuple[x509.ExtensionType, bool]]:
    """Distribution points of these URLs."""
    named = [x509.DistributionPoint([x509.UniformResourceIdentifier(one)], None, None, None) for one in urls]
    return [(x509.CRLDistributionPoints(named), False)]


def leaf(name: str, *urls: str, by: Authority = CA) -> Minted:
    """A client's certificate that says where the CRL is."""
    return by.leaf(name, extensions=points(*urls)) if urls else by.leaf(name)


@dataclass
class Time:
    """A clock that a test sets; it also turns `seconds` on."""

    at: datetime = NOW
    seconds: float = 0.0

    def now(self) -> datetime:
        """The moment set."""
        return self.at

    def monotonic(self) -> float:
        """The seconds set."""
        return self.seconds

    def pass_by(self, **much: float) -> None:
        """Let time pass."""
        self.at += timedelta(**much)
        self.seconds += timedelta(**much).total_seconds()


@dataclass
class Rows:
    """The directory: CAs, and CRLs that an operator added."""

    cas: list[Minted] = field(default_factory=lambda: [ROOT, CA])
    added: list[tuple[bytes, Authority]] = field(default_factory=list)
    problem: Refused | None = None
    revision: int = 1
    organizations: list[int] = field(default_factory=lambda: [1, 2])

    def change(self, *organizations: int, cas: list[Minted]) -> None:
        """Other organizations are active, with other CAs."""
        self.organizations, self.cas = list(organizations), cas
        self.revision += 1

    async def active(self) -> tuple[object, list[int]]:
        """The organizations that are active, at a revision."""
        return self.revision, self.organizations

    async def authorities(self) -> list[bytes]:
        """Every CA."""
        if self.problem is not None:
            raise self.problem
        return [one.der for one in self.cas]

    async def listed(self) -> list[CrlRow]:
        """Every CRL."""
        return [
            CrlRow(hashlib.sha256(der).digest(), spki(by), len(der), Certificate.parse(by.der).spki_der)
            for der, by in self.added
        ]

    async def der(self, sha256: bytes) -> bytes | None:
        """One of them."""
        return next((der for der, _ in self.added if hashlib.sha256(der).digest() == sha256), None)


@dataclass
class Ledger:
    """What operators see, and what they ask for."""

    sources: dict[str, CrlSourceState] = field(default_factory=dict)
    crls: list[FetchedCrl] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)
    renumbered: dict[str, datetime] = field(default_factory=dict)

    async def write(self, sources: Collection[CrlSourceState], crls: Collection[FetchedCrl]) -> None:
        """See the protocol."""
        self.sources, self.crls = {one.location: one for one in sources}, list(crls)

    async def asked(self) -> list[str]:
        """See the protocol."""
        wanted, self.wanted = self.wanted, []
        return wanted


def spki(one: Minted) -> bytes:
    """SHA-256 of its key."""
    return Certificate.parse(one.der).spki_sha256


class World:
    """Everything together; `start` may be called again after `stop`, as a service is restarted."""

    def __init__(self, folder: Path, rules: CrlRules) -> None:
        self.folder = folder / "crls"
        # Unless a test is about being late, a check waits for as long as it takes.
        patience = PATIENCE if rules.first_fetch_wait == CrlRules().first_fetch_wait else rules.first_fetch_wait
        self.rules = replace(rules, schedule=SCHEDULE, first_fetch_wait=patience)
        self.time = Time()
        self.rows = Rows()
        self.ledger = Ledger()
        self.warnings: list[str] = []
        self.limits = FetchLimits(total=2.0, connect=1.0, read=1.0, size=1024 * 1024)
        self.trust = TrustStore([Certificate.parse(ROOT.der)], [Certificate.parse(CA.der)])
        self.index = index_crl
        self.refresher: Refresher

    async def start(self) -> None:
        """A service starts."""
        fetcher = Fetcher(addresses=LOOPBACK, limits=self.limits)
        self.refresher = Refresher(
            self.rules,
            CrlDiskStore(self.folder),
            fetcher,
            clock=self.time,
            index=self.index,
            warn=self.warnings.append,
            chance=lambda: 0.5,
            tick=0.01,
            patience=PATIENCE,
        )
        await self.refresher.start(self.rows, self.ledger)

    async def stop(self) -> None:
        """It stops."""
        await self.refresher.close()

    def verify(self, one: Minted, organization: Organization = ACME, *chain: Minted) -> VerifiedPath:
        """What a check does with a presented certificate. Raises `NotLoaded`, `Refused`."""
        parsed, pool = Certificate.parse(one.der), [Certificate.parse(each.der) for each in chain]
        mode_of = self.refresher.mode_of(organization)
        try:
            found = verify_path(parsed, pool, self.trust, self.refresher.crls(), self.time.at, mode_of=mode_of)
        except Refused as refusal:
            if refusal.reason is Reason.REVOCATION_UNKNOWN:
                self.refresher.request_crls(organization, refusal.path)
            raise
        if found.exemption is not None:
            self.refresher.request_crls(organization, tuple(each.der for each in found.certificates))
        return found

    async def check(self, one: Minted, organization: Organization = ACME) -> str:
        """The same, waiting for what is missing: the reason, or "good", or what was let pass."""
        for _ in range(9):
            try:
                found = self.verify(one, organization)
            except NotLoaded as missing:
                await self.refresher.load(missing.key)
            except Refused as refusal:
                return refusal.reason
            else:
                self.decided(found, organization)
                return str(found.exemption or GOOD)
        raise AssertionError("a check that never ends")

    def decided(self, path: VerifiedPath, organization: Organization = ACME) -> None:
        """The service tells of a decision."""
        evidence = Evidence(organization=organization, path=path, leaf=path.leaf)
        user = User(1, organization.id, "alice", Enforcement.OFF)
        decision: Decision = Allow(organization, user, path.leaf.sha256, None, evidence)
        self.refresher.decided(CheckRequest("id", "h", ()), Listener("d", ()), decision, 0.0)

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for something that happens beside the checks."""
        async with asyncio.timeout(20):
            while not true():
                await asyncio.sleep(0.005)

    def state(self, location: object) -> CrlSourceState:
        """The state of a source."""
        return next(one for one in self.refresher.sources if one.location == str(location))

    async def outcome(self, location: object, wanted: str) -> CrlSourceState:
        """The state of a source once that was the outcome."""
        await self.until(
            lambda: any(one.location == str(location) and one.outcome == wanted for one in self.refresher.sources)
        )
        return self.state(location)

    def held(self) -> list[bytes]:
        """SHA-256 of every CRL that answers."""
        return sorted(one.sha256 for one in self.refresher.crls())


@contextlib.asynccontextmanager
async def world(folder: Path, *, rules: CrlRules | None = None, start: bool = True) -> AsyncIterator[World]:
    """A world whose root's CRL an operator added; the CA's has to come from somewhere."""
    made = World(folder, rules or CrlRules())
    made.rows.added = [(crl(ROOT), ROOT)]
    if start:
        await made.start()
    try:
        yield made
    finally:
        with contextlib.suppress(AttributeError):
            await made.stop()


@contextlib.asynccontextmanager
async def serving(body: bytes) -> AsyncIterator[CrlServer]:
    """A server that sends these bytes."""
    async with crl_server(says(body=body)) as server:
        yield server


def sha256(*ders: bytes) -> list[bytes]:
    """As `World.held` has them."""
    return sorted(hashlib.sha256(one).digest() for one in ders)
