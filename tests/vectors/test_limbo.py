"""x509-limbo and BetterTLS: every case gives the expected result, or differs for a reason in divergences.toml.

Only rules for issuers may differ, and only so that we accept: `authz` asks what RFC 5280 section 6 has a
validator ask. An entry that no case needs any more fails the test, so that the ledger stays true.
"""

from __future__ import annotations

import base64
import tomllib
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from support.certvalidator_oracle import verdict
from support.vectors import limbo_cases

from authz.errors import Refused
from authz.pki import ValidationPolicy, verify_chain

pytestmark = pytest.mark.limbo

CASES = limbo_cases()
LEDGER: list[dict[str, Any]] = tomllib.loads(Path(__file__).with_name("divergences.toml").read_text(encoding="utf-8"))[
    "rule"
]

CERTVALIDATOR: list[dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("certvalidator.toml").read_text(encoding="utf-8")
)["rule"]

HANGS = {f"pathological::pathological-chain-same-subject-{key}-key" for key in ("distinct", "same")}
"""Cases that pyhanko-certvalidator tries every path of."""

# Cases without a time of their own mean the moment of their minting; it lies within everybody's validity.
MINTED = "2026-11-22T12:09:01+00:00"
PURPOSES = {"serverAuth": "1.3.6.1.5.5.7.3.1", "clientAuth": "1.3.6.1.5.5.7.3.2"}


def der(pem: str) -> bytes:
    """The octets between the lines of a PEM block."""
    return base64.b64decode("".join(line for line in pem.splitlines() if not line.startswith("-----")))


def policy_of(case: dict[str, Any]) -> ValidationPolicy:
    """The inputs of one case; the purpose is its own, else the one of its kind of peer."""
    wanted = case["extended_key_usage"] or ["serverAuth" if case["validation_kind"] == "SERVER" else "clientAuth"]
    return ValidationPolicy(
        extended_key_usage=PURPOSES[wanted[0]],
        key_usage=frozenset(case["key_usage"]),
        max_path_length=case["max_chain_depth"],
    )


def moment_of(case: dict[str, Any]) -> datetime:
    """When the case is judged."""
    return datetime.fromisoformat(case["validation_time"] or MINTED)


def refusal(case: dict[str, Any]) -> Refused | None:
    """How the case is refused; None when it verifies. CRLs, where there are any, switch revocation on."""
    try:
        verify_chain(
            der(case["peer_certificate"]),
            pool=map(der, case["untrusted_intermediates"]),
            anchors=map(der, case["trusted_certs"]),
            crls=map(der, case["crls"]),
            at=moment_of(case),
            policy=policy_of(case),
            check_revocation=bool(case["crls"]),
        )
    except Refused as refused:
        return refused
    return None


def certvalidators(case: dict[str, Any]) -> str | None:
    """Empty where pyhanko-certvalidator accepts the case, else what it says; None where it has no opinion."""
    pool, anchors, crls = (map(der, case[part]) for part in ("untrusted_intermediates", "trusted_certs", "crls"))
    wanted = list(crls) if case["crls"] else None
    return verdict(der(case["peer_certificate"]), pool, anchors, wanted, moment_of(case), policy_of(case))


def rules_for(case_id: str, ledger: list[dict[str, Any]] = LEDGER) -> list[str]:
    """The names of the ledger's rules that cover a case."""
    return [rule["name"] for rule in ledger if any(fnmatchcase(case_id, one) for one in rule["cases"])]


def against_certvalidator(*, bettertls: bool) -> list[tuple[str, str]]:
    """The cases on which the two differ without a rule of what we do, or agree in spite of one; with what it says."""
    wrong = []
    for case in (one for one in CASES if one["id"].startswith("bettertls") is bettertls and one["id"] not in HANGS):
        theirs = certvalidators(case)
        we = "accept" if refusal(case) is None else "refuse"
        differs = theirs is not None and bool(theirs) is (we == "accept")
        if differs is not bool(rules_for(case["id"], [rule for rule in CERTVALIDATOR if rule["we"] == we])):
            wrong.append((case["id"], theirs or "accepted"))
    return wrong


def unexpected(*, bettertls: bool) -> list[str]:
    """The cases that differ from their expectation without a rule, agree in spite of one, or differ by a refusal."""
    wrong = []
    for case in (one for one in CASES if one["id"].startswith("bettertls") is bettertls):
        accepted = refusal(case) is None
        agrees = accepted is (case["expected_result"] == "SUCCESS")
        if agrees is bool(rules_for(case["id"])) or (not agrees and not accepted):
            wrong.append(case["id"])
    return wrong


@pytest.mark.slow
def test_bettertls_cases_all_give_the_expected_result() -> None:
    """2,295 cases of path building and name constraints, none of them excused."""
    assert unexpected(bettertls=True) == []


@pytest.mark.slow
def test_limbo_cases_give_the_expected_result_or_a_reasoned_other() -> None:
    """A case that differs has a rule, a case with a rule differs, and no difference is a refusal."""
    assert unexpected(bettertls=False) == []


def test_ledger_has_at_most_twenty_rules_each_used_and_reasoned() -> None:
    """Each pattern matches a case, no case has two rules, each rule says where it stands and why it may differ."""
    ids = [one["id"] for one in CASES]
    assert len(LEDGER) <= 20
    assert all(rule["clause"] and rule["reason"] for rule in LEDGER)
    assert [p for rule in LEDGER for p in rule["cases"] if not any(fnmatchcase(one, p) for one in ids)] == []
    assert [one for one in ids if len(rules_for(one)) > 1] == []


def test_ledger_excuses_nothing_of_bettertls() -> None:
    """Nor could it: its cases are about section 6."""
    assert [one["id"] for one in CASES if one["id"].startswith("bettertls") and rules_for(one["id"])] == []


@pytest.mark.slow
@pytest.mark.parametrize("bettertls", [False, True])
def test_verdicts_are_certvalidators_or_reasoned(bettertls: bool) -> None:
    """Those of pyhanko-certvalidator, either way; what it refuses and we accept is no rule of section 6."""
    assert against_certvalidator(bettertls=bettertls) == []


def test_ledger_of_certvalidator_has_a_clause_for_each_rule_and_three_that_let_us_accept_more() -> None:
    """Each covers a case, and no case has two."""
    ids = [one["id"] for one in CASES]
    assert all(rule["clause"] and rule["reason"] and rule["we"] in {"accept", "refuse"} for rule in CERTVALIDATOR)
    assert sum(rule["we"] == "accept" for rule in CERTVALIDATOR) == 3
    assert [p for rule in CERTVALIDATOR for p in rule["cases"] if not any(fnmatchcase(one, p) for one in ids)] == []
    assert [one for one in ids if len(rules_for(one, CERTVALIDATOR)) > 1] == []


def test_cases_are_all_there() -> None:
    """A shorter file would prove less."""
    assert len(CASES) == 2478
    assert sum(one["id"].startswith("bettertls") for one in CASES) == 2295
