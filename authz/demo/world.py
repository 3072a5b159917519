"""The demonstration's world: its organizations, users and registrations, and the files that hold them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from authz.admin.audited_store import AuditedStore, local_actor
from authz.admin.authorities import add_anchors, add_intermediates
from authz.admin.crls import add_crl
from authz.admin.organizations import OrganizationChange, TokenChange, add_organization
from authz.admin.registrations import NewRegistration, register, retire
from authz.admin.users import add_user
from authz.demo.mint import AUDIENCE, HOST, ISSUER, NEIGHBOUR_HOST, POOL_HOST, Mint, Party, thumbprint
from authz.directory.databases import database_of
from authz.envoy_sds import replace_file, request_level_secret, sds_secret
from authz.model import BindingScope, Enforcement
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

    `directory` is that URL, and `key_file` the token issuer's key set, if they are not in the folder. With `publisher`,
    the URL of a server, every certificate names the URL of its CRL there, and the directory holds no CRL; without, the
    directory holds them all.
    """

    folder: Path
    request_level: bool = False
    directory: str | None = None
    key_file: Path | None = None
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
        """The file of the token issuer's key set."""
        return self.key_file or self.folder / "jwks.json"

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
        database_of(self.database).create()
        store = AuditedStore(self.database, local_actor("demo"))
        try:
            token = TokenChange(
                issuer=ISSUER, audience=AUDIENCE, organization_claim=ORGANIZATION_CLAIM, keys=str(self.keys)
            )
            for name, host, anchor in ((ORGANIZATION, HOST, "root"), (NEIGHBOUR, NEIGHBOUR_HOST, "twin root")):
                add_organization(store, name, OrganizationChange([host], token=token))
                add_anchors(store, name, self._cas(anchor), anchor)
            pool = OrganizationChange([POOL_HOST], token=token, binding_scope=BindingScope.ORGANIZATION)
            add_organization(store, POOL, pool)
            add_anchors(store, None, self._cas("shared root"), "shared root")
            add_intermediates(store, ORGANIZATION, self._cas("issuing", "withdrawn CA"), "issuing")
            add_intermediates(store, NEIGHBOUR, self._cas("twin"), "twin")
            if self.publisher is None:
                for crl in self.crls().values():
                    add_crl(store, Crl(crl), self.mint.now)
            self._users(store)
        finally:
            store.close()

    def _cas(self, *names: str) -> list[Certificate]:
        return [_certificate(self.authorities[name]) for name in names]

    def _users(self, store: AuditedStore) -> None:
        for name, enforcement in (
            ("alice", Enforcement.REQUIRED),
            ("bob", Enforcement.REQUIRED),
            ("olga", Enforcement.OFF),
            ("oscar", Enforcement.OBSERVE),
        ):
            add_user(store, ORGANIZATION, name, enforcement)
        for organization, name in ((NEIGHBOUR, "alice"), (POOL, "carol"), (POOL, "dave")):
            add_user(store, organization, name, Enforcement.REQUIRED)
        now = self.mint.now
        self.register(store, "alice", "alice", label="laptop")
        self.register(store, "bob", "bob")
        self.register(store, "alice", "globex-alice", organization=NEIGHBOUR)
        self.register(store, "dave", "partner", organization=POOL)
        for name in ("expired", "revoked", "withdrawn"):
            self.register(store, "alice", name)
        retire(store, self.register(store, "alice", "retired"), now)
        leaf = [_certificate(self.clients["scheduled"])]
        later = now + timedelta(days=1)
        register(store, NewRegistration(ORGANIZATION, "alice", leaf, "scheduled", valid_from=later), now)

    def register(
        self, store: AuditedStore, user: str, client: str, *, organization: str = ORGANIZATION, label: str = ""
    ) -> int:
        """Register a client's certificate with its chain; return the registration's id."""
        party = self.clients[client]
        leaf = _certificate(party)
        chain = [Certificate.parse(certificate.public_bytes(Encoding.DER)) for certificate in party.chain]
        new = NewRegistration(organization, user, [leaf, *chain], client, label)
        # One that has expired was registered while it was valid.
        return register(store, new, min(self.mint.now, leaf.not_after)).registration.registration.id

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
