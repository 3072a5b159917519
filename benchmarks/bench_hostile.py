"""What hostile bags cost: each kind with the library's budget and, cut to its ten certificates, the service's.

A check is to end below 50 ms with the first and below 5 ms with the second: parsing counts, and nothing
that was sent was read or verified before. Anchors and CRLs are the operator's, and read already. What is
counted meanwhile stands in the tests.
"""

from __future__ import annotations

import base64
import json
import lzma
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from pki_factory import NOW, Authority, Minted, new_key, policies_mapped, usage

from authz.errors import Refused
from authz.pki import Budget, Certificate, Crl, CrlStore, TrustStore, ValidationPolicy, verify_path
from authz.pki.algorithms import verify_signature

ROUNDS = 5
LIMBO = Path(__file__).parents[2] / "shared" / "vectors" / "limbo.json.xz"


class Bag(NamedTuple):
    """What a client sends, and what he sends it to."""

    leaf: bytes
    pool: list[bytes]
    anchors: list[bytes]
    crls: tuple[bytes, ...] = ()
    policy: ValidationPolicy = ValidationPolicy()
    at: datetime = NOW


ANCHOR = Authority.root("Anchor")
LARGE = new_key("rsa8192")
LARGE_MODULUS = 2**8191 + 1


def bag(leaf: Minted, pool: list[Authority], anchor: Authority = ANCHOR, **options: Any) -> Bag:
    """A bag of what was minted."""
    return Bag(leaf.der, [one.der for one in pool], [anchor.der], **options)


@dataclass(frozen=True)
class StatedKey:
    """A public key where the factory wants a private one."""

    key: RSAPublicKey

    def public_key(self) -> RSAPublicKey:
        """The key."""
        return self.key


def mesh(cas: int, size: int) -> Bag:
    """So many CAs that signed one another; no way leads out."""
    keys = [Authority.root(f"M{number}") for number in range(cas)]
    pairs = [(one, by) for step in range(1, cas) for one, by in zip(keys, keys[step:] + keys[:step], strict=True)]
    crossed = [by.intermediate(one.certificate.subject, key=one.key) for one, by in pairs]
    return bag(keys[0].leaf(), crossed[:size])


def alike(size: int) -> Bag:
    """So many issuers of one name, and nothing that says which."""
    leaf = Authority.root("Alike").leaf(without=[x509.AuthorityKeyIdentifier])
    return bag(leaf, [Authority.root("Alike") for _ in range(size)])


def large_chain(depth: int) -> Bag:
    """A chain of RSA keys of 8,192 bits up to such an anchor."""
    root = issuer = Authority.root("Large", key=LARGE)
    chain = []
    for number in range(depth):
        issuer = issuer.intermediate(f"L{number}", key=LARGE)
        chain.append(issuer)
    return bag(issuer.leaf(), chain, root)


def doubling(depth: int, width: int) -> Bag:
    """A chain whose CAs each map every policy to every other."""
    issuer, chain = ANCHOR, []
    for number in range(depth):
        issuer = issuer.intermediate(f"P{number}", extensions=policies_mapped(width))
        chain.append(issuer)
    leaf = issuer.leaf(extensions=policies_mapped(width)[:1])
    return bag(leaf, chain, policy=ValidationPolicy(require_explicit_policy=True))


def false_signers(size: int) -> Bag:
    """Large keys that say they sign the CRLs of the CA, among which some are of a key that is not on the path."""
    ca = ANCHOR.intermediate("CA")
    # Their keys are nobody's: making such keys takes seconds, and a modulus that is no product does as well.
    keys = [StatedKey(RSAPublicNumbers(65_537, LARGE_MODULUS + 2 * number).public_key()) for number in range(size)]
    marked = [(usage("crl_sign"), True)]
    false = [ANCHOR.intermediate("CA", key=key, extensions=marked) for key in keys]
    crls = (ANCHOR.crl(), *(ca.crl(number=number, key=LARGE) for number in range(20)))
    return bag(ca.leaf(), [ca, *false], crls=crls)


def pathological() -> Iterator[tuple[str, Bag]]:
    """The cases of x509-limbo that bear that name, where the file is there."""
    if not LIMBO.exists():
        return
    for case in json.loads(lzma.decompress(LIMBO.read_bytes()))["testcases"]:
        kind, _, name = case["id"].partition("::")
        if kind == "pathological":
            pool, anchors = (list(map(der, case[part])) for part in ("untrusted_intermediates", "trusted_certs"))
            at = datetime.fromisoformat(case["validation_time"] or "2026-11-22T12:09:01+00:00")
            policy = ValidationPolicy(extended_key_usage=None, key_usage=frozenset())
            yield f"limbo {name}", Bag(der(case["peer_certificate"]), pool, anchors, policy=policy, at=at)


def der(pem: str) -> bytes:
    """The octets between the lines of a PEM block."""
    return base64.b64decode("".join(line for line in pem.splitlines() if not line.startswith("-----")))


def outcome(given: Bag, budget: Budget) -> str:
    """The reason, or that it verifies."""
    anchors = list(map(Certificate.parse, given.anchors))
    for one in anchors:
        one.permitted, one.excluded, one.key  # noqa: B018 - read once, as by a service
    trust = TrustStore(anchors)
    crls = CrlStore(map(Crl, given.crls)) if given.crls else None
    started = time.perf_counter()
    try:
        leaf, pool = Certificate.parse(given.leaf), list(map(Certificate.parse, given.pool))
        verify_path(leaf, pool, trust, crls, given.at, given.policy, budget)
    except Refused as refused:
        told = refused.reason.value
    else:
        told = "verifies"
    times.append((time.perf_counter() - started) * 1e3)
    return told


times: list[float] = []


def report(name: str, given: Bag, label: str, bound: float, budget: Callable[[], Budget]) -> None:
    """The median time, the bound it is held against, and the verdict."""
    times.clear()
    told = {outcome(given, budget()) for _ in range(ROUNDS)}
    median = statistics.median(times)
    word = "below" if median < bound else "ABOVE"
    print(f"{name:58} {label} {median:6.2f} ms, {word} {bound:2.0f}  {', '.join(told)}")


def floor() -> float:
    """What one P-256 verification takes here and now, in microseconds: 88 where the bounds were chosen."""
    key, signed = Certificate.parse(ANCHOR.der).public_key, Certificate.parse(ANCHOR.leaf().der).signed
    found = []
    for _ in range(200):
        started = time.perf_counter()
        verify_signature(key, signed)
        found.append(time.perf_counter() - started)
    return statistics.median(found) * 1e6


def main() -> None:
    """Every bag, for the library and for the service."""
    print(f"one P-256 verification takes {floor():.0f} us; the bounds are for a machine where it takes 88")
    library = {
        "30 cross-signed": mesh(10, 30),
        "90 cross-signed": mesh(10, 90),
        "140 of one name": alike(140),
        "25 of RSA-8192": large_chain(25),
        "10 policies mapped to each other, in 20 CAs": doubling(20, 10),
        "100 false CRL signers of RSA-8192": false_signers(100),
    }
    service = {
        "10 cross-signed": mesh(4, 10),
        "10 of one name": alike(10),
        "9 of RSA-8192": large_chain(9),
        "10 policies mapped to each other, in 9 CAs": doubling(9, 10),
        "9 false CRL signers of RSA-8192": false_signers(9),
    }
    for name, given in (*library.items(), *pathological()):
        report(name, given, "library", 50, Budget)
    ten = Budget.service().certificates
    for name, given in (*service.items(), *((name, one._replace(pool=one.pool[:ten])) for name, one in pathological())):
        report(name, given, "service", 5, Budget.service)


if __name__ == "__main__":
    main()
