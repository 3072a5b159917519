"""Who may speak through a CRL, and who must not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from unittest.mock import Mock

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from support.certificates import NOW, Authority, Minted, entry, name, new_key, usage
from support.other_keys import other_key
from support.outcomes import parsed
from support.raw_der import crl_with_sha1
from support.revocation_world import (
    CA,
    CRL_SIGNER,
    EXPIRED,
    GOOD,
    LEAF,
    ONE,
    REVOKED,
    ROOT,
    UNKNOWN,
    Extensions,
    at,
    check,
    idp,
    points,
)
from support.tampered import Change, compressed_point, pss_key, reissued, with_key

from authz.errors import Refused
from authz.pki import (
    AlgorithmRules,
    Budget,
    Certificate,
    Crl,
    CrlStore,
    TrustAnchor,
    TrustStore,
    ValidationPolicy,
    VerifiedCache,
    verify_path,
)
from authz.pki.revocation import crl_signers
from authz.pki.revocation.crl_signers import MAX_NESTING, CrlSigners, PathPosition, may_sign_crls, signer_of
from authz.pki.x509.algorithms import KEYS
from authz.reasons import Reason

# -- Signers beside the path ----------------------------------------------------------------------------


def test_other_key_of_the_ca_speaks_if_its_certificate_verifies() -> None:
    """A CA may sign its CRLs with a key of their own, certified where its own was."""
    signer = ROOT.intermediate("CA", extensions=CRL_SIGNER)
    crls = [ROOT.crl(), signer.crl()]
    assert check(LEAF, crls, pool=[CA, signer]) == GOOD
    assert check(LEAF, crls, known=[signer]) == GOOD
    assert check(LEAF, crls) is UNKNOWN


def test_other_key_of_the_ca_that_lists_is_believed() -> None:
    """Every CRL that speaks is asked: neither key's hides the other's."""
    other = ROOT.intermediate("CA")
    for mine, theirs in ([LEAF], []), ([], [LEAF]):
        crls = [ROOT.crl(), CA.crl(*mine), other.crl(*theirs, number=9)]
        assert check(LEAF, crls, pool=[CA, other]) is REVOKED


@pytest.mark.parametrize(
    ("listed", "expected"), [((), GOOD), (("signer",), UNKNOWN), (("other",), GOOD)], ids=["good", "revoked", "other"]
)
def test_other_key_of_the_ca_needs_a_status_of_its_own(listed: tuple[str, ...], expected: str) -> None:
    """A signer that is revoked does not speak."""
    signer = ROOT.intermediate("CA", extensions=CRL_SIGNER)
    serials = {"signer": signer.certificate.serial_number, "other": 0x5555}
    crls = [ROOT.crl(*(serials[one] for one in listed)), signer.crl()]
    assert check(LEAF, crls, pool=[CA, signer]) == expected


def test_signer_whose_certificate_expired_does_not_speak() -> None:
    """Its path is verified now, like any other."""
    signer = ROOT.intermediate("CA", extensions=CRL_SIGNER, not_after=NOW - timedelta(days=1))
    assert check(LEAF, [ROOT.crl(), signer.crl()], pool=[CA, signer]) is UNKNOWN


@pytest.mark.parametrize("ca", [CA, ROOT])
def test_key_certified_by_the_ca_itself_speaks(ca: Authority) -> None:
    """A self-issued certificate for a CRL key stays within the CA, anchor or not; its status is of another scope."""
    leaf, subject = ca.leaf("bob"), ca.certificate.subject
    signer = ca.intermediate(subject, extensions=[*CRL_SIGNER, *points(at(ONE))])
    crls = [ROOT.crl(extensions=idp(only="cas")), signer.crl()]
    assert check(leaf, [*crls, ca.crl(extensions=idp(ONE))], pool=[CA, signer]) == GOOD
    assert check(leaf, [*crls, ca.crl(signer, extensions=idp(ONE))], pool=[CA, signer]) is UNKNOWN
    assert check(leaf, crls, pool=[CA, signer]) is UNKNOWN


def test_key_certified_by_an_earlier_key_of_the_ca_speaks() -> None:
    """A CA that certified its new key with its old one is the same CA, though the leaf's path has neither."""
    old = ROOT.intermediate("CA")
    signer = old.intermediate("CA", extensions=[*CRL_SIGNER, *points(at(ONE))])
    crls = [ROOT.crl(), signer.crl(), old.crl(extensions=idp(ONE))]
    assert check(LEAF, crls, pool=[CA, old, signer]) == GOOD


def test_namesake_further_up_the_path_never_speaks() -> None:
    """An ancestor that shares the issuer's name, with another CA between, is somebody else."""
    high = ROOT.intermediate("Twin")
    mid = high.intermediate("Mid")
    low = mid.intermediate("Twin")
    leaf, pool = low.leaf(), [high, mid, low]
    assert check(leaf, [ROOT.crl(), mid.crl(), high.crl()], pool=pool) is UNKNOWN
    assert check(leaf, [ROOT.crl(), mid.crl(), high.crl(), low.crl()], pool=pool) == GOOD


def test_sibling_of_the_same_name_below_another_ca_never_speaks() -> None:
    """Two CAs that share a name below different CAs are strangers, though both lead to the anchor."""
    left, right = ROOT.intermediate("Left"), ROOT.intermediate("Right")
    ca, sibling = left.intermediate("Twin"), right.intermediate("Twin")
    leaf, crls = ca.leaf(), [ROOT.crl(), left.crl(), right.crl()]
    pool = [left, right, ca, sibling]
    assert check(leaf, [*crls, ca.crl(), sibling.crl()], pool=pool) == GOOD
    assert check(leaf, [*crls, sibling.crl()], pool=pool) is UNKNOWN
    assert check(leaf, [*crls, sibling.crl(), ca.crl(**EXPIRED)], pool=pool) is UNKNOWN
    assert check(leaf, [*crls, sibling.crl(number=9), ca.crl(leaf)], pool=pool) is REVOKED


def test_twin_below_another_anchor_never_speaks() -> None:
    """A CA of the same name below another anchor is a stranger on this path."""
    other_root = Authority.root("Other root")
    twin = other_root.intermediate("CA")
    trust = TrustStore([Certificate.parse(ROOT.der), Certificate.parse(other_root.der)])
    crls = [ROOT.crl(), other_root.crl(), twin.crl()]
    assert check(LEAF, crls, pool=[CA, twin], trust=trust) is UNKNOWN
    assert check(LEAF, [*crls, CA.crl()], pool=[CA, twin], trust=trust) == GOOD


def test_tenants_with_a_ca_of_one_name_never_meet() -> None:
    """In one store of CRLs, each tenant's leaf is judged by its own CA's."""
    theirs = Authority.root("Root")
    their_ca = theirs.intermediate("CA")
    their_leaf = their_ca.leaf("alice", serial=LEAF.certificate.serial_number)
    crls = [ROOT.crl(), theirs.crl(), CA.crl(), their_ca.crl(their_leaf)]
    assert check(LEAF, crls, pool=[CA, their_ca]) == GOOD
    assert check(their_leaf, crls, pool=[CA, their_ca], anchor=theirs) is REVOKED
    assert check(LEAF, [ROOT.crl(), theirs.crl(), their_ca.crl()], pool=[CA, their_ca]) is UNKNOWN


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"extensions": CRL_SIGNER}, GOOD),
        ({"extensions": CRL_SIGNER[1:], "without": [x509.KeyUsage]}, UNKNOWN),
        ({"extensions": [(usage("digital_signature"), True), CRL_SIGNER[1]]}, UNKNOWN),
        ({"without": [x509.KeyUsage]}, GOOD),
        ({"extensions": CRL_SIGNER, "key": new_key("rsa1024")}, UNKNOWN),
    ],
    ids=["cRLSign", "nothing said", "another use", "a CA, nothing said", "a weak key"],
)
def test_signer_beside_the_path_must_be_one(options: dict[str, object], expected: str) -> None:
    """What is no CA needs cRLSign to sign CRLs, and a key that policy accepts."""
    signer = ROOT.intermediate("CA", **options)
    assert check(LEAF, [ROOT.crl(), signer.crl()], pool=[CA, signer]) == expected


def test_stranger_that_cannot_be_read_does_no_harm() -> None:
    """A certificate of the CA's name that a client adds, and that is malformed, is passed over."""
    twice: Extensions = [(x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.2.3.{n}"), b""), False) for n in (4, 5)]
    good = ROOT.intermediate("CA", extensions=twice)
    raw = Minted(_Raw(good.der.replace(bytes.fromhex("06032a0305"), bytes.fromhex("06032a0304"))), good.key)  # type: ignore[arg-type]
    other = ROOT.intermediate("CA")
    assert check(LEAF, [ROOT.crl(), CA.crl(), other.crl()], pool=[CA, raw]) == GOOD


class _Raw:
    """DER that stands in for a certificate which the library would not make."""

    def __init__(self, der: bytes) -> None:
        self._der = der

    def public_bytes(self, _encoding: object) -> bytes:
        """The DER."""
        return self._der


# -- Signers who hang on each other ---------------------------------------------------------------------


def agent(subject: str, *, judged_by: str) -> Authority:
    """A CRL signer, and client, whose own status stands in the indirect CRL of `judged_by`."""
    extensions = [(usage("crl_sign", "digital_signature"), True), CRL_SIGNER[1], *points(at(by=judged_by))]
    return ROOT.intermediate(subject, extensions=extensions)


def judged(subject: str) -> Minted:
    """A leaf whose status stands in the indirect CRL of `subject`."""
    return CA.leaf(extensions=points(at(by=subject)))


EVERYBODY = idp(indirect=True)


def without_root(*crls: bytes) -> list[bytes]:
    """CRLs with one of the root's that speaks for CAs only, and so for no agent."""
    return [ROOT.crl(extensions=idp(only="cas")), *crls]


def test_agent_that_judges_itself_by_its_cas_leave_speaks() -> None:
    """Its CA named it as the issuer of the CRL for its own certificate."""
    one = agent("One", judged_by="One")
    assert check(judged("One"), without_root(one.crl(extensions=EVERYBODY)), pool=[CA, one]) == GOOD
    himself = entry(one.certificate.serial_number, issuer=name("Root"))
    assert check(judged("One"), without_root(one.crl(himself, extensions=EVERYBODY)), pool=[CA, one]) is UNKNOWN


def test_key_of_the_ca_that_names_itself_as_crl_issuer_is_silent() -> None:
    """A CA's own name delegates to no issuer, so no key of the CA vouches for itself."""
    signer = CA.intermediate("CA", extensions=[*CRL_SIGNER, *points(at(by="CA"))])
    crls = [ROOT.crl(), signer.crl(extensions=EVERYBODY)]
    assert check(LEAF, crls, pool=[CA, signer]) is UNKNOWN


def test_agent_that_judges_itself_without_leave_is_silent() -> None:
    """A signer whose status hangs on a CRL that it signed, and that its CA did not delegate to it, proves nothing."""
    signer = ROOT.intermediate("Root", extensions=CRL_SIGNER, key=new_key())
    assert check(ROOT.leaf("bob"), [signer.crl()], pool=[signer]) is UNKNOWN


def test_leaf_that_names_itself_as_crl_issuer_is_not_judged_by_itself() -> None:
    """Only a CRL signer who is being proven may be."""
    leaf = agent("Self", judged_by="Self")
    assert check(leaf, without_root(leaf.crl(extensions=EVERYBODY)), pool=[]) is UNKNOWN


def test_agents_that_judge_each_other_are_silent() -> None:
    """A circle proves nothing."""
    one, two = agent("One", judged_by="Two"), agent("Two", judged_by="One")
    crls = without_root(one.crl(extensions=EVERYBODY), two.crl(extensions=EVERYBODY))
    assert check(judged("One"), crls, pool=[CA, one, two]) is UNKNOWN


def test_signer_is_proven_once_in_a_check() -> None:
    """What one check found out about a signer, good or not, holds for the whole check."""
    asked: list[Certificate] = []

    def refuse(signer: Certificate, *_: object) -> Sequence[Certificate]:
        asked.append(signer)
        raise Refused(UNKNOWN)

    signers = CrlSigners(Budget(), VerifiedCache(), lambda _: [], refuse, set())
    root, ca, leaf = (Certificate.parse(one.der) for one in (ROOT, CA, LEAF))
    position = PathPosition(leaf, (ca, root), TrustAnchor(root))
    assert [signers.is_authorized(ca, ca.subject, position) for _ in range(2)] == [False, False]
    assert asked == [ca]


def test_budget_that_runs_out_while_a_signer_is_proven_is_reported() -> None:
    """It is not taken for a signer without a path."""
    signer = ROOT.intermediate("CA", extensions=CRL_SIGNER)
    crls = [ROOT.crl(), signer.crl()]
    told = [check(LEAF, crls, pool=[CA, signer], budget=Budget(steps=steps)) for steps in range(12)]
    assert told == sorted(told)
    assert set(told) == {Reason.BUDGET_EXCEEDED, GOOD}


@pytest.mark.parametrize(("length", "expected"), [(MAX_NESTING, GOOD), (MAX_NESTING + 1, UNKNOWN)])
def test_agents_that_judge_one_another_in_a_row_are_bounded(length: int, expected: str) -> None:
    """However many certificates a client sends, the recursion ends."""
    agents = [agent(f"Agent {n}", judged_by=f"Agent {n + 1}") for n in range(length - 1)]
    agents.append(ROOT.intermediate(f"Agent {length - 1}", extensions=[*CRL_SIGNER, *points(at(ONE))]))
    crls = [one.crl(extensions=EVERYBODY) for one in agents]
    crls += [ROOT.crl(extensions=idp(ONE)), ROOT.crl(extensions=idp(only="cas"))]
    assert check(judged("Agent 0"), crls, pool=[CA, *agents]) == expected


# -- Whose CRL it is -------------------------------------------------------------------------------------

TWIN = Authority.root("CA")
CRL = Crl(CA.crl())


@pytest.mark.parametrize(
    ("extensions", "without", "allowed"),
    [
        ([(usage("crl_sign"), True)], [], True),
        ([(usage("key_cert_sign"), True)], [], False),
        ([], [x509.KeyUsage], True),
    ],
)
def test_key_usage_decides_who_may_sign_crls(
    extensions: list[tuple[x509.ExtensionType, bool]], without: list[type[x509.ExtensionType]], allowed: bool
) -> None:
    """A key usage without cRLSign forbids it."""
    assert may_sign_crls(*parsed(Authority.root(extensions=extensions, without=without))) is allowed


def test_signer_is_the_one_whose_key_verifies() -> None:
    """Among CAs of one name the key decides."""
    assert signer_of(CRL, parsed(TWIN, CA)) == parsed(CA)[0]


def test_ca_whose_name_cannot_be_read_is_passed_over() -> None:
    """Some tenant has it, and the CRL is another's."""
    [odd] = parsed(ROOT.intermediate("Odd").der.replace(b"Odd", b"\xff\xff\xff"))
    assert signer_of(CRL, [odd, *parsed(CA)]) == parsed(CA)[0]


def test_signer_is_found_whatever_the_key_identifiers_say() -> None:
    """An authority key identifier is a hint; the signature is the proof."""
    other = x509.AuthorityKeyIdentifier(b"other", None, None)
    assert signer_of(Crl(CA.crl(extensions=[(other, False)])), parsed(CA)) == parsed(CA)[0]


def no_signer(data: bytes, *candidates: Certificate) -> Reason:
    """Why none of the candidates is the signer."""
    with pytest.raises(Refused) as refusal:
        signer_of(Crl(data), candidates)
    return refusal.value.reason


def test_signer_unknown_refuses() -> None:
    """No CA of its name is known, or none of that name has its key."""
    assert no_signer(CA.crl()) is Reason.REVOCATION_UNKNOWN
    assert no_signer(CA.crl(), *parsed(TWIN)) is Reason.SIGNATURE_INVALID


def test_crl_with_an_algorithm_that_is_not_accepted_has_no_signer() -> None:
    """That is reported, and no CA is asked for that would change nothing."""
    assert no_signer(crl_with_sha1(CA.crl(), CA.key), *parsed(CA)) is Reason.ALGORITHM_NOT_ALLOWED  # type: ignore[arg-type]


def test_signer_of_another_name_refuses() -> None:
    """The right key under another name is somebody else."""
    assert no_signer(CA.crl(issuer=name("Other")), *parsed(CA)) is Reason.REVOCATION_UNKNOWN


def test_signer_that_may_not_sign_crls_refuses() -> None:
    """The right key without cRLSign in its key usage may not speak."""
    ca = Authority.root("CA", extensions=[(usage("key_cert_sign"), True)])
    assert no_signer(ca.crl(), *parsed(ca)) is Reason.KEY_USAGE_NOT_ALLOWED


def test_signer_with_a_weak_key_is_passed_over() -> None:
    """A candidate that cannot be used does not end the search; a brainpool one, which a policy may accept, is found."""
    weak, other = (Authority.root("CA", key=new_key(kind)) for kind in ("rsa1024", "bp256"))
    assert signer_of(CRL, parsed(weak, CA)) == parsed(CA)[0]
    assert no_signer(weak.crl(), *parsed(weak)) is Reason.SIGNATURE_INVALID
    assert signer_of(Crl(other.crl()), parsed(other)) == parsed(other)[0]


@pytest.mark.parametrize(
    ("key", "change"), [(new_key(), compressed_point), (new_key("rsa2048"), pss_key())], ids=["compressed", "PSS"]
)
def test_crl_filed_under_another_form_of_its_signers_key_is_found(
    key: CertificateIssuerPrivateKeyTypes, change: Change
) -> None:
    """Another tenant's CA can certify the name and the key in the other form: the CRL is one for both."""
    ca = ROOT.intermediate("CA", key=key)
    other = reissued(ca, ROOT, change)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32) if isinstance(key, rsa.RSAPrivateKey) else None
    leaf, crl = ca.leaf(rsa_padding=pss), Crl(ca.crl(rsa_padding=pss))
    wide = ValidationPolicy(algorithms=AlgorithmRules(keys=KEYS))
    trust = TrustStore(parsed(ROOT), policy=wide)
    for known, used in ((ca, other), (other, ca), (ca, ca), (other, other)):
        filed = {crl.sha256: signer_of(crl, parsed(known)).plain_spki_sha256}
        store = CrlStore([Crl(ROOT.crl()), crl], filed)
        assert verify_path(parsed(leaf)[0], parsed(used), trust, store, NOW, wide).revocation


def test_key_that_signed_other_crls_comes_before_one_that_signed_none() -> None:
    """And one that signed none is taken if no other is there."""
    (known,), (other,) = parsed(CA), parsed(reissued(CA, ROOT, compressed_point))
    assert signer_of(CRL, [other, known], {known.plain_spki_sha256}) == other
    assert signer_of(CRL, [other, known], {bytes(32)}) == other
    forged = with_key(other_key(CRL.signed.signature, CRL.signed.tbs, CA.key.public_key()))  # type: ignore[arg-type]
    (computed,) = parsed(reissued(CA, ROOT, forged))
    assert signer_of(CRL, [computed, known], {known.plain_spki_sha256}) == known
    assert signer_of(CRL, [computed, known], {bytes(32)}) == computed


@pytest.mark.parametrize("first", [True, False])
def test_key_that_signed_a_certificate_comes_before_one_computed_from_the_crl(first: bool) -> None:
    """Which signs nothing: so an anchor's first CRL is never filed under it, nor that of a CA above a known one."""
    for ca, below in ((ROOT, ROOT), (CA, CA.intermediate("Below"))):
        crl = Crl(ca.crl())
        forged = with_key(other_key(crl.signed.signature, crl.signed.tbs, ca.key.public_key()))  # type: ignore[arg-type]
        computed, known, signed = parsed(reissued(ca, ROOT, forged), ca, below)
        assert signer_of(crl, [computed]) == computed
        assert signer_of(crl, [computed, known, signed] if first else [signed, known, computed]) == known


def test_signature_of_a_crl_is_verified_once_for_all_tenants_and_for_each_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under one, which says nothing of another. Each tenant's budget pays: no decision depends on neighbours."""
    verify = Mock(side_effect=crl_signers.verify_signature)
    monkeypatch.setattr(crl_signers, "verify_signature", verify)
    crl, (ca, twin), budget = Crl(CA.crl()), parsed(CA, TWIN), Budget(signatures=5)

    def signs(signer: Certificate) -> bool:
        signers = CrlSigners(budget, VerifiedCache(), lambda _: [], lambda *_: (), set())
        return signers.signed(signer, [crl]) == [crl]

    assert [signs(signer) for signer in (twin, ca, ca, twin, ca)] == [False, True, True, False, True]
    assert (verify.call_count, budget.signatures) == (3, 0)
