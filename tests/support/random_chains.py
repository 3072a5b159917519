"""Draws scenarios at random: a chain of one to three CAs, a feature, one thing broken."""

from __future__ import annotations

import random

from support.certificates import Authority, Minted
from support.crl_features import Delta, Indirect, OtherKey, Plain, Points, SplitPoints, SplitReasons
from support.path_features import Constraints, CrossSigned, Policies, Rekeyed, Respelled
from support.scenarios import BREAKS, KEYS, NOTHING, PSS_KEY, Feature, Options, Scenario, add, pss, signing
from support.tampered import of_version_1, reissued

FEATURES: dict[str, Feature] = {
    "plain": Plain(),
    "name constraints": Constraints(),
    "policies": Policies(),
    "names respelled": Respelled(),
    "re-keyed CA": Rekeyed(),
    "reasons split": SplitReasons(),
    "delta CRL": Delta(),
    "CRL by another key": OtherKey(),
    "indirect CRL": Indirect(),
    "distribution point": Points(),
    "points for reasons": SplitPoints(),
    "cross-signed CA": CrossSigned(),
}

ROWS: list[tuple[str, str]] = [
    *(("", broken) for broken in BREAKS),
    *((name, broken) for name, feature in FEATURES.items() for broken in (NOTHING, *feature.breaks)),
]
"""Every break of any chain, with a feature to be drawn, and every feature, whole and with each of its own breaks."""


def draw(drawn: random.Random, feature: str, broken: str) -> Scenario:
    """A scenario; of an empty `feature` any."""
    feature = feature or drawn.choice(list(FEATURES))
    kind = FEATURES[feature]
    scene = Scenario(drawn, feature, broken, drawn.randint(1, 3), drawn.sample(KEYS, len(KEYS)))
    scene.leaf["key"] = scene.key()
    BREAKS.get(broken, BREAKS[NOTHING])(scene)
    kind.prepare(scene)
    _mint_cas(scene, kind)
    kind.arrange(scene)
    if broken == "salt too long":
        scene.leaf["rsa_padding"] = pss(128)
    scene.user = scene.issuer.leaf(scene.subject, **{**signing(scene.issuer.key), **scene.leaf})
    scene.user = kind.changed(scene)
    scene.der = scene.user.der
    scene.crls = kind.crls(scene)
    if broken == "CA revoked":
        scene.revoke(scene.cas[-1])
    scene.crls += [_crl_of(scene, one) for one in (scene.anchor, *scene.cas[:-1])]
    _surround(scene)
    return scene


def _mint_cas(scene: Scenario, kind: Feature) -> None:
    key = scene.key()
    scene.anchor = Authority.root("Root", **{"key": key, **signing(key), **scene.root})
    if scene.broken == "anchor of version 1":
        scene.anchor = authority(reissued(scene.anchor, scene.anchor, of_version_1))
    issuer = scene.anchor
    for level in range(scene.depth):
        last = level == scene.depth - 1
        options: Options = dict(scene.ca) if last else {}
        if not last:
            options["path_length"] = 0 if scene.broken == "CA where none may follow" else scene.depth
            add(options, *kind.upper(scene))
        key = PSS_KEY if last and scene.broken == "salt too long" else scene.key()
        subject = scene.ca_name if last else f"CA {level}"
        above, issuer = issuer, issuer.intermediate(subject, **{"key": key, **signing(issuer.key), **options})
        if last and scene.broken == "CA of version 1":
            issuer = authority(reissued(issuer, above, of_version_1))
        scene.cas.append(issuer)
    scene.issuer = issuer


def authority(one: Minted) -> Authority:
    """The CA of a certificate and its key."""
    return Authority(one.certificate, one.key)


def _crl_of(scene: Scenario, ca: Authority) -> bytes:
    listed = [one for one in scene.revoked if one.certificate.issuer == ca.certificate.subject]
    return ca.crl(*listed, **signing(ca.key))


def _surround(scene: Scenario) -> None:
    """Strangers of the same names, and what can be broken only now."""
    strange = scene.stranger()
    scene.strangers = [strange, strange.intermediate(scene.cas[-1].certificate.subject)]
    scene.crls.append(strange.crl(scene.cas[0]))
    if scene.broken == "CRL missing":
        del scene.crls[scene.drawn.randrange(len(scene.crls) - 1)]
    elif scene.broken == "CA missing":
        del scene.cas[scene.drawn.randrange(len(scene.cas))]
    elif scene.broken == "leaf's signature broken":
        _break_signature(scene)
    elif scene.broken == "every CRL twice":
        scene.crls *= 2
    scene.drawn.shuffle(scene.crls)


def _break_signature(scene: Scenario) -> None:
    data = bytearray(scene.user.der)
    data[-scene.drawn.randint(1, 8)] ^= 1 << scene.drawn.randrange(8)
    scene.der = bytes(data)
