"""How the CRLs of a scenario can speak: each works (RFC 5280 section 6.3), until broken."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from cryptography import x509
from cryptography.x509.oid import NameOID

from support.certificates import NOW, Authority, Minted, entry, name, new_key, usage
from support.scenarios import DAY, Feature, Options, Scenario, add, issuing_point, signing
from support.tampered import listing, of_serial, reissued, signed_again


class Plain(Feature):
    """A chain, and complete CRLs."""

    breaks = (
        "CRL for CAs only", "CRL for users only", "CRL for attributes only", "removal in a complete CRL",
        "an older CRL listed the leaf", "a newer CRL lists the leaf", "salt too long",
        "serial number zero", "serial number negative", "serial number zero, listed", "serial number negative, listed",
    )  # fmt: skip

    def prepare(self, scene: Scenario) -> None:
        """Breaks that would make no sense beside another feature's CRLs."""
        scope = {"CRL for CAs only": "ca", "CRL for users only": "user", "CRL for attributes only": "attribute"}
        if scene.broken in scope:
            point = issuing_point(**{f"only_contains_{scope[scene.broken]}_certs": True})
            scene.crl["extensions"] = [(point, True)]

    def changed(self, scene: Scenario) -> Minted:
        """With a serial number that no builder gives (section 4.1.2.2)."""
        serial = self._serial(scene)
        return reissued(scene.user, scene.issuer, of_serial(serial)) if serial else scene.user

    @staticmethod
    def _serial(scene: Scenario) -> bytes:
        if not scene.broken.startswith("serial number"):
            return b""
        return b"\0" if "zero" in scene.broken else b"\x80"

    def crls(self, scene: Scenario) -> list[bytes]:
        """One, unless an older one is to stand beside it."""
        if scene.broken.endswith(", listed"):
            return [signed_again(scene.speak(1), scene.issuer, listing(self._serial(scene)))]
        if scene.broken == "removal in a complete CRL":
            return [scene.speak(entry(scene.user.certificate.serial_number, reason=x509.ReasonFlags.remove_from_crl))]
        if scene.broken == "an older CRL listed the leaf":
            hold = scene.speak(scene.user, reason=x509.ReasonFlags.certificate_hold, this_update=NOW - 2 * DAY)
            return [hold, scene.speak(number=2)]
        if scene.broken == "a newer CRL lists the leaf":
            return [scene.speak(this_update=NOW - 2 * DAY), scene.speak(scene.user, number=2)]
        return [scene.speak()]


class SplitReasons(Feature):
    """The reasons are split over several CRLs."""

    breaks = ("a part missing", "a part expired", "a part lists the leaf", "a part speaks for reasons covered")
    reasons = tuple(
        one for one in x509.ReasonFlags if one not in {x509.ReasonFlags.unspecified, x509.ReasonFlags.remove_from_crl}
    )

    def crls(self, scene: Scenario) -> list[bytes]:
        """Two or three parts, and a word for some of the breaks in the first or last."""
        drawn = scene.drawn
        shuffled = drawn.sample(self.reasons, len(self.reasons))
        cuts = [0, *sorted(drawn.sample(range(1, 8), drawn.randint(1, 2))), 8]
        parts = [frozenset(shuffled[a:b]) for a, b in pairwise(cuts)]
        if scene.broken == "a part missing":
            parts.pop()
        elif scene.broken == "a part speaks for reasons covered":
            parts[-1] = parts[0]
        crls = [self._part(scene, one) for one in parts[:-1]]
        late: Options = {}
        listed = (scene.user,) if scene.broken == "a part lists the leaf" else ()
        if scene.broken == "a part expired":
            late["next_update"] = NOW - timedelta(hours=1)
        return [*crls, self._part(scene, parts[-1], *listed, **late)]

    @staticmethod
    def _part(scene: Scenario, reasons: frozenset[x509.ReasonFlags], *listed: Minted, **options: object) -> bytes:
        return scene.speak(*listed, extensions=[(issuing_point(reasons=reasons), True)], **options)


NOT_ON_HOLD = {"delta lists another", "delta lists the leaf", "delta expired, none on hold", "leaf revoked"}
FRESHEST = x509.FreshestCRL([x509.DistributionPoint([x509.UniformResourceIdentifier("http://a/d")], None, None, None)])


class Delta(Feature):
    """The leaf was on hold in the complete CRL; a delta takes it off again."""

    breaks = (
        "delta lists another", "delta lists the leaf", "delta keeps the hold", "delta expired", "delta of the future",
        "delta of a later base", "delta not newer", "delta of another key", "delta of another scope",
        "delta removes another", "delta missing", "delta expired, none on hold",
    )  # fmt: skip

    def prepare(self, scene: Scenario) -> None:
        """Say that there are deltas, as the complete CRL does; without it the other validators look for none."""
        add(scene.leaf, (FRESHEST, False))

    def crls(self, scene: Scenario) -> list[bytes]:
        """The complete CRL and the delta."""
        broken = scene.broken
        hold = entry(scene.user.certificate.serial_number, reason=x509.ReasonFlags.certificate_hold)
        on_hold = () if broken in NOT_ON_HOLD else (hold,)
        complete = scene.speak(*on_hold, number=5, this_update=NOW - DAY, extensions=[(FRESHEST, False)])
        if broken == "delta missing":
            return [complete]
        return [complete, scene.speak(self._listed(scene, hold), **self._delta(broken))]

    @staticmethod
    def _listed(scene: Scenario, hold: x509.RevokedCertificate) -> x509.RevokedCertificate:
        serial = scene.user.certificate.serial_number
        if scene.broken in {"delta lists another", "leaf revoked"}:
            return entry(1)
        if scene.broken == "delta lists the leaf":
            return entry(serial, reason=x509.ReasonFlags.key_compromise)
        if scene.broken == "delta keeps the hold":
            return hold
        return entry(1 if scene.broken == "delta removes another" else serial, reason=x509.ReasonFlags.remove_from_crl)

    @staticmethod
    def _delta(broken: str) -> Options:
        options: Options = {"number": 6, "this_update": NOW - timedelta(hours=2)}
        options["extensions"] = [(x509.DeltaCRLIndicator(7 if broken == "delta of a later base" else 5), True)]
        if broken.startswith("delta expired"):
            options["next_update"] = NOW - timedelta(hours=1)
        elif broken == "delta of the future":
            options |= {"this_update": NOW + DAY, "next_update": NOW + 2 * DAY}
        elif broken == "delta not newer":
            options["number"] = 5
        elif broken == "delta of another key":
            options["key"] = new_key()
        elif broken == "delta of another scope":
            add(options, (issuing_point(only_contains_user_certs=True), True))
        return options


class Signer(Feature):
    """A CRL's signer beside the path: its certificate has a path and a revocation status of its own."""

    breaks = (
        "signer revoked", "signer expired", "signer may not sign CRLs", "signer of another root",
        "signer lists the leaf", "signer missing", "signer certified by itself",
    )  # fmt: skip

    @staticmethod
    def certify(scene: Scenario, subject: x509.Name, by: Authority) -> Authority:
        """A CRL signer's certificate. Its key may sign more: OpenSSL wants of it what it wants of the leaf."""
        bits = (
            ("digital_signature",) if scene.broken == "signer may not sign CRLs" else ("digital_signature", "crl_sign")
        )
        options: Options = {"extensions": [(usage(*bits), True)], "key": scene.key()}
        if scene.broken == "signer expired":
            options["not_after"] = NOW - DAY
        if scene.broken == "signer of another root":
            by = scene.stranger()
        minted = by.leaf(subject, **options, **signing(by.key))
        if scene.broken == "signer revoked":
            scene.revoke(minted)
        if scene.broken != "signer missing":
            scene.others.append(minted)
        return Authority(minted.certificate, minted.key)

    @staticmethod
    def listed(scene: Scenario) -> tuple[Minted, ...]:
        """Whom the signer lists."""
        return (scene.user,) if scene.broken == "signer lists the leaf" else ()


class OtherKey(Signer):
    """The CRL is signed by another key of the issuer's name, which its parent certified."""

    def crls(self, scene: Scenario) -> list[bytes]:
        """By the other key only."""
        subject = scene.issuer.certificate.subject
        by = scene.issuer if scene.broken == "signer certified by itself" else scene.parent
        return [scene.speak(*self.listed(scene), signer=self.certify(scene, subject, by))]


class Indirect(Signer):
    """The leaf's distribution point names another CRL issuer, whose CRL is indirect (sections 4.2.1.13 and 5.2.5)."""

    breaks = (
        *Signer.breaks[:-1], "not indirect", "point names another", "lists the serial of another issuer",
        "lists after an entry of the issuer", "points do not meet",
    )  # fmt: skip
    subject = name("CRL issuer")
    there = x509.UniformResourceIdentifier("http://a/indirect")

    def prepare(self, scene: Scenario) -> None:
        """State the point."""
        named = name("Somebody") if scene.broken == "point names another" else self.subject
        full = [self.there] if scene.drawn.random() < 0.5 or scene.broken == "points do not meet" else None
        point = x509.DistributionPoint(full, None, None, [x509.DirectoryName(named)])
        add(scene.leaf, (x509.CRLDistributionPoints([point]), False))

    def crls(self, scene: Scenario) -> list[bytes]:
        """One that lists strangers, and others where asked."""
        signer = self.certify(scene, self.subject, scene.anchor)
        point = scene.user.certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value[0]
        names: list[x509.GeneralName] | None = list(point.full_name) if point.full_name else None
        if scene.broken == "points do not meet":
            names = [x509.UniformResourceIdentifier("http://b/indirect")]
        flags = {} if scene.broken == "not indirect" else {"indirect_crl": True}
        extensions = [(issuing_point(names, **flags), True)] if names or flags else []
        entries = () if scene.broken == "not indirect" else self._entries(scene)
        return [scene.speak(*entries, signer=signer, extensions=extensions)]

    @staticmethod
    def _entries(scene: Scenario) -> tuple[x509.RevokedCertificate, ...]:
        serial, issuer = scene.user.certificate.serial_number, scene.user.certificate.issuer
        if scene.broken in {"signer lists the leaf", "leaf revoked"}:
            return entry(1), entry(serial, issuer=issuer)
        if scene.broken == "lists after an entry of the issuer":
            return entry(1, issuer=issuer), entry(serial)
        if scene.broken == "lists the serial of another issuer":
            return entry(serial), entry(serial, issuer=name("Somebody"))
        return entry(1, issuer=issuer), entry(2)


class Points(Feature):
    """The leaf's distribution point has a name, full or relative, and the CRL has the same."""

    breaks = (
        "names that do not meet",
        "another point's CRL lists the leaf",
        "the point's CRL lists the leaf",
        "no point stated",
    )
    here = x509.UniformResourceIdentifier("http://a/1")
    there = x509.UniformResourceIdentifier("http://a/2")
    relative = x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COMMON_NAME, "part 1")])

    def prepare(self, scene: Scenario) -> None:
        """State the point, by name or relative to the issuer."""
        if scene.broken == "no point stated":
            return
        one = x509.DistributionPoint([self.there, self.here], None, None, None)
        other = x509.DistributionPoint(None, self.relative, None, None)
        add(scene.leaf, (x509.CRLDistributionPoints([scene.drawn.choice([one, other])]), False))

    def crls(self, scene: Scenario) -> list[bytes]:
        """The CRL of the point, and one of another."""
        full = x509.Name([*scene.issuer.certificate.subject, *self.relative])
        mine = [self.here, x509.DirectoryName(full)]
        other: list[x509.GeneralName] = [x509.UniformResourceIdentifier("http://b/")]
        if scene.broken == "names that do not meet":
            return [self._speak(scene, other)]
        listed = (scene.user,) if scene.broken == "the point's CRL lists the leaf" else ()
        elsewhere = (scene.user,) if scene.broken == "another point's CRL lists the leaf" else ()
        return [self._speak(scene, mine, *listed), self._speak(scene, other, *elsewhere)]

    @staticmethod
    def _speak(scene: Scenario, names: list[x509.GeneralName], *listed: Minted) -> bytes:
        return scene.speak(*listed, extensions=[(issuing_point(names), True)])


class SplitPoints(Feature):
    """The leaf's distribution points each speak for some of the reasons; their CRLs say nothing of reasons."""

    breaks = ("reasons left out", "a point's CRL missing", "a point's CRL lists the leaf", "CRLs for other reasons")
    names = (x509.UniformResourceIdentifier("http://a/1"), x509.UniformResourceIdentifier("http://a/2"))

    def prepare(self, scene: Scenario) -> None:
        """State two points."""
        shuffled = scene.drawn.sample(SplitReasons.reasons, 8)
        cut = scene.drawn.randint(1, 6)
        end = 7 if scene.broken == "reasons left out" else 8
        parts = [frozenset(shuffled[:cut]), frozenset(shuffled[cut:end])]
        stated = zip(self.names, parts, strict=True)
        points = [x509.DistributionPoint([name], None, reasons, None) for name, reasons in stated]
        add(scene.leaf, (x509.CRLDistributionPoints(points), False))

    def crls(self, scene: Scenario) -> list[bytes]:
        """One of each point."""
        points = scene.user.certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        reasons = [one.reasons for one in reversed(list(points))]
        if scene.broken != "CRLs for other reasons":
            reasons = [None, None]
        listed = (scene.user,) if scene.broken == "a point's CRL lists the leaf" else ()
        one, other = (issuing_point([name], reasons=part) for name, part in zip(self.names, reasons, strict=True))
        first = scene.speak(extensions=[(one, True)])
        if scene.broken == "a point's CRL missing":
            return [first]
        return [first, scene.speak(*listed, extensions=[(other, True)])]
