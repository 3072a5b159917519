"""What a scenario's path can have besides a plain chain: each works (RFC 5280 section 6.1), until broken."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import ClassVar

from cryptography import x509
from cryptography.x509.oid import NameOID
from pki_factory import NOW, name, new_key, san
from pki_scenario import DAY, NOTHING, Extension, Feature, Options, Scenario, add, signing

Rule = dict[type[x509.GeneralName], tuple[x509.GeneralName, x509.GeneralName, x509.GeneralName]]


class Constraints(Feature):
    """Name constraints of one kind, which the leaf's names keep: permitted, or excluded elsewhere."""

    breaks = ("outside what is permitted", "inside what is excluded", "names of a kind that cannot be compared")

    # By kind: a subtree around the leaf's name, one elsewhere, and the name.
    rules: ClassVar[Rule] = {
        x509.DNSName: (x509.DNSName("example.test"), x509.DNSName("other.test"), x509.DNSName("a.example.test")),
        x509.RFC822Name: (
            x509.RFC822Name("example.test"), x509.RFC822Name("other.test"), x509.RFC822Name("alice@example.test"),
        ),
        x509.UniformResourceIdentifier: (
            x509.UniformResourceIdentifier(".example.test"), x509.UniformResourceIdentifier(".other.test"),
            x509.UniformResourceIdentifier("https://a.example.test/alice"),
        ),
        x509.IPAddress: (
            x509.IPAddress(IPv4Network("10.1.0.0/16")), x509.IPAddress(IPv4Network("10.2.0.0/16")),
            x509.IPAddress(IPv4Address("10.1.2.3")),
        ),
        x509.DirectoryName: (
            x509.DirectoryName(name("alice")), x509.DirectoryName(name("bob")), x509.DirectoryName(name("ALICE")),
        ),
    }  # fmt: skip
    registered = x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))

    def prepare(self, scene: Scenario) -> None:
        """Constrain the last CA, and name the leaf."""
        around, elsewhere, stated = scene.drawn.choice(list(self.rules.values()))
        permitted, excluded = [around], [elsewhere]
        if scene.broken == "outside what is permitted":
            permitted = [elsewhere]
        elif scene.broken == "inside what is excluded":
            excluded = [around]
        names = [stated]
        if scene.broken == "names of a kind that cannot be compared":
            permitted.append(self.registered)
            names.append(self.registered)
        chosen = scene.drawn.choice([(permitted, None), (None, excluded), (permitted, excluded)])
        add(scene.ca, (x509.NameConstraints(*chosen), True))
        add(scene.leaf, (san(*names), False))


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

    @classmethod
    def upper(cls, scene: Scenario) -> list[Extension]:
        """Those of the upper CA."""
        return cls.rows.get(scene.broken, cls.rows[NOTHING])[0]


class Respelled(Feature):
    """Issuers are written in another case, with other white space, as another string type (section 7.1)."""

    breaks = ("another name altogether",)

    def arrange(self, scene: Scenario) -> None:
        """Spell the issuer otherwise in the leaf and in its CRL."""
        text = scene.issuer.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        kind = scene.drawn.choice([x509.name._ASN1Type.PrintableString, x509.name._ASN1Type.UTF8String])
        spelled = str(text).upper().replace(" ", "   ") + ("x" if scene.broken == self.breaks[0] else " ")
        respelled = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f" {spelled}", kind)])
        scene.leaf["issuer"] = respelled
        scene.crl["issuer"] = respelled


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

    breaks = ("the other expired", "the other of a stranger", "the other revoked", "one revoked", "both revoked")

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
