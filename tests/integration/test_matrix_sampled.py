"""Cells of the decision matrix through a real Envoy and real TLS, judged by the same oracle.

The sample is drawn anew from one seed: half of it cells that must pass, half cells that must not, so that
neither answer is rare. Every cell has users and a leaf of its own; the neighbour's names are the same.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from support.certificates import Authority, Minted, chain_pem
from support.directory import new_store
from support.matrix_oracle import CERTIFICATES, ENFORCEMENTS, FORMS, HOSTS, REGISTRATIONS, SCOPES, Cell, oracle

from authz.demo import service_settings
from authz.demo.client import ClientResponse, ask, client_context
from authz.demo.mint import AUDIENCE, ISSUER, Mint, thumbprint
from authz.demo.processes import Application, Envoy, ServiceProcess, running
from authz.directory import Store
from authz.envoy_sds import replace_file, request_level_secret
from authz.headers import present
from authz.model import BindingScope, Enforcement, Organization, TokenSettings
from authz.pki import Certificate, Crl

pytestmark = pytest.mark.envoy

SAMPLE = 120
"""Cells of each answer."""

NOW = datetime.now(UTC).replace(microsecond=0)
LIFE = {"not_before": NOW - timedelta(days=1), "not_after": NOW + timedelta(days=30)}
CRL_LIFE = {"this_update": NOW - timedelta(hours=1), "next_update": NOW + timedelta(days=1)}

ROOT, EVIL_ROOT = (Authority.root("Root", **LIFE) for _ in range(2))
CA, EVIL_CA = (root.intermediate("CA", **LIFE) for root in (ROOT, EVIL_ROOT))
WITHDRAWN_CA, SILENT_CA = (ROOT.intermediate(name, **LIFE) for name in ("Withdrawn CA", "Silent CA"))
BOB = CA.leaf("bob", **LIFE)


# What a client can try of the header's states, and of what is said of the user where Envoy verifies his token.
HEADERS = ("as made", "twice", "another beside", "twin beside", "stated otherwise", "swapped")
IDENTITIES = tuple(f"payload: {stated}" for stated in FORMS["payload"])


def through_envoy(cell: Cell) -> bool:
    """The oracle's answer: no header of the client's arrives, and one with an underscore ends the request."""
    return cell.header != "twin beside" and oracle(replace(cell, header="as made"))


def sample() -> list[Cell]:
    """As many cells that must pass as cells that must not."""
    draw = random.Random(20_261_123)
    axes = (ENFORCEMENTS, list(CERTIFICATES), list(REGISTRATIONS), list(IDENTITIES), HEADERS, HOSTS, SCOPES)
    cells = [Cell(*one) for one in itertools.product(*axes)]
    passing = [one for one in cells if through_envoy(one)]
    refused = [one for one in cells if not through_envoy(one)]
    return draw.sample(passing, SAMPLE) + draw.sample(refused, SAMPLE)


def chain_of(words: str, name: str) -> tuple[Minted, ...]:
    """What the client of one cell shows, as `CERTIFICATES` has it, with a leaf of its own."""
    own = CA.leaf(name, **LIFE)
    twin = EVIL_CA.leaf(name, serial=own.certificate.serial_number, **LIFE)
    servers = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    day = timedelta(days=1)
    chains: dict[str, tuple[Minted, ...]] = {
        "none": (),
        "own": (own, CA),
        "own, more sent": (own, ROOT, BOB, CA),
        "another's": (CA.leaf(f"bob{name}", **LIFE), CA),
        "neighbour's twin": (twin, EVIL_CA),
        "same key, neighbour's CA": (EVIL_CA.leaf(name, key=own.key, **LIFE), EVIL_CA),
        "without its CA": (own,),
        "with the neighbour's CA": (own, EVIL_CA),
        "expired": (CA.leaf(name, not_before=NOW - 2 * day, not_after=NOW - day), CA),
        "not yet valid": (CA.leaf(name, not_before=NOW + day, not_after=NOW + 2 * day), CA),
        "revoked": (own, CA),
        "CA revoked": (WITHDRAWN_CA.leaf(name, **LIFE), WITHDRAWN_CA),
        "CA without a CRL": (SILENT_CA.leaf(name, **LIFE), SILENT_CA),
        "for servers": (CA.leaf(name, extensions=[(servers, False)], **LIFE), CA),
        "self-signed": (Authority.root(name, **LIFE),),
        "foreign": (Authority.root("Root", **LIFE).leaf(name, **LIFE),),
    }
    return chains[words]


@dataclass(frozen=True)
class Played:
    """A cell with what was minted for it; users are numbered, organizations are there once for each scope."""

    number: int
    cell: Cell
    chain: tuple[Minted, ...]
    leaf: Minted

    @property
    def organization(self) -> str:
        """The organization that the host of the cell names, if it is one."""
        return f"{self.cell.host.partition(',')[0]}-{self.cell.scope}"

    @property
    def host(self) -> str:
        """Where the request goes."""
        return "acme-off.example.test" if self.cell.host == "acme, off" else f"{self.organization}.example.test"

    @property
    def user(self) -> str:
        """Whom the token names."""
        named = self.cell.stated if self.cell.stated in {"nobody", "ALICE"} else "alice"
        return f"{named}{self.number}"


def play(number: int, cell: Cell) -> Played:
    """Mint what a cell needs."""
    chain = chain_of(cell.certificate, f"alice{number}")
    return Played(number, cell, chain, chain[0] if chain else CA.leaf(f"alice{number}", **LIFE))


class Theatre:
    """A service behind a real Envoy that refuses no certificate, its directory filled for every cell of the sample."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = f"sqlite:///{folder / 'authz.db'}"
        self.socket = folder / "authz.sock"
        self.mint = Mint()
        self.cells = [play(number, cell) for number, cell in enumerate(sample())]
        self._write()
        self._fill()
        self.application = Application()
        self.service = ServiceProcess(folder, service_settings(self.database, self.socket))
        self.envoy = Envoy(folder, self.socket, application=self.application.port)

    def _write(self) -> None:
        root = self.mint.authority("Server Root")
        self.mint.server(root).write(self.folder, "server")
        (self.folder / "roots.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
        replace_file(self.folder / "client-ca.yaml", request_level_secret())
        (self.folder / "jwks.json").write_text(self.mint.jwks())

    def _fill(self) -> None:
        store = new_store(self.database)
        token = TokenSettings(ISSUER, AUDIENCE, organization_claim="org")
        for tenant, root in (("acme", ROOT), ("evil", EVIL_ROOT)):
            for scope in SCOPES:
                name = f"{tenant}-{scope}"
                hosts = (f"{name}.example.test",)
                store.add_organization(Organization(0, name, hosts, binding_scope=BindingScope(scope), token=token))
                store.add_anchors(name, [parsed(root)])
        store.add_organization(Organization(0, "off", ("acme-off.example.test",), active=False, token=token))
        self._crls(store)
        for one in self.cells:
            self._register(store, one)
        store.close()

    def _crls(self, store: Store) -> None:
        """A CRL needs a known CA; known to an organization of its own, so that no path of another's is completed."""
        store.add_organization(Organization(0, "keeper", ()))
        store.add_intermediates("keeper", [parsed(one) for one in (CA, EVIL_CA, WITHDRAWN_CA)])
        revoked = [one.leaf for one in self.cells if one.cell.certificate == "revoked"]
        for crl in (
            ROOT.crl(WITHDRAWN_CA, **CRL_LIFE),
            EVIL_ROOT.crl(**CRL_LIFE),
            CA.crl(*revoked, **CRL_LIFE),
            EVIL_CA.crl(**CRL_LIFE),
            WITHDRAWN_CA.crl(**CRL_LIFE),
        ):
            store.add_crl(Crl(crl), NOW)

    def _register(self, store: Store, one: Played) -> None:
        for tenant in ("acme", "evil"):
            for name in ("alice", "bob"):
                enforcement = Enforcement(one.cell.enforcement)
                store.add_user(f"{tenant}-{one.cell.scope}", f"{name}{one.number}", enforcement)
        for tenant, name, active in REGISTRATIONS[one.cell.registration]:
            added = store.register(f"{tenant}-{one.cell.scope}", f"{name}{one.number}", parsed(one.leaf), now=NOW)
            if not active:
                store.retire(added.registration.id, NOW)

    def ask(self, one: Played) -> ClientResponse:
        """The answer to the request of one cell."""
        certificate = self.folder / f"{one.number}.pem"
        if one.chain:
            certificate.write_text(chain_pem(*one.chain))
            certificate.with_suffix(".key").write_text(one.chain[0].key_pem)
        context = client_context(self.folder / "roots.pem", certificate if one.chain else None)
        headers = [("authorization", f"Bearer {token}") for token in self.tokens(one)]
        return ask(self.envoy.port, context, one.host, [*headers, *self.spoof(one)])

    def tokens(self, one: Played) -> list[str]:
        """What the client shows of the user: a token, none, or two."""
        stated, where = one.cell.stated, one.organization
        if stated == "the other organization's alice":
            where = {"acme": "evil", "evil": "acme"}.get(where.partition("-")[0], "acme") + f"-{one.cell.scope}"
        confirmations = {
            "alice, bound": {"x5t#S256": thumbprint(one.leaf.certificate)},
            "alice, bound elsewhere": {"x5t#S256": thumbprint(BOB.certificate)},
            "alice, bound otherwise": {"jkt": thumbprint(one.leaf.certificate)},
        }
        lifetime = timedelta(minutes=-5 if stated == "expired" else 5)
        token = self.mint.token(one.user, lifetime=lifetime, org=where, cnf=confirmations.get(stated))
        return [token] * {"none": 0, "twice": 2}.get(stated, 1)

    def spoof(self, one: Played) -> list[tuple[str, str]]:
        """What the client adds: the strongest there is, a certificate that would be the right one."""
        forged, digest = present(one.leaf.der, [CA.der]).decode(), one.leaf.sha256.hex()
        return {
            "as made": [],
            "twice": [("x-forwarded-client-cert", forged)],
            "another beside": [("client-cert", ":AA==:")],
            "twin beside": [("x_forwarded_client_cert", forged)],
            "stated otherwise": [("x-authz-peer", f"sha256={digest}")],
            "swapped": [("x-forwarded-client-cert", forged), ("x-authz-peer", f"sha256={digest}")],
        }[one.cell.header]


def parsed(one: Minted) -> Certificate:
    """A minted certificate, read."""
    return Certificate.parse(one.der)


@pytest.fixture(scope="module")
def theatre(envoy: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    """The sample, set up."""
    made = Theatre(tmp_path_factory.mktemp("theatre"))
    with running(made.application, made.service, made.envoy):
        yield made


def test_sample_agrees_with_the_oracle_through_envoy(theatre: Theatre) -> None:
    """No cell is allowed that it denies, none denied that it allows, and nothing fails."""
    wrong = []
    for one in theatre.cells:
        answer = theatre.ask(one)
        if (answer.status == 200) is not through_envoy(one.cell) or answer.status >= 500:
            wrong.append((one.cell, answer.status, answer.alert))
    assert wrong == []


def test_sample_holds_every_word(theatre: Theatre) -> None:
    """Each certificate, registration, identity, header and host is in it."""
    held = {word for one in theatre.cells for word in vars(one.cell).values()}
    words = {*ENFORCEMENTS, *CERTIFICATES, *REGISTRATIONS, *IDENTITIES, *HEADERS, *HOSTS, *SCOPES}
    assert held == words
