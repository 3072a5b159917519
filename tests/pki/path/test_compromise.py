"""Which CRLs say that a key is compromised; see `tests/test_registration_kinds.py` for what that ends."""

from __future__ import annotations

from datetime import timedelta

from cryptography import x509
from support.certificates import NOW, Authority, Minted, new_key
from support.outcomes import parsed
from support.scenarios import issuing_point

from authz.pki import Budget, Crl, CrlStore, TrustStore, Validation, compromised_by, verify_path
from authz.pki.validation_policy import SERVICE_POLICY

COMPROMISE = x509.ReasonFlags.key_compromise
ROOT, OTHER_ROOT = Authority.root("Root"), Authority.root("Other root")
CA, OTHER_CA = ROOT.intermediate("CA"), OTHER_ROOT.intermediate("Other CA")
KEY = new_key()
LEAF = CA.leaf("alice", key=KEY)


def found(certificate: Minted, *crls: bytes, checked: bool = True, known: tuple[Minted, ...] = ()) -> bytes | None:
    """The CRL that lists it, while LEAF is presented."""
    trust = TrustStore(parsed(ROOT, OTHER_ROOT), parsed(*known))
    leaf, ca = parsed(LEAF, CA)
    path = verify_path(leaf, [ca], trust, None, NOW)
    store = CrlStore(map(Crl, crls)) if checked else None
    validation = Validation(NOW, SERVICE_POLICY, Budget.service(), store)
    crl = compromised_by(parsed(certificate)[0], path, trust, validation)
    assert crl is compromised_by(parsed(certificate)[0], path, trust, validation)  # remembered
    return None if crl is None else crl.sha256


def test_crl_of_the_issuer_on_the_path_counts() -> None:
    """Of a certificate that its own issuer lists, for a compromise."""
    crl = CA.crl(LEAF, reason=COMPROMISE)
    assert found(LEAF, crl) == Crl(crl).sha256
    assert found(LEAF, CA.crl(LEAF)) is None
    assert found(LEAF, CA.crl()) is None
    assert found(LEAF, CA.crl(), known=(CA,)) is None  # asked once, though it is known as well
    assert found(LEAF) is None
    assert found(LEAF, crl, checked=False) is None


def test_crl_of_a_known_ca_beside_the_path_counts() -> None:
    """The key's certificate of before may be another CA's; of a CA that is not known, nothing is."""
    former = OTHER_CA.leaf("alice", key=KEY)
    crl = OTHER_CA.crl(former, reason=COMPROMISE)
    assert found(former, crl, known=(OTHER_CA,)) == Crl(crl).sha256
    assert found(former, crl) is None


def test_crl_of_a_ca_that_did_not_sign_the_certificate_counts_nothing() -> None:
    """Another CA of the issuer's name lists the same serial number."""
    stranger = OTHER_ROOT.intermediate("CA")
    crl = stranger.crl(LEAF.certificate.serial_number, reason=COMPROMISE)
    assert found(LEAF, crl, known=(stranger,)) is None


def test_compromise_counts_whatever_another_crl_of_the_issuer_says() -> None:
    """CRLs by reason are of different scopes: revoked as superseded first, the certificate may be compromised later."""
    superseded, compromised = (
        CA.crl(LEAF, reason=reason, extensions=[(issuing_point(reasons=frozenset({reason})), True)])
        for reason in (x509.ReasonFlags.superseded, COMPROMISE)
    )
    assert found(LEAF, superseded) is None
    assert found(LEAF, superseded, compromised) == Crl(compromised).sha256
    assert found(LEAF, compromised, superseded) == Crl(compromised).sha256


def test_crl_that_has_not_begun_counts_not_yet() -> None:
    """One that is overdue counts."""
    later = CA.crl(LEAF, reason=COMPROMISE, this_update=NOW + timedelta(hours=1))
    overdue = CA.crl(LEAF, reason=COMPROMISE, next_update=NOW - timedelta(hours=1))
    assert found(LEAF, later) is None
    assert found(LEAF, overdue) == Crl(overdue).sha256
