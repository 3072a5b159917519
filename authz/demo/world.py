"""The demonstration's world: who there is, what is registered for whom, and the files that say so."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from authz.demo.mint import AUDIENCE, HOST, ISSUER, NEIGHBOUR_HOST, Mint, Party, thumbprint
from authz.directory import Store
from authz.envoy_secret import replace_file, request_level_secret, sds_secret
from authz.model import Enforcement, Organization, TokenSettings
from authz.pki import Certificate, Crl

ORGANIZATION = "acme"
NEIGHBOUR = "globex"
"""Another tenant of the same service, with a CA and a user of the same names."""

ORGANIZATION_CLAIM = "org"
"""One issuer serves both: this claim of a token says whose user it names."""


@dataclass
class World:
    """Everything in `folder`: certificates by name, CAs by name, the directory's URL."""

    folder: Path
    request_level: bool = False
    mint: Mint = field(default_factory=Mint)
    authorities: dict[str, Party] = field(default_factory=dict)
    clients: dict[str, Party] = field(default_factory=dict)

    @property
    def database(self) -> str:
        """The directory."""
        return f"sqlite:///{self.folder / 'authz.db'}"

    @property
    def socket(self) -> Path:
        """Where the service listens."""
        return self.folder / "authz.sock"

    def build(self) -> World:
        """Mint everything, write the files, fill the directory."""
        self._mint()
        self._write()
        self._fill()
        return self

    def _mint(self) -> None:
        mint = self.mint
        root, foreign = mint.authority("Acme Root"), mint.authority("Foreign Root")
        unheard = mint.authority("Acme Unheard CA", root)
        issuing, withdrawn = mint.authority("Acme Issuing CA", root), mint.authority("Acme Withdrawn CA", root)
        twin_root = mint.authority("Acme Root")
        twin = mint.authority("Acme Issuing CA", twin_root)
        self.authorities = {"root": root, "foreign": foreign, "issuing": issuing, "withdrawn CA": withdrawn}
        self.authorities |= {"twin root": twin_root, "twin": twin}
        self.clients = {
            name: mint.client(name, issuing)
            for name in ("alice", "bob", "stranger", "retired", "scheduled", "revoked", "server")
        }
        self.clients["expired"] = mint.client("expired", issuing, expired=True)
        self.clients["withdrawn"] = mint.client("withdrawn", withdrawn)
        self.clients["foreign"] = mint.client("foreign", foreign)
        self.clients["alone"] = replace(mint.client("alone", unheard), chain=())
        self.clients["globex-alice"] = mint.client("alice", twin)
        self.clients["self-signed"] = mint.client("self-signed", None)
        self.clients["server"] = mint.server(issuing)

    def _write(self) -> None:
        for name, party in self.clients.items():
            party.write(self.folder, name)
        anchors = {one: self.authorities[one].certificate.public_bytes(Encoding.PEM) for one in ("root", "twin root")}
        (self.folder / "roots.pem").write_bytes(anchors["root"])
        bundle = b"".join(anchors.values()).decode("ascii")
        secret = request_level_secret() if self.request_level else sds_secret(bundle)
        replace_file(self.folder / "client-ca.yaml", secret)
        (self.folder / "jwks.json").write_text(self.mint.jwks(), encoding="ascii")

    def crl(self, authority: str, *revoked: str, number: int, until: datetime | None = None) -> Crl:
        """A CRL of one of the CAs, over clients or CAs by name."""
        parties = [self.clients.get(one) or self.authorities[one] for one in revoked]
        return Crl(self.mint.crl(self.authorities[authority], *parties, number=number, until=until))

    def _fill(self) -> None:
        store = Store(self.database)
        try:
            token = TokenSettings(
                issuer=ISSUER,
                audience=AUDIENCE,
                organization_claim=ORGANIZATION_CLAIM,
                keys=str(self.folder / "jwks.json"),
            )
            for name, host, anchor in ((ORGANIZATION, HOST, "root"), (NEIGHBOUR, NEIGHBOUR_HOST, "twin root")):
                store.add_organization(Organization(0, name, (host,), token=token))
                store.add_anchors(name, [_certificate(self.authorities[anchor])])
            cas = [_certificate(self.authorities[one]) for one in ("issuing", "withdrawn CA")]
            store.add_intermediates(ORGANIZATION, cas)
            store.add_intermediates(NEIGHBOUR, [_certificate(self.authorities["twin"])])
            for crl in (
                self.crl("root", "withdrawn CA", number=1),
                self.crl("issuing", "revoked", number=1),
                self.crl("withdrawn CA", number=1),
                self.crl("twin root", number=1),
                self.crl("twin", number=1),
            ):
                store.add_crl(crl, self.mint.now)
            self._users(store)
        finally:
            store.close()

    def _users(self, store: Store) -> None:
        for name, enforcement in (
            ("alice", Enforcement.REQUIRED),
            ("bob", Enforcement.REQUIRED),
            ("olga", Enforcement.OFF),
            ("oscar", Enforcement.OBSERVE),
        ):
            store.add_user(ORGANIZATION, name, enforcement)
        store.add_user(NEIGHBOUR, "alice", Enforcement.REQUIRED)
        now = self.mint.now
        self.register(store, "alice", "alice", label="laptop")
        self.register(store, "bob", "bob")
        self.register(store, "alice", "globex-alice", organization=NEIGHBOUR)
        for name in ("expired", "revoked", "withdrawn"):
            self.register(store, "alice", name)
        store.retire(self.register(store, "alice", "retired"), now)
        leaf = _certificate(self.clients["scheduled"])
        store.register(ORGANIZATION, "alice", leaf, valid_from=now + timedelta(days=1), now=now)

    def register(
        self, store: Store, user: str, client: str, *, organization: str = ORGANIZATION, label: str = ""
    ) -> int:
        """Register a client's certificate with its chain; the registration's id."""
        party = self.clients[client]
        chain = [Certificate.parse(one.public_bytes(Encoding.DER)) for one in party.chain]
        added = store.register(organization, user, _certificate(party), chain, label=label, now=self.mint.now)
        return added.registration.id

    def token(self, user: str, kind: str = "") -> str:
        """A token for a user of the demonstration's organization, or one of another `kind`: see `authz.demo.rows`."""
        claims: dict[str, object] = {ORGANIZATION_CLAIM: NEIGHBOUR if kind == "globex" else ORGANIZATION}
        if kind == "bound":
            claims["cnf"] = {"x5t#S256": thumbprint(self.clients[user].certificate)}
        lifetime = timedelta(hours=-1 if kind == "expired" else 12)
        return self.mint.token(user, lifetime=lifetime, **claims)


def _certificate(party: Party) -> Certificate:
    return Certificate.parse(party.certificate.public_bytes(Encoding.DER))
