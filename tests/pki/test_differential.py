"""Ours against OpenSSL: chains and CRLs of `pki_drawn`, one thing broken at a time, both verdicts compared.

Every disagreement is a row of `DIFFERENCES`, with the clause that decides it; one that lets us accept
more, and that nothing needs, fails. `FUZZ=100` makes 20,000 of the 500 (`make fuzz`).
"""

from __future__ import annotations

import base64
import os
import random
import shutil
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import pytest
from support.certificates import NOW
from support.random_chains import ROWS, draw
from support.scenarios import Scenario

from authz.errors import Refused
from authz.pki import DEFAULT_POLICY, ValidationPolicy, verify_chain

ROUNDS = max(500, 200 * int(os.environ.get("FUZZ", "1")))


class Difference(NamedTuple):
    """A rule on which the two differ: what we do, in which scenarios (feature, what is broken), and by which clause."""

    we: Literal["accept", "refuse"]
    feature: str
    broken: str
    clause: str


# An empty feature stands for any.
DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        "accept", "", "leaf for anything",
        "RFC 5280 section 4.2.1.12: anyExtendedKeyUsage MAY be refused; SERVICE_POLICY does",
    ),
    Difference(
        "accept", "", "CA for anything",
        "RFC 5280 section 4.2.1.12: the same, and section 6.1 asks no purpose of a CA",
    ),
    Difference(
        "accept", "", "leaf hints at another key",
        "RFC 5280 sections 4.2.1.1 and 6.1.3 (a) (1): a key identifier helps to build a path, the signature decides",
    ),
    Difference(
        "accept", "cross-signed CA", "one revoked",
        "RFC 5280 section 6.1: each path is validated for itself, and the one through the other certificate is good;"
        " OpenSSL does not try a second one",
    ),
    Difference("accept", "cross-signed CA", "CA of version 1", "RFC 5280 section 6.1: the same"),
    Difference(
        "accept", "", "anchor of version 1",
        "RFC 5280 section 6.1.4 (k): of the older versions it is told out of band who is a CA, here by the operator",
    ),
    Difference("refuse", "", "leaf's key too short", "NIST SP 800-131A: no RSA key below 2,048 bits, whosever it is"),
    Difference("refuse", "plain", "salt too long", "RFC 4055 section 3.1: a salt has a digest's length"),
    Difference(
        "refuse", "plain", "removal in a complete CRL",
        "RFC 5280 section 5.3.1: removeFromCRL stands in delta CRLs only",
    ),
    Difference("refuse", "delta CRL", "delta expired", "RFC 5280 section 6.3.3 (a) (1): only a current delta is used"),
    Difference("refuse", "delta CRL", "delta of the future", "RFC 5280 section 5.1.2.4: it has not been issued yet"),
)  # fmt: skip


def ours(scene: Scenario) -> str:
    """Empty where we accept, else the reason; the pool may come in any order."""
    pool = scene.drawn.sample(scene.pool, len(scene.pool))
    policy = ValidationPolicy(**scene.inputs) if scene.inputs else DEFAULT_POLICY  # type: ignore[arg-type]
    try:
        verify_chain(scene.der, pool=pool, anchors=[scene.anchor.der], crls=scene.crls, at=NOW, policy=policy)
    except Refused as refused:
        return refused.reason.value
    return ""


OPTIONS = (
    "-CAfile anchor -untrusted pool -CRLfile crls -purpose sslclient -x509_strict"
    " -crl_check_all -extended_crl -use_deltas -policy_check"
)
FLAGS = {
    "require_explicit_policy": "-explicit_policy",
    "inhibit_policy_mapping": "-inhibit_map",
    "inhibit_any_policy": "-inhibit_any",
}


def theirs(scene: Scenario, openssl: str, folder: Path) -> str:
    """Empty where OpenSSL accepts, else what it says.

    The command goes on after some errors, and forgets those of a CRL signer's path: what it printed counts.
    """
    files = {"anchor": [scene.anchor.der], "pool": scene.pool, "leaf": [scene.der]}
    for label, ders in files.items():
        (folder / label).write_text("".join(pem(one, "CERTIFICATE") for one in ders))
    (folder / "crls").write_text("".join(pem(one, "X509 CRL") for one in scene.crls))
    wanted = scene.inputs.get("initial_policy_set", DEFAULT_POLICY.initial_policy_set)
    inputs = [flag for name, flag in FLAGS.items() if scene.inputs.get(name)]
    inputs += [part for policy in sorted(wanted) for part in ("-policy", policy)]  # type: ignore[call-overload]
    command = [openssl, "verify", *OPTIONS.split(), *inputs, "-attime", str(int(NOW.timestamp())), "leaf"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=30)
    told = done.stdout + done.stderr
    return told or "refused" if done.returncode or "error " in told else ""


def pem(der: bytes, label: str) -> str:
    """PEM of anything, readable or not."""
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode('ascii')}-----END {label}-----\n"


def explained(we: str, feature: str, broken: str) -> Difference | None:
    """The row that says why only one of the two accepts."""
    return next((row for row in DIFFERENCES if row[:3] in {(we, feature, broken), (we, "", broken)}), None)


@pytest.fixture(scope="module")
def openssl() -> str:
    """The command."""
    found = shutil.which("openssl")
    if found is None:
        if os.environ.get("REQUIRE_OPENSSL"):
            pytest.fail("REQUIRE_OPENSSL is set, and there is no openssl", pytrace=False)
        pytest.skip("there is no openssl on this machine")
    return found


@pytest.mark.fuzz
def test_verdicts_are_openssls_or_explained_by_a_clause(openssl: str, tmp_path: Path) -> None:
    """No disagreement without a row, and no row that lets us accept more than OpenSSL without a disagreement."""
    drawn = random.Random(20_261)
    verdicts: Counter[tuple[bool, bool]] = Counter()
    used: set[Difference | None] = set()
    wrong = []
    # OpenSSL judges one scene while the next is drawn.
    with ThreadPoolExecutor(1) as beside:
        asked = []
        for number in range(ROUNDS):
            scene = draw(drawn, *ROWS[number % len(ROWS)])
            asked.append((scene.feature, ours(scene), beside.submit(theirs, scene, openssl, tmp_path)))
    for number, (feature, here, answer) in enumerate(asked):
        broken, there = ROWS[number % len(ROWS)][1], answer.result()
        verdicts[not here, not there] += 1
        if bool(here) is not bool(there):
            row = explained("refuse" if here else "accept", feature, broken)
            used.add(row)
            if row is None:
                wrong.append((number, feature, broken, here or "accepted", there or "accepted"))
    assert wrong == []
    assert {row for row in DIFFERENCES if row.we == "accept"} <= used
    assert min(verdicts[True, True], verdicts[False, False]) > ROUNDS // 5
