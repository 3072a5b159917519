"""What validation costs, as ratios inside one run: a chain of three with two CRLs.

Figures of one machine say little; what is compared takes turns in blocks, and medians are compared. The
floor is one signature verification, which a leaf never seen before cannot do without.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from cryptography import x509
from OpenSSL import crypto
from support.certificates import NOW, Authority, Minted, new_key

from authz.pki import SERVICE_POLICY, Budget, Certificate, Crl, CrlStore, TrustStore, verify_path
from authz.pki.x509.algorithms import verify_signature

# Blocks are shorter than what a scheduler lets run, so that most are not interrupted, and long enough to be warm.
ROUNDS = 24
BLOCK = 80
KINDS = ("p256", "rsa2048")

Action = Callable[[], object]


def microseconds(action: Action, times: int) -> float:
    """The mean time of one call in one block."""
    started = time.perf_counter()
    for _ in range(times):
        action()
    return (time.perf_counter() - started) / times * 1e6


def openssl_check(root: Authority, middle: Authority, leaf: Minted, crls: list[bytes]) -> Action:
    """The same check by pyOpenSSL with every flag that it has for it."""
    store = crypto.X509Store()
    store.add_cert(crypto.X509.from_cryptography(root.certificate))
    for crl in crls:
        store.add_crl(x509.load_der_x509_crl(crl))
    flags = crypto.X509StoreFlags
    store.set_flags(flags.CRL_CHECK | flags.CRL_CHECK_ALL | flags.X509_STRICT | 0x1000 | 0x2000 | flags.POLICY_CHECK)
    store.set_time(NOW.replace(tzinfo=None))

    ders = leaf.der, middle.der

    def check() -> None:
        presented, *untrusted = [crypto.X509.from_cryptography(x509.load_der_x509_certificate(one)) for one in ders]
        crypto.X509StoreContext(store, presented, untrusted).verify_certificate()

    return check


def chain_of_three(kind: str) -> None:
    """One line each: the floor, a known leaf, a new leaf, OpenSSL."""
    root = Authority.root(key=new_key(kind))
    middle = root.intermediate(key=new_key(kind))
    crls = [root.crl(1, 2, 3), middle.crl(4, 5, 6)]
    trust, store = TrustStore([Certificate.parse(root.der)]), CrlStore(map(Crl, crls))
    leaves: Iterator[Minted] = (middle.leaf(f"user {number}") for number in range(ROUNDS * BLOCK))
    news = iter([one.der for one in leaves])
    alice = middle.leaf("alice")
    known, issuer = alice.der, middle.der

    def check(der: bytes) -> None:
        pool = [trust.parse(issuer)]
        verify_path(trust.parse(der), pool, trust, store, NOW, SERVICE_POLICY, Budget.service())

    check(known)
    key, signed = Certificate.parse(issuer).public_key, Certificate.parse(known).signed
    actions: dict[str, Action] = {
        "one signature verification": lambda: verify_signature(key, signed),
        "known leaf": lambda: check(known),
        "new leaf": lambda: check(next(news)),
        "pyOpenSSL": openssl_check(root, middle, alice, crls),
    }
    times: dict[str, list[float]] = {name: [] for name in actions}
    gc.collect()
    gc.freeze()
    for _ in range(ROUNDS):
        for name, action in actions.items():
            times[name].append(microseconds(action, BLOCK))
    report(kind, {name: statistics.median(found) for name, found in times.items()})


def report(kind: str, medians: dict[str, float]) -> None:
    """Each median, and what it is in verifications and of OpenSSL's time."""
    floor, theirs = medians["one signature verification"], medians["pyOpenSSL"]
    for name, median in medians.items():
        print(f"{kind:8} {name:27} {median:8.1f} us {median / floor:6.2f} floors {theirs / median:6.1f} x pyOpenSSL")
    if kind == "p256":
        print(f"{kind:8} a known leaf where one verification takes 88 us: {medians['known leaf'] / floor * 88:.1f} us")


if __name__ == "__main__":
    for each in KINDS:
        chain_of_three(each)
