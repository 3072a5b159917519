"""The demonstration's world: its organizations, users and registrations, and the files that hold them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from authz.demo.mint import AUDIENCE, HOST, ISSUER, NEIGHBOUR_HOST, POOL_HOST, Mint, Party, thumbprint
from authz.directory import Store
from authz.directory.sqlite.engine import database_file
from authz.directory.sqlite.migrate import migrate
from authz.envoy_sds import replace_file, request_level_secret, sds_secret
from authz.model import BindingScope, Enforcement, Organization, TokenSettings
from authz.pki import Certificate, Crl

ORGANIZATION = "acme"
NEIGHBOUR = "globex"
"""Another tenant of the same service, whose CA and user have the same names."""

POOL = "initech"
"""An organization without an anchor of its own, in which any registered certificate serves any user."""

ANCHORS = ("root", "twin root", "shared root")
"""The roots that are trusted: acme's, globex', and the one that all organizations share."""

ORGANIZATION_CLAIM = "org"
"""One issuer serves all: this claim of a token names the user's organization."""


@dataclass
class World:
    """Everything in `folder`: certificates by name, CAs by name, the directory's URL.

    `directory` is that URL if it is not in the folder. With `publisher`, the URL of a server, every certificate names
    the URL of its CRL there, and the directory holds no CRL; without, the directory holds them all.
    """

    folder: Path
    request_level: bool = False
    directory: str | None = None
    publisher: str | None = None
    token_life: timedelta = timedelta(hours=12)
    mint: Mint = field(default_factory=Mint)
    authorities: dict[str, Party] = field(default_factory=dict)
    clients: dict[str, Party] = field(default_factory=dict)

    @property
    def database(self) -> str:
        """The directory."""
        return self.directory or f"sqlite:///{self.folder / 'authz.db'}"

    @property
    def keys(self) -> Path:
        """The token issuer's key set, beside the directory."""
        return database_file(self.database).with_name("jwks.json")

    @property
    def socket(self) -> Path:
        """The socket at which the service listens."""
        return self.folder / "authz.sock"

    def build(self) -> World:
        """Mint everything, write the files, fill the directory."""
        self._mint()
        self._write()
        self._fill()
        return self

    def _mint(self) -> None:
        mint = self.mint
        root, foreign = self._authority("root", "Acme Root"), self._authority("foreign", "Foreign Root")
        unheard = self._authority("unheard", "Acme Unheard CA", root)
        issuing = self._authority("issuing", "Acme Issuing CA", root)
        self._authority("withdrawn CA", "Acme Withdrawn CA", root)
        shared = self._authority("shared root", "Partner Root")
        twin = self._authority("twin", "Acme Issuing CA", self._authority("twin root", "Acme Root"))
        self.clients = {
            name: mint.client(name, issuing)
            for name in ("alice", "bob", "stranger", "retired", "scheduled", "revoked", "server")
        }
        self.clients["expired"] = mint.client("expired", issuing, expired=True)
        self.clients["withdrawn"] = mint.client("withdrawn", self.authorities["withdrawn CA"])
        self.clients["foreign"] = mint.client("foreign", foreign)
        self.clients["alone"] = replace(mint.client("alone", unheard), chain=())
        self.clients["globex-alice"] = mint.client("alice", twin)
        self.clients["partner"] = mint.client("partner", shared)
        self.clients["self-signed"] = mint.client("self-signed", None)
        self.clients["server"] = mint.server(issuing)

    def _authority(self, name: str, subject: str, parent: Party | None = None) -> Party:
        """A CA that the world knows by `name`, and whose CRL is published if there is a publisher."""
        published = None if self.publisher is None else f"{self.publisher}/{published_name(name)}"
        authority = self.authorities[name] = self.mint.authority(subject, parent, published=published)
        return authority

    def _write(self) -> None:
        for name, party in self.clients.items():
            party.write(self.folder, name)
        (self.folder / "roots.pem").write_text(self._pem("root"), encoding="ascii")
        secret = request_level_secret() if self.request_level else sds_secret(self.bundle)
        replace_file(self.folder / "client-ca.yaml", secret)
        self.keys.write_text(self.mint.jwks(), encoding="ascii")

    @property
    def bundle(self) -> str:
        """Every anchor in PEM, for a proxy's own validation, as `authz anchor export` writes them."""
        return "".join(map(self._pem, ANCHORS))

    def _pem(self, authority: str) -> str:
        return self.authorities[authority].certificate.public_bytes(Encoding.PEM).decode("ascii")

    def crl(self, authority: str, *revoked: str, number: int, until: datetime | None = None) -> Crl:
        """A CRL of one of the CAs, over clients or CAs by name."""
        return Crl(self._crl(authority, *revoked, number=number, until=until))

    def _crl(self, authority: str, *revoked: str, number: int, until: datetime | None) -> bytes:
        parties = [self.clients.get(name) or self.authorities[name] for name in revoked]
        return self.mint.crl(self.authorities[authority], *parties, number=number, until=until)

    def crls(self, *, until: datetime | None = None) -> dict[str, bytes]:
        """The first CRL of each CA that has one, in DER, by the CA's name."""
        revoked = {"root": ["withdrawn CA"], "issuing": ["revoked"], "withdrawn CA": []}
        revoked |= {"twin root": [], "twin": [], "shared root": []}
        return {name: self._crl(name, *parties, number=1, until=until) for name, parties in revoked.items()}

    def _fill(self) -> None:
        migrate(self.database)
        store = Store(self.database)
        try:
            token = TokenSettings(
                issuer=ISSUER, audience=AUDIENCE, organization_claim=ORGANIZATION_CLAIM, keys=str(self.keys)
            )
            for name, host, anchor in ((ORGANIZATION, HOST, "root"), (NEIGHBOUR, NEIGHBOUR_HOST, "twin root")):
                store.add_organization(Organization(0, name, (host,), token=token))
                store.add_anchors(name, [_certificate(self.authorities[anchor])])
            pool = Organization(0, POOL, (POOL_HOST,), token=token, binding_scope=BindingScope.ORGANIZATION)
            store.add_organization(pool)
            store.add_anchors(None, [_certificate(self.authorities["shared root"])])
            cas = [_certificate(self.authorities[name]) for name in ("issuing", "withdrawn CA")]
            store.add_intermediates(ORGANIZATION, cas)
            store.add_intermediates(NEIGHBOUR, [_certificate(self.authorities["twin"])])
            if self.publisher is None:
                for crl in self.crls().values():
                    store.add_crl(Crl(crl), self.mint.now)
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
        for organization, name in ((NEIGHBOUR, "alice"), (POOL, "carol"), (POOL, "dave")):
            store.add_user(organization, name, Enforcement.REQUIRED)
        now = self.mint.now
        self.register(store, "alice", "alice", label="laptop")
        self.register(store, "bob", "bob")
        self.register(store, "alice", "globex-alice", organization=NEIGHBOUR)
        self.register(store, "dave", "partner", organization=POOL)
        for name in ("expired", "revoked", "withdrawn"):
            self.register(store, "alice", name)
        store.retire(self.register(store, "alice", "retired"), now)
        leaf = _certificate(self.clients["scheduled"])
        store.register(ORGANIZATION, "alice", leaf, valid_from=now + timedelta(days=1), now=now)

    def register(
        self, store: Store, user: str, client: str, *, organization: str = ORGANIZATION, label: str = ""
    ) -> int:
        """Register a client's certificate with its chain; return the registration's id."""
        party = self.clients[client]
        chain = [Certificate.parse(certificate.public_bytes(Encoding.DER)) for certificate in party.chain]
        added = store.register(organization, user, _certificate(party), chain, label=label, now=self.mint.now)
        return added.registration.id

    def token(self, user: str, kind: str = "") -> str:
        """A token for a user of the demonstration's organization, or one of another `kind`: see `authz.demo.rows`."""
        claims: dict[str, object] = {ORGANIZATION_CLAIM: kind if kind in {NEIGHBOUR, POOL} else ORGANIZATION}
        if kind == "bound":
            claims["cnf"] = {"x5t#S256": thumbprint(self.clients[user].certificate)}
        if kind == "logout":
            claims["events"] = {"http://schemas.openid.net/event/backchannel-logout": {}}
        lifetime = timedelta(hours=-1) if kind == "expired" else self.token_life
        return self.mint.token(user, lifetime=lifetime, **claims)


def published_name(authority: str) -> str:
    """The name of a CA's CRL at the server that publishes it."""
    return authority.replace(" ", "-").lower() + ".crl"


def _certificate(party: Party) -> Certificate:
    return Certificate.parse(party.certificate.public_bytes(Encoding.DER))
