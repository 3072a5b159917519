"""Fills one memory with the worst that it takes: `memory_growth.py KIND` prints what it weighs, and the growth."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from cryptography import x509

from authz.directory.cache import RowCache
from authz.headers import DecodeCache, Selected
from authz.host import _cached, canonical_host
from authz.identity.claims import ReadClaims
from authz.identity.claims_cache import ClaimsCache
from authz.model import PresentedChain, Registration
from authz.pki import DEFAULT_POLICY, CrlStore, TrustAnchor, VerifiedCache
from authz.pki.cache import SharedCache
from authz.pki.cache.issuer_chains import IssuerChain
from authz.pki.cache.plans import put_plan
from authz.pki.revocation.crl_scope import RevocationPlan
from authz.pki.x509.distribution_points import Points, points_of
from support.certificates import Authority, policies_mapped, san
from support.outcomes import parsed

BOUND = 12 * 1024 * 1024
WHOLE = SharedCache(BOUND)
ROOT = Authority.root()
KEY = ROOT.leaf().key


def tenant() -> Iterator[VerifiedCache]:
    """Memos of seven tenants in turns."""
    for number in count():
        yield WHOLE.part(number % 7, VerifiedCache)


MEMOS = tenant()


def certificates(extension: Callable[[int], x509.ExtensionType]) -> Callable[[int], None]:
    """Leaves with this extension, each read to the end once it is remembered."""

    def fill(number: int) -> None:
        der = ROOT.leaf(f"leaf{number}", key=KEY, extensions=[(extension(number), False)]).der
        memo = next(MEMOS)
        leaf = memo.certificate(der)
        leaf.crl_points  # noqa: B018 - read
        memo.admit([leaf], [(leaf.sha256, leaf.sha256)])
        (leaf.own_extensions, leaf.constrained_names, leaf.san_names, leaf.spki_sha256)  # noqa: B018 - read

    return fill


def mapped(number: int) -> None:
    """CAs with many policy mappings, and paths through them."""
    ca = ROOT.intermediate(f"CA {number}", key=KEY, extensions=policies_mapped(9))
    path = IssuerChain(tuple(parsed(ca, ROOT)), TrustAnchor(parsed(ROOT)[0]), DEFAULT_POLICY, 1, 9)
    next(MEMOS).admit_issuer_chain((number, bytes(14_000)), path)


def headers(number: int) -> None:
    """Values of 64 KB, with a certificate in them."""
    chain = PresentedChain(bytes(20_000), (bytes(20_000),))
    chain.encoded_intermediates = bytes(26_000) + b"%d" % number
    WHOLE.part(number % 7, DecodeCache).put(Selected(bytes(64_000) + b"%d" % number), (chain,))


def claims(number: int) -> None:
    """Payloads of 16 KB, and what they hold."""
    read = json.loads(json.dumps({"sub": str(number), "x": [{} for _ in range(300)]}))
    ClaimsCache(WHOLE).put(number % 7, bytes(16_000) + b"%d" % number, ReadClaims(read))


ROWS = RowCache(WHOLE)


def rows(number: int) -> None:
    """Registrations with nine certificates of 2 KB behind each."""
    ROWS.put(
        number % 7, number, 1, (Registration(number, 1, 1, bytes(32), "x" * 64, (bytes(2_000 + number % 9),) * 9),)
    )
    ROWS.put("hosts", f"h{number}.test", 1, None)


STORE = CrlStore()


def plans(number: int) -> None:
    """Plans of leaves of which each has points of its own."""
    name = x509.UniformResourceIdentifier(f"http://crl.example.test/{number:0900}")
    points: Points = points_of([x509.DistributionPoint([name], None, None, None)], parsed(ROOT)[0].subject)
    put_plan(STORE, number % 7, (points, False, (bytes(32), bytes(32))), RevocationPlan((), ()))


def hosts(number: int) -> None:
    """Hosts in every spelling: there is no end of ports."""
    canonical_host(f"{'a' * 60}.{'b' * 60}.{'c' * 60}.test:{number:05}")


def signatures(number: int) -> None:
    """Signatures that were verified."""
    next(MEMOS).admit([], [(b"%032d" % number, b"%032d" % -number)])


KINDS: dict[str, tuple[Callable[[int], None], int, Callable[[], float]]] = {
    "purposes": (
        certificates(lambda _: x509.ExtendedKeyUsage([x509.ObjectIdentifier(f"1.2.{one}") for one in range(250)])),
        600,
        lambda: WHOLE.weight,
    ),
    "names": (certificates(lambda one: san(*(f"a{one}.{at}" for at in range(100)))), 900, lambda: WHOLE.weight),
    "noise": (
        certificates(
            lambda _: x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\x04\x82\x3a\x98" + bytes(15_000))
        ),
        600,
        lambda: WHOLE.weight,
    ),
    "usual": (certificates(lambda one: san(f"a{one}.test")), 4_000, lambda: WHOLE.weight),
    "paths": (mapped, 500, lambda: WHOLE.weight),
    "headers": (headers, 500, lambda: WHOLE.weight),
    "claims": (claims, 900, lambda: WHOLE.weight),
    "rows": (rows, 3_000, lambda: WHOLE.weight + BOUND / 10),
    "plans": (plans, 8_000, lambda: STORE.memory.weight),
    "hosts": (hosts, 30_000, lambda: 1_048_576),
    "signatures": (
        lambda one: next(MEMOS).admit([], [(b"%032d" % one, b"%032d" % -one)]),
        90_000,
        lambda: WHOLE.weight,
    ),
}


def private() -> int:
    """Bytes of this process that are its own."""
    gc.collect()
    resident, shared = map(int, Path("/proc/self/statm").read_text(encoding="ascii").split()[1:3])
    return (resident - shared) * 4_096


def main(kind: str) -> None:
    """Fill it, several times over."""
    fill, many, weight = KINDS[kind]
    fill(0)
    before = private()
    for number in range(1, many):
        fill(number)
    growth = private() - before
    sys.stdout.write(f"{round(weight())} {growth} {len(WHOLE)} {len(STORE.memory)} {_cached.cache_info().currsize}\n")


if __name__ == "__main__":
    main(sys.argv[1])
