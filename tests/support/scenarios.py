"""Chains with their CRLs for two validators to agree upon: what a scenario holds, and what can be broken in any.

A scenario is a chain of one to three CAs with keys of every kind, to which one feature (`random_chains.FEATURES`)
adds something that must work; `BREAKS` are the ways that any chain can be broken. What the verdict ought
to be is said nowhere here.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes as PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID

from support.certificates import NOW, Authority, Minted, entry, name, new_key, usage

Options = dict[str, object]
Extension = tuple[x509.ExtensionType, bool]

DAY = timedelta(days=1)
NOTHING = "nothing"
KINDS = ("p256", "p256", "p384", "p521", "ed25519", "ed448", "rsa2048", "rsa2048", "rsa2048")
KEYS = [new_key(kind) for kind in KINDS]
PSS_KEY = KEYS[-1]
"""The key that signs with RSA-PSS; the other RSA keys sign as PKCS #1 version 1.5 has it."""


def pss(salt: int = 32) -> padding.PSS:
    """RFC 4055 section 3.1, with SHA-256 throughout and `salt` bytes of salt."""
    return padding.PSS(padding.MGF1(hashes.SHA256()), salt)


def signing(key: PrivateKey) -> Options:
    """How a key signs."""
    return {"rsa_padding": pss()} if key is PSS_KEY else {}


def add(options: Options, *extensions: Extension) -> None:
    """Add extensions to what is going to be minted, in place of those of the same identifier."""
    new = {one.oid for one, _ in extensions}
    kept = [pair for pair in options.get("extensions", ()) if pair[0].oid not in new]  # type: ignore[attr-defined]
    options["extensions"] = [*kept, *extensions]


@dataclass
class Scenario:
    """What a validator is given, and while it is made, the options of what is minted next.

    `root` are those of the anchor, `ca` of the last CA, `leaf` of the leaf, `crl` of every CRL that speaks for
    the leaf. `ca_name` and `subject` are the names of the last CA and of the leaf. `issuer` issues the leaf;
    `revoked` are those whom their issuers' CRLs list. `inputs` are those of section 6.1.1, by the names that
    `ValidationPolicy` has for them. `rule` is a feature's own.
    """

    drawn: random.Random
    feature: str
    broken: str
    depth: int
    keys: list[PrivateKey]
    ca_name: x509.Name = field(default_factory=lambda: name("CA"))
    subject: x509.Name | str = "alice"
    root: Options = field(default_factory=dict)
    ca: Options = field(default_factory=dict)
    leaf: Options = field(default_factory=dict)
    crl: Options = field(default_factory=dict)
    inputs: Options = field(default_factory=dict)
    rule: tuple[object, object, object] = (None, None, None)
    cas: list[Authority] = field(default_factory=list)
    others: list[Minted] = field(default_factory=list)
    strangers: list[Minted] = field(default_factory=list)
    crls: list[bytes] = field(default_factory=list)
    revoked: list[Minted] = field(default_factory=list)
    anchor: Authority = field(init=False)
    issuer: Authority = field(init=False)
    user: Minted = field(init=False)
    der: bytes = b""

    def key(self) -> PrivateKey:
        """A key that no other certificate here has; all are made once, because RSA keys take time."""
        return self.keys.pop()

    @property
    def parent(self) -> Authority:
        """Who issued the last CA."""
        return self.cas[-2] if len(self.cas) > 1 else self.anchor

    @property
    def pool(self) -> list[bytes]:
        """Every certificate between leaf and anchor, the strangers last."""
        return [one.der for one in (*self.cas, *self.others, *self.strangers)]

    def stranger(self) -> Authority:
        """Another CA with the anchor's name, which is not trusted."""
        return Authority.root(self.anchor.certificate.subject)

    def speak(self, *listed: object, signer: Authority | None = None, **options: object) -> bytes:
        """A CRL for the leaf by its issuer or `signer`, as the scenario has it broken."""
        who = signer or self.issuer
        merged: Options = {**options, **self.crl}
        stated = options.get("extensions", ())
        add(merged, *stated, *self.crl.get("extensions", ()))  # type: ignore[misc,attr-defined]
        key = merged.get("key", who.key)
        lists = self._lists_user(listed)
        return who.crl(*lists, **signing(key), **merged)  # type: ignore[arg-type]

    def _lists_user(self, listed: tuple[object, ...]) -> tuple[object, ...]:
        if self.broken == "entry with an unknown critical extension":
            return (*listed, entry(2, extensions=[UNKNOWN]))
        return (*listed, self.user) if self.broken == "leaf revoked" else listed

    def revoke(self, one: Minted) -> None:
        """Have the certificate's issuer list it."""
        self.revoked.append(one)


class Feature:
    """Something that works: hooks before the CAs, before the leaf, and for the CRLs that speak for the leaf."""

    breaks: ClassVar[tuple[str, ...]] = ()

    def prepare(self, scene: Scenario) -> None:
        """Before anything is minted."""

    def upper(self, scene: Scenario) -> list[Extension]:
        """The extensions of the CAs above the last."""
        return []

    def arrange(self, scene: Scenario) -> None:
        """Once there are CAs, before they issue the leaf."""

    def changed(self, scene: Scenario) -> Minted:
        """The leaf that was minted, or another in its place."""
        return scene.user

    def crls(self, scene: Scenario) -> list[bytes]:
        """The CRLs that speak for the leaf."""
        return [scene.speak()]


def issuing_point(
    names: list[x509.GeneralName] | None = None,
    relative: x509.RelativeDistinguishedName | None = None,
    reasons: frozenset[x509.ReasonFlags] | None = None,
    **flags: bool,
) -> x509.IssuingDistributionPoint:
    """An issuing distribution point with some flags."""
    known = ("only_contains_user_certs", "only_contains_ca_certs", "indirect_crl", "only_contains_attribute_certs")
    chosen = {flag: flags.get(flag, False) for flag in known}
    return x509.IssuingDistributionPoint(full_name=names, relative_name=relative, only_some_reasons=reasons, **chosen)


Break = Callable[[Scenario], None]


def root_option(**options: object) -> Break:
    """Break the anchor."""
    return lambda scene: scene.root.update(options)


def root_extension(*extensions: Extension) -> Break:
    """Give the anchor an extension."""
    return lambda scene: add(scene.root, *extensions)


def ca_option(**options: object) -> Break:
    """Break the last CA."""
    return lambda scene: scene.ca.update(options)


def leaf_option(**options: object) -> Break:
    """Break the leaf."""
    return lambda scene: scene.leaf.update(options)


def crl_option(**options: object) -> Break:
    """Break the CRLs that speak for the leaf."""
    return lambda scene: scene.crl.update(options)


def ca_extension(*extensions: Extension) -> Break:
    """Give the last CA an extension."""
    return lambda scene: add(scene.ca, *extensions)


def leaf_extension(*extensions: Extension) -> Break:
    """Give the leaf an extension."""
    return lambda scene: add(scene.leaf, *extensions)


def _lengthen(scene: Scenario) -> None:
    scene.depth = max(2, scene.depth)


UNKNOWN = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)
SERVER = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
ANYTHING = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False)
NOT_A_CA = (x509.BasicConstraints(ca=False, path_length=None), True)
LAST_CA = (x509.BasicConstraints(ca=True, path_length=0), True)
NOT_THE_LEAF = (x509.NameConstraints(None, [x509.DNSName("example.test")]), True)
HINT = (x509.AuthorityKeyIdentifier(b"another key", None, None), False)

BREAKS: dict[str, Break] = {
    NOTHING: lambda _scene: None,
    "leaf expired": leaf_option(not_after=NOW - DAY),
    "leaf not yet valid": leaf_option(not_before=NOW + DAY),
    "leaf for servers": leaf_extension(SERVER),
    "leaf for nothing in particular": leaf_option(without=[x509.ExtendedKeyUsage]),
    "leaf for anything": leaf_extension(ANYTHING),
    "leaf's key may only encipher": leaf_extension((usage("key_encipherment"), True)),
    "leaf with an unknown critical extension": leaf_extension(UNKNOWN),
    "leaf of another issuer's name": leaf_option(issuer=name("Unknown")),
    "leaf's key too short": leaf_option(key=new_key("rsa1024")),
    "leaf hints at another key": leaf_extension(HINT),
    "leaf revoked": lambda _scene: None,
    "leaf's signature broken": lambda _scene: None,
    "anchor expired": root_option(not_after=NOW - DAY),
    "anchor is no CA": root_extension(NOT_A_CA),
    "anchor may not sign certificates": root_extension((usage("crl_sign"), True)),
    "anchor below which no CA may follow": root_extension(LAST_CA),
    "anchor excludes the leaf's name": root_extension(NOT_THE_LEAF),
    "anchor with an unknown critical extension": root_extension(UNKNOWN),
    "anchor for servers": root_extension(SERVER),
    "anchor of version 1": lambda _scene: None,
    "CA of version 1": lambda _scene: None,
    "CA expired": ca_option(not_after=NOW - DAY),
    "CA not yet valid": ca_option(not_before=NOW + DAY),
    "CA is not a CA": ca_extension(NOT_A_CA),
    "CA without basic constraints": ca_option(without=[x509.BasicConstraints]),
    "CA may not sign certificates": ca_extension((usage("crl_sign"), True)),
    "CA may not sign CRLs": ca_extension((usage("key_cert_sign"), True)),
    "CA with an unknown critical extension": ca_extension(UNKNOWN),
    "CA for servers": ca_extension(SERVER),
    "CA for anything": ca_extension(ANYTHING),
    "CA revoked": lambda _scene: None,
    "CA missing": lambda _scene: None,
    "CA where none may follow": _lengthen,
    "CRL expired": crl_option(next_update=NOW - timedelta(hours=1)),
    "CRL of the future": crl_option(this_update=NOW + DAY, next_update=NOW + 2 * DAY),
    "CRL signed by another key": crl_option(key=new_key()),
    "CRL with an unknown critical extension": crl_option(extensions=[UNKNOWN]),
    "entry with an unknown critical extension": lambda _scene: None,
    "CRL missing": lambda _scene: None,
    "every CRL twice": lambda _scene: None,
}
