"""NIST PKITS: all 249 path-validation tests, with each test's own files, with everybody's, and with images of CRLs.

With all 181 CA certificates and 173 CRLs given to every test, the validator must find the path and the
CRLs that are meant among many that have the same names.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.certvalidator_oracle import verdict
from support.vectors import PKITS_DATA

from authz.errors import Refused
from authz.pki import Budget, Certificate, Crl, CrlStore, TrustStore, ValidationPolicy, verify_chain, verify_path
from authz.pki.crl.image import make_image, open_image

PKITS = json.loads(Path(__file__).with_name("pkits.json").read_text(encoding="utf-8"))
AT = datetime.fromisoformat(PKITS["validation_time"])

# DSA is refused by the algorithm policy: the only two expectations that are not ours.
DSA = {"4.1.4", "4.1.5"}

# CRLs that no accepted key signed.
WITHOUT_IMAGE = ["BadCRLSignatureCACRL", "DSACACRL", "DSAParametersInheritedCACRL"]


@cache
def certificate(name: str) -> Certificate:
    """A certificate of the data set."""
    return Certificate.parse((PKITS_DATA / "certs" / f"{name}.crt").read_bytes())


@cache
def crl(name: str) -> Crl:
    """A CRL of the data set."""
    return Crl((PKITS_DATA / "crls" / f"{name}.crl").read_bytes())


@cache
def small_form(name: str) -> Crl | None:
    """The CRL by its image, without its DER; none is made when no known key signed it."""
    try:
        return open_image(b"".join(make_image((PKITS_DATA / "crls" / f"{name}.crl").read_bytes(), keys(), bytes(32))))
    except Refused:
        return None


@cache
def keys() -> frozenset[bytes]:
    """The SubjectPublicKeyInfos of all anchors and CAs."""
    names = {name for one in PKITS["tests"] for name in (*one["intermediates"], one["trust_anchor"])}
    found = (one.x509.public_key() for one in readable(names))
    return frozenset(one.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for one in found)


@cache
def everybody() -> tuple[tuple[Certificate, ...], CrlStore]:
    """Every CA certificate and every CRL that any test names."""
    cas = {name for one in PKITS["tests"] for name in one["intermediates"]}
    crls = {name for one in PKITS["tests"] for name in one["crls"]}
    return tuple(readable(cas)), CrlStore(crl(name) for name in sorted(crls))


def readable(names: Iterable[str]) -> list[Certificate]:
    """The certificates that can be read: one CA of the suite holds a DSA key without its parameters."""
    found = []
    for name in sorted(names):
        with contextlib.suppress(Refused):
            found.append(certificate(name))
    return found


def policy_of(test: dict[str, Any]) -> ValidationPolicy:
    """The policy inputs of one test; PKITS asks for no purpose."""
    return ValidationPolicy(
        initial_policy_set=frozenset(test["initial_policy_set"]),
        require_explicit_policy=test["initial_explicit_policy"],
        inhibit_policy_mapping=test["initial_policy_mapping_inhibit"],
        inhibit_any_policy=test["initial_inhibit_any_policy"],
        extended_key_usage=None,
    )


def verifies(test: dict[str, Any], pool: tuple[Certificate, ...], crls: CrlStore) -> bool:
    """Whether the test's end entity verifies, with the library's own budget."""
    trust = TrustStore([certificate(test["trust_anchor"])])
    try:
        verify_path(certificate(test["end_entity"]), pool, trust, crls, AT, policy_of(test), Budget())
    except Refused:
        return False
    return True


@pytest.mark.parametrize("test", PKITS["tests"], ids=lambda test: f"{test['id']}-{test['name'].replace(' ', '_')}")
def test_pkits_own_files_give_the_expected_result(test: dict[str, Any]) -> None:
    """With the files a test names, the result is the expected one."""
    pool = tuple(readable(test["intermediates"]))
    expected = test["should_validate"] and test["number"] not in DSA
    assert verifies(test, pool, CrlStore(map(crl, test["crls"]))) is expected


@pytest.mark.slow
@pytest.mark.parametrize("test", PKITS["tests"], ids=lambda test: f"{test['id']}-{test['name'].replace(' ', '_')}")
def test_pkits_everybodys_files_give_the_expected_result(test: dict[str, Any]) -> None:
    """With every CA certificate and CRL of the suite at hand, the result stays the expected one."""
    expected = test["should_validate"] and test["number"] not in DSA
    assert verifies(test, *everybody()) is expected


@pytest.mark.slow
@pytest.mark.parametrize("test", PKITS["tests"], ids=lambda test: f"{test['id']}-{test['name'].replace(' ', '_')}")
def test_pkits_with_crls_by_their_images_gives_the_expected_result(test: dict[str, Any]) -> None:
    """A CRL without its entries says what it said with them: deltas, indirect ones and all."""
    pool = tuple(readable(test["intermediates"]))
    crls = [one for one in map(small_form, test["crls"]) if one is not None]
    expected = test["should_validate"] and test["number"] not in DSA
    assert verifies(test, pool, CrlStore(crls)) is expected


def test_pkits_everybody_is_181_cas_one_of_them_unreadable_and_173_crls() -> None:
    """With whose octets given as they are, to somebody who cannot read all of them, a test verifies too."""
    cas = sorted({name for one in PKITS["tests"] for name in one["intermediates"]})
    crls = sorted({name for one in PKITS["tests"] for name in one["crls"]})
    read, store = everybody()
    # Two of the CRLs are the same octets.
    assert (len(cas), len(crls), len(read), len(store)) == (181, 173, 180, 172)
    test = next(one for one in PKITS["tests"] if one["should_validate"])
    path = verify_chain(
        certificate(test["end_entity"]).der,
        pool=[(PKITS_DATA / "certs" / f"{name}.crt").read_bytes() for name in cas],
        anchors=[certificate(test["trust_anchor"]).der],
        crls=[(PKITS_DATA / "crls" / f"{name}.crl").read_bytes() for name in crls],
        at=AT,
        policy=policy_of(test),
    )
    assert path.leaf == certificate(test["end_entity"])


def test_pkits_tests_are_all_there() -> None:
    """A shorter file would prove less."""
    assert len(PKITS["tests"]) == 249
    assert sorted(one["number"] for one in PKITS["tests"] if one["number"] in DSA) == sorted(DSA)


@pytest.mark.slow
def test_pkits_crls_have_images_but_for_those_that_no_known_key_signed() -> None:
    """So that none is missing from the test above by mistake."""
    names = {name for one in PKITS["tests"] for name in one["crls"]}
    assert sorted(name for name in names if small_form(name) is None) == WITHOUT_IMAGE


@pytest.mark.slow
def test_pkits_verdicts_are_certvalidators() -> None:
    """Those of pyhanko-certvalidator, with the files of each test: it accepts exactly what we do, and no DSA either."""
    differing = {}
    for test in PKITS["tests"]:
        files = (PKITS_DATA / "certs" / f"{name}.crt" for name in (test["end_entity"], *test["intermediates"]))
        leaf, *pool = (one.read_bytes() for one in files)
        crls = [(PKITS_DATA / "crls" / f"{name}.crl").read_bytes() for name in test["crls"]]
        theirs = verdict(leaf, pool, [certificate(test["trust_anchor"]).der], crls, AT, policy_of(test))
        ours = verifies(test, tuple(readable(test["intermediates"])), CrlStore(map(crl, test["crls"])))
        if ours is bool(theirs):
            differing[test["id"]] = theirs or "accepted"
    assert differing == {}
