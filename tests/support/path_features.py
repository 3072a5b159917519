"""What a scenario's path can have besides a plain chain: each works (RFC 5280 section 6.1), until broken."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import ClassVar

from cryptography import x509
from cryptography.x509.oid import NameOID

from support.certificates import NOW, name, new_key, san
from support.scenarios import DAY, NOTHING, Extension, Feature, Options, Scenario, add, signing

Rule = tuple[x509.GeneralName, x509.GeneralName, x509.GeneralName | x509.Name]

PEOPLE = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "People")])
ALICE = x509.Name([*PEOPLE, x509.NameAttribute(NameOID.COMMON_NAME, "alice")])


class Constraints(Feature):
    """Name constraints of one kind, which the leaf's names keep: permitted, or excluded elsewhere."""

    breaks = (
        "outside what is permitted", "inside what is excluded", "names of a kind that cannot be compared",
        "permitted by the upper CA too", "not permitted by the upper CA", "excluded by the upper CA",
    )  # fmt: skip

    # By kind: a subtree around the leaf's name, one elsewhere, and the name, which may be the subject itself.
    rules: ClassVar[dict[str, Rule]] = {
        "DNS": (x509.DNSName("example.test"), x509.DNSName("other.test"), x509.DNSName("a.example.test")),
        "e-mail": (
            x509.RFC822Name("example.test"), x509.RFC822Name("other.test"), x509.RFC822Name("alice@example.test"),
        ),
        "one mailbox": (
            x509.RFC822Name("alice@Example.test"), x509.RFC822Name("ALICE@example.test"),
            x509.RFC822Name("alice@example.test"),
        ),
        "e-mail in the subject": (
            x509.RFC822Name("example.test"), x509.RFC822Name("other.test"),
            x509.Name([x509.NameAttribute(NameOID.EMAIL_ADDRESS, "alice@example.test")]),
        ),
        "e-mail beyond ASCII": (
            x509.RFC822Name("example.test"), x509.RFC822Name("other.test"),
            x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9"), b"\x0c\x0f\xc3\xa9@example.test"),
        ),
        "URI": (
            x509.UniformResourceIdentifier(".example.test"), x509.UniformResourceIdentifier(".other.test"),
            x509.UniformResourceIdentifier("https://a.example.test/alice"),
        ),
        "IPv4": (
            x509.IPAddress(IPv4Network("10.1.0.0/16")), x509.IPAddress(IPv4Network("10.2.0.0/16")),
            x509.IPAddress(IPv4Address("10.1.2.3")),
        ),
        "IPv6": (
            x509.IPAddress(IPv6Network("fd00:1::/32")), x509.IPAddress(IPv4Network("0.0.0.0/0")),
            x509.IPAddress(IPv6Address("fd00:1::1")),
        ),
        "directory name": (
            x509.DirectoryName(name("alice")), x509.DirectoryName(name("bob")), x509.DirectoryName(name("ALICE")),
        ),
        "subject": (x509.DirectoryName(PEOPLE), x509.DirectoryName(name("bob")), ALICE),
    }  # fmt: skip
    registered = x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))

    def prepare(self, scene: Scenario) -> None:
        """Constrain the last CA, and name the leaf."""
        scene.rule = around, elsewhere, stated = scene.drawn.choice(list(self.rules.values()))
        permitted, excluded = [around], [elsewhere]
        if "upper" in scene.broken:
            scene.depth = max(2, scene.depth)
        if scene.broken == "outside what is permitted":
            permitted = [elsewhere]
        elif scene.broken == "inside what is excluded":
            excluded = [around]
        names: list[x509.GeneralName] = []
        if isinstance(stated, x509.Name):
            scene.subject = stated
        else:
            names.append(stated)
        if scene.broken == "names of a kind that cannot be compared":
            permitted.append(self.registered)
            names.append(self.registered)
        chosen = scene.drawn.choice([(permitted, None), (None, excluded), (permitted, excluded)])
        add(scene.ca, (x509.NameConstraints(*chosen), True))
        if names:
            add(scene.leaf, (san(*names), False))

    def upper(self, scene: Scenario) -> list[Extension]:
        """What the CAs above permit and exclude: only what both permit is permitted."""
        around, elsewhere, _ = scene.rule
        chosen = {
            "permitted by the upper CA too": ([around, elsewhere], None),
            "not permitted by the upper CA": ([elsewhere], None),
            "excluded by the upper CA": (None, [around]),
        }
        return [(x509.NameConstraints(*chosen[scene.broken]), True)] if scene.broken in chosen else []


def policies(*oids: str) -> Extension:
    """Certificate policies."""
    return x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier(one), None) for one in oids]), False


def mapping(issuer_domain: str, subject_domain: str) -> Extension:
    """A policy mapping, by hand: the library has no type for it. Identifiers are 1.2.x with x below 128."""
    pair = b"".join(bytes([6, 2, 0x2A, int(one.rpartition(".")[2])]) for one in (issuer_domain, subject_domain))
    value = bytes([0x30, len(pair) + 2, 0x30, len(pair)]) + pair
    return x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.33"), value), True


ANY_POLICY = "2.5.29.32.0"
DEMANDED = (x509.PolicyConstraints(require_explicit_policy=0, inhibit_policy_mapping=None), True)
MAPPING_INHIBITED = (x509.PolicyConstraints(require_explicit_policy=0, inhibit_policy_mapping=0), True)
ANY_INHIBITED = (x509.InhibitAnyPolicy(0), True)


class Policies(Feature):
    """Certificate policies through two CAs; the inputs of section 6.1.1 are drawn."""

    # By name: the extensions of the upper CA, of the lower one, and of the leaf.
    rows: ClassVar[dict[str, tuple[list[Extension], list[Extension], list[Extension]]]] = {
        NOTHING: ([policies("1.2.3", "1.2.4"), DEMANDED], [policies("1.2.3")], [policies("1.2.3")]),
        "another policy": ([policies("1.2.3"), DEMANDED], [policies("1.2.3")], [policies("1.2.4")]),
        "no policy": ([policies("1.2.3"), DEMANDED], [policies("1.2.3")], []),
        "no policy, and none demanded": ([policies("1.2.3")], [policies("1.2.3")], []),
        "any policy above": ([policies(ANY_POLICY), DEMANDED], [policies(ANY_POLICY)], [policies("1.2.4")]),
        "any policy throughout": ([policies(ANY_POLICY), DEMANDED], [policies(ANY_POLICY)], [policies(ANY_POLICY)]),
        "any policy inhibited": (
            [policies(ANY_POLICY), DEMANDED, ANY_INHIBITED], [policies(ANY_POLICY)], [policies("1.2.3")],
        ),
        "mapped": ([policies("1.2.3"), DEMANDED], [policies("1.2.3"), mapping("1.2.3", "1.2.4")], [policies("1.2.4")]),
        "mapped away": (
            [policies("1.2.3"), DEMANDED], [policies("1.2.3"), mapping("1.2.3", "1.2.4")], [policies("1.2.3")],
        ),
        "mapped twice": (
            [policies("1.2.3"), mapping("1.2.3", "1.2.4"), DEMANDED],
            [policies("1.2.4"), mapping("1.2.4", "1.2.5")], [policies("1.2.5")],
        ),
        "mapping inhibited": (
            [policies("1.2.3"), MAPPING_INHIBITED], [policies("1.2.3"), mapping("1.2.3", "1.2.4")], [policies("1.2.4")],
        ),
        "any policy mapped": (
            [policies(ANY_POLICY), DEMANDED], [policies(ANY_POLICY), mapping("1.2.3", "1.2.4")], [policies("1.2.4")],
        ),
    }  # fmt: skip
    breaks = tuple(rows)[1:]

    def prepare(self, scene: Scenario) -> None:
        """The row, and the inputs."""
        scene.depth = 2
        _, lower, leaf = self.rows.get(scene.broken, self.rows[NOTHING])
        add(scene.ca, *lower)
        add(scene.leaf, *leaf)
        drawn = scene.drawn
        flags = ("require_explicit_policy", "inhibit_policy_mapping", "inhibit_any_policy")
        scene.inputs = {flag: True for flag in flags if drawn.random() < 0.15}
        if drawn.random() < 0.3:
            scene.inputs["initial_policy_set"] = frozenset(drawn.sample(["1.2.3", "1.2.4", "1.2.5"], 2))

    def upper(self, scene: Scenario) -> list[Extension]:
        """Those of the upper CA."""
        return self.rows.get(scene.broken, self.rows[NOTHING])[0]


class Respelled(Feature):
    """Issuers are written in another case, with other white space, as another string type (section 7.1)."""

    breaks = ("another name altogether", "values in RDNs of their own", "RDNs in another order")
    rdns = (
        ((NameOID.ORGANIZATION_NAME, "Some people"),),
        ((NameOID.COMMON_NAME, "The last CA"), (NameOID.ORGANIZATIONAL_UNIT_NAME, "Zone b"), (NameOID.TITLE, "of all")),
    )
    # Of the types that section 7.1 speaks of, and of the older ones, those that OpenSSL reads.
    kinds = tuple(x509.name._ASN1Type[f"{kind}String"] for kind in ("Printable", "UTF8", "BMP", "T61", "IA5"))

    def prepare(self, scene: Scenario) -> None:
        """Give the last CA a name of several values."""
        scene.ca_name = x509.Name(
            [x509.RelativeDistinguishedName([attribute(*one) for one in rdn]) for rdn in self.rdns]
        )

    def arrange(self, scene: Scenario) -> None:
        """Spell the issuer otherwise in the leaf and in its CRL."""
        rdns = [[self._spelled(scene, *one) for one in rdn] for rdn in self.rdns]
        if scene.broken == "values in RDNs of their own":
            rdns = [[one] for rdn in rdns for one in rdn]
        elif scene.broken == "RDNs in another order":
            rdns.reverse()
        respelled = x509.Name([x509.RelativeDistinguishedName(rdn) for rdn in rdns])
        scene.leaf["issuer"] = respelled
        scene.crl["issuer"] = respelled

    def _spelled(self, scene: Scenario, oid: x509.ObjectIdentifier, text: str) -> x509.NameAttribute:
        drawn = scene.drawn
        spelled = drawn.choice([str.upper, str.lower, str.title])(text).replace(" ", " " * drawn.randint(1, 3))
        if scene.broken == "another name altogether" and oid == NameOID.COMMON_NAME:
            spelled += "x"
        return attribute(oid, " " * drawn.randint(0, 2) + spelled + " " * drawn.randint(0, 2), drawn.choice(self.kinds))


def attribute(
    oid: x509.ObjectIdentifier, text: str, kind: x509.name._ASN1Type = x509.name._ASN1Type.UTF8String
) -> x509.NameAttribute:
    """An attribute of a name."""
    return x509.NameAttribute(oid, text, kind)


class Rekeyed(Feature):
    """The last CA has two keys, and a self-issued certificate leads from one to the other (section 4.2.1.9)."""

    breaks = (
        "self-issued expired", "self-issued is no CA", "self-issued revoked",
        "no CRL of the certified key", "no CRL of the other key", "path length of zero", "self-issued missing",
    )  # fmt: skip

    def prepare(self, scene: Scenario) -> None:
        """Self-issued certificates do not count in a path length."""
        if scene.broken == "path length of zero":
            scene.ca["path_length"] = 0

    def arrange(self, scene: Scenario) -> None:
        """Issue the leaf with the key that the self-issued certificate certifies."""
        options: Options = {"key": new_key()}
        if scene.broken == "self-issued expired":
            options["not_after"] = NOW - DAY
        elif scene.broken == "self-issued is no CA":
            add(options, (x509.BasicConstraints(ca=False, path_length=None), True))
        old = scene.cas[-1]
        other = old.intermediate(old.certificate.subject, **options, **signing(old.key))
        if scene.broken != "self-issued missing":
            scene.others.append(other)
        scene.issuer = other

    def crls(self, scene: Scenario) -> list[bytes]:
        """One of each key: the self-issued certificate is listed by the key that certified it."""
        certified = scene.cas[-1]
        listed = (scene.issuer,) if scene.broken == "self-issued revoked" else ()
        mine = scene.speak(*listed, signer=certified)
        if scene.broken == "no CRL of the other key":
            return [mine]
        if scene.broken == "no CRL of the certified key":
            return [scene.speak()]
        return [mine, scene.speak()]


class CrossSigned(Feature):
    """The last CA has a second certificate of the same name and key."""

    breaks = (
        "the other expired", "the other of a stranger", "the other revoked", "one revoked", "both revoked",
        "CA of version 1",
    )  # fmt: skip

    def arrange(self, scene: Scenario) -> None:
        """Certify it again."""
        ca = scene.cas[-1]
        by = scene.stranger() if scene.broken == "the other of a stranger" else scene.parent
        options = {**scene.ca, **({"not_after": NOW - DAY} if scene.broken == "the other expired" else {})}
        other = by.intermediate(ca.certificate.subject, key=ca.key, **options, **signing(by.key))
        scene.others.append(other)
        if scene.broken in {"the other revoked", "both revoked", "CA revoked"}:
            scene.revoke(other)
        if scene.broken in {"one revoked", "both revoked"}:
            scene.revoke(ca)
