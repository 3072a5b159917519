"""The canary of `authz doctor probe`: an organization with a CA of its own, made for an hour and removed again."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from authz.admin.audited_store import AuditedStore
from authz.admin.canary import CANARY, CanaryOrganization, add_canary, is_left_over, remove_canary
from authz.demo.mint import Mint, Party, write_secret
from authz.doctor.probe.clients import BAD, CANARY_FILE
from authz.doctor.probe.dialing import Shown
from authz.errors import ConfigError, StoreError
from authz.model import Enforcement, TokenSettings
from authz.pki import Certificate, Crl
from authz.pki.x509.library import load_certificate

LIFE: Final = timedelta(hours=1)
"""How long its certificates, tokens and registrations hold."""

LARGE_CHAIN: Final = 30
"""CA certificates in the large chain: 60 KB in Envoy's header, and below the 100 KB that its handshake takes."""


PARTIES: Final = ("good", "other", *BAD, "large")

FILES: Final = (
    *(f"{name}.{kind}" for name in PARTIES for kind in ("pem", "key")),
    *("root.pem", "good.token", "off.token", "jwks.json", CANARY_FILE),
)
"""All that is ever in its folder; the last one goes last, for it says whose the others are."""


@dataclass(frozen=True)
class CanaryPlan:
    """Where the canary lives, and how its tokens are recognized.

    With an issuer in `token` the tokens are the operator's to bring, for users of these names; without, an issuer is
    made whose key is kept nowhere.
    """

    host: str
    folder: Path
    token: TokenSettings = field(default_factory=TokenSettings)
    user: str = "canary"
    off_user: str = "canary-off"

    @property
    def has_own_issuer(self) -> bool:
        """Whether tokens are made with it."""
        return self.token.issuer is None


def prepare(store: AuditedStore, plan: CanaryPlan) -> dict[str, object]:
    """Make the canary: wholly, or not at all. Raises `ConfigError` or `StoreError`."""
    if is_left_over(store):
        raise StoreError(f"there is a canary {CANARY} already", hint="authz doctor prepare --remove")
    try:
        plan.folder.mkdir(mode=0o755)
    except OSError as error:
        raise ConfigError(f"{plan.folder} cannot be made: {error.strerror}", hint="name a new folder") from error
    try:
        return _Making(store, plan).all()
    except BaseException:
        _remove_files(plan.folder)
        raise


def remove(store: AuditedStore, folder: Path) -> None:
    """Remove the organization with all that is its own, and the files; what was removed before is no error.

    Raises `ConfigError` for a folder that holds something else.
    """
    remove_canary(store)
    if folder.is_dir():
        _remove_files(folder)


def impostors(own: Shown, folder: Path) -> dict[str, Shown]:
    """Certificates that say what a real user's says, which neither that user's CA nor any other signed.

    Raises `OSError` or `ValueError` for a file without a certificate.
    """
    real = load_certificate(own.der)
    stranger = ec.generate_private_key(ec.SECP256R1())
    made = {"foreign": (real.issuer, stranger), "self-signed": (real.subject, None)}
    for name, (issuer, signer) in made.items():
        _impostor(real, issuer, signer).write(folder, name)
    return {name: Shown(folder / f"{name}.pem", folder / f"{name}.key") for name in made}


def _impostor(real: x509.Certificate, issuer: x509.Name, signer: ec.EllipticCurvePrivateKey | None) -> Party:
    key = ec.generate_private_key(ec.SECP256R1())
    valid = real.not_valid_before_utc, real.not_valid_after_utc
    builder = x509.CertificateBuilder(issuer, real.subject, key.public_key(), real.serial_number, *valid)
    for extension in real.extensions:
        # Those that identify keys name the real ones.
        if not isinstance(extension.value, x509.SubjectKeyIdentifier | x509.AuthorityKeyIdentifier):
            builder = builder.add_extension(extension.value, extension.critical)
    return Party(builder.sign(signer or key, hashes.SHA256()), key)


def _remove_files(folder: Path) -> None:
    if not (folder / CANARY_FILE).is_file() and any(folder.iterdir()):
        raise ConfigError(f"{folder} holds no canary", hint="nothing in it was removed")
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    try:
        folder.rmdir()
    except OSError as error:
        raise ConfigError(f"{folder} holds more than the canary", hint="look, and remove it yourself") from error


class _Making:
    """One canary being made."""

    def __init__(self, store: AuditedStore, plan: CanaryPlan) -> None:
        self._store, self._plan, self._folder = store, plan, plan.folder
        self._mint = Mint(LIFE)
        self._root = self._mint.authority("Doctor canary root")
        issue = self._mint.client
        self._parties: dict[str, Party] = {
            "good": issue("canary", self._root),
            "other": issue("canary other", self._root),
            "revoked": issue("canary revoked", self._root),
            "expired": issue("canary expired", self._root, expired=True),
            "foreign": issue("canary foreign", self._mint.authority("Doctor foreign root")),
            "self-signed": issue("canary self-signed", None),
        }
        unrelated = (self._mint.authority(f"Doctor unrelated {number}").certificate for number in range(LARGE_CHAIN))
        self._parties["large"] = replace(issue("canary large", self._root), chain=tuple(unrelated))

    def all(self) -> dict[str, object]:
        """Files first: what a service may read must be there before the directory names it."""
        made: dict[str, object] = {
            "organization": CANARY,
            "host": self._plan.host,
            "until": (self._mint.now + LIFE).isoformat(),
            "folder": str(self._folder),
        }
        (self._folder / CANARY_FILE).write_text(json.dumps(made), encoding="utf-8")
        for name, party in self._parties.items():
            party.write(self._folder, name)
        (self._folder / "root.pem").write_bytes(self._root.chain_pem())
        token = self._own_issuer() if self._plan.has_own_issuer else self._plan.token
        add_canary(self._store, self._organization(token), self._mint.now)
        return made

    def _own_issuer(self) -> TokenSettings:
        (self._folder / "jwks.json").write_text(self._mint.jwks(), encoding="ascii")
        issuer = f"https://{CANARY}.invalid/{self._root.certificate.serial_number:x}"
        for name, user in (("good", self._plan.user), ("off", self._plan.off_user)):
            token = self._mint.token(user, lifetime=LIFE, iss=issuer, aud=CANARY)
            write_secret(self._folder / f"{name}.token", token.encode())
        return TokenSettings(issuer, CANARY, keys=str((self._folder / "jwks.json").absolute()))

    def _organization(self, token: TokenSettings) -> CanaryOrganization:
        plan, until = self._plan, self._mint.now + LIFE
        other = f"{plan.user}-other"
        revoked = [self._parties[name] for name in ("revoked", "large")]
        holders = {"good": plan.user, "other": other, "revoked": plan.user, "expired": plan.user}
        return CanaryOrganization(
            host=plan.host,
            token=token,
            anchor=_certificate(self._root),
            crl=Crl(self._mint.crl(self._root, *revoked, until=until)),
            users={plan.user: Enforcement.REQUIRED, other: Enforcement.REQUIRED, plan.off_user: Enforcement.OFF},
            leaves={_certificate(self._parties[name]): user for name, user in holders.items()},
            until=until,
        )


def _certificate(party: Party) -> Certificate:
    return Certificate.parse(party.certificate.public_bytes(Encoding.DER))
