"""Ours against OpenSSL and pyhanko-certvalidator: verdicts on random chains and CRLs, one thing broken at a time.

Every disagreement is a row of `support.differences`, with the clause that decides it; one that lets us accept
more, and that nothing needs, fails. `FUZZ=100` makes 20,000 of the 500 (`make fuzz`).
"""

from __future__ import annotations

import base64
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.certificates import NOW
from support.certvalidator_oracle import verdict
from support.differences import CERTVALIDATOR, OPENSSL, Difference, explained
from support.random_chains import ROWS, draw
from support.scenarios import Scenario

from authz.errors import Refused
from authz.pki import DEFAULT_POLICY, ValidationPolicy, verify_chain

ROUNDS = max(500, 200 * int(os.environ.get("FUZZ", "1")))


def ours(scene: Scenario) -> str:
    """Empty where we accept, else the reason; the pool may come in any order."""
    pool = scene.drawn.sample(scene.pool, len(scene.pool))
    try:
        verify_chain(scene.der, pool=pool, anchors=[scene.anchor.der], crls=scene.crls, at=NOW, policy=policy_of(scene))
    except Refused as refused:
        return refused.reason.value
    return ""


def policy_of(scene: Scenario) -> ValidationPolicy:
    """The policy inputs of the scenario."""
    return ValidationPolicy(**scene.inputs) if scene.inputs else DEFAULT_POLICY  # type: ignore[arg-type]


def certvalidators(scene: Scenario) -> str | None:
    """Empty where pyhanko-certvalidator accepts, else what it says; None where it has no opinion."""
    return verdict(scene.der, scene.pool, [scene.anchor.der], scene.crls, NOW, policy_of(scene))


OPTIONS = (
    "-CAfile anchor -untrusted pool -CRLfile crls -purpose sslclient -x509_strict"
    " -crl_check_all -extended_crl -use_deltas -policy_check"
)
FLAGS = {
    "require_explicit_policy": "-explicit_policy",
    "inhibit_policy_mapping": "-inhibit_map",
    "inhibit_any_policy": "-inhibit_any",
}


def openssls(scene: Scenario, openssl: str, folder: Path) -> str:
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


def check_explained(theirs: Callable[[Scenario], str | None], rows: Iterable[Difference]) -> None:
    """No disagreement without a row, and no row that lets us accept more than they without a disagreement."""
    drawn = random.Random(20_261)
    verdicts: Counter[tuple[bool, bool]] = Counter()
    used: set[Difference | None] = set()
    wrong = []
    # They judge one scene while the next is drawn.
    with ThreadPoolExecutor(1) as beside:
        asked = []
        for number in range(ROUNDS):
            scene = draw(drawn, *ROWS[number % len(ROWS)])
            asked.append((scene.feature, ours(scene), beside.submit(theirs, scene)))
    for number, (feature, here, answer) in enumerate(asked):
        broken, there = ROWS[number % len(ROWS)][1], answer.result()
        if there is None:
            continue
        verdicts[not here, not there] += 1
        if bool(here) is not bool(there):
            row = explained(rows, "refuse" if here else "accept", feature, broken)
            used.add(row)
            if row is None:
                wrong.append((number, feature, broken, here or "accepted", there or "accepted"))
    assert wrong == []
    assert {row for row in rows if row.we == "accept"} <= used
    assert sum(verdicts.values()) > ROUNDS * 0.95
    assert min(verdicts[True, True], verdicts[False, False]) > ROUNDS // 5


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
    """Of every feature, whole and with each break."""
    check_explained(lambda scene: openssls(scene, openssl, tmp_path), OPENSSL)


@pytest.mark.fuzz
def test_verdicts_are_certvalidators_or_explained_by_a_clause() -> None:
    """Likewise, with another reader of DER and another reading of section 6.3."""
    check_explained(certvalidators, CERTVALIDATOR)
