"""Forms x spellings of no certificate x statements: each listener's own spelling counts, and no other's."""

from __future__ import annotations

from base64 import b64encode
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import Authority

from authz.errors import Refused
from authz.headers import Selected, base64_der, check_indicator, decode, escaped_pem, present, rfc9440, select
from authz.model import CertificateForm, CheckRequest, HeaderRules, IndicatorForm
from authz.reasons import Reason

CA = Authority.root().intermediate()
ALICE, MALLORY = CA.leaf("alice"), CA.leaf("mallory")
DIGEST = ALICE.sha256.hex().encode()

FORMS = {
    CertificateForm.XFCC: present(ALICE.der, []),
    CertificateForm.RFC9440: rfc9440.format_certificate(ALICE.der),
    CertificateForm.ESCAPED_PEM: escaped_pem.format((ALICE.der,)),
    CertificateForm.BASE64_DER: base64_der.format((ALICE.der,)),
}
SPELLINGS: dict[str, bytes | None] = {
    "absent": None,
    "empty": b"",
    "colons": b"::",
    "null": b"(null)",
    "placeholder": b":{http.request.tls.client.certificate_der_base64}:",
}
STATEMENTS = {
    "none": (IndicatorForm.NONE, None, None),
    "envoy": (IndicatorForm.ENVOY_FINGERPRINT, b"sha256=" + DIGEST, b"sha256="),
    "nginx": (IndicatorForm.NGINX_VERIFY, b"SUCCESS", b"NONE"),
    "apache": (IndicatorForm.NGINX_VERIFY, b"GENEROUS", b"NONE"),
    "digest": (IndicatorForm.SHA256, DIGEST.upper(), b""),
    "digest with prefix": (IndicatorForm.SHA256, b"sha256=" + DIGEST, b"sha256="),
    "bits": (IndicatorForm.FLAG, b"1", b"0"),
    "booleans": (IndicatorForm.FLAG, b"true", b"false"),
    "words": (IndicatorForm.FLAG, b"SUCCESS", b"NONE"),
}


def rules_of(form: CertificateForm, spelling: str, statement: str) -> HeaderRules:
    """The listener of a proxy that spells and states so."""
    value = SPELLINGS[spelling]
    indicator, shown, none = STATEMENTS[statement]
    return HeaderRules(
        certificate_header="x-forwarded-client-cert",
        form=form,
        none_values=frozenset() if value is None else frozenset({value}),
        indicator_header="x-authz-peer",
        indicator=indicator,
        indicator_prefix=b"sha256=" if statement == "digest with prefix" else b"",
        indicator_presented=frozenset() if shown is None else frozenset({shown}),
        indicator_none=frozenset() if none is None else frozenset({none}),
    )


def outcome(rules: HeaderRules, value: bytes | None, stated: bytes | None) -> bytes | Reason | None:
    """The leaf, None for no certificate, or the reason of the refusal."""
    headers = [(b"x-forwarded-client-cert", value), (b"x-authz-peer", stated)]
    check = CheckRequest("", "", tuple((name, value) for name, value in headers if value is not None))
    try:
        selected = select(check, rules)
        chain = None if selected is None else decode(selected, rules)[-1]
        check_indicator(check, rules, chain)
    except Refused as refusal:
        return refusal.reason
    return None if chain is None else chain.leaf


CELLS = [
    (form, spelling, statement)
    for form, spelling, statement in product(FORMS, SPELLINGS, STATEMENTS)
    if form is not CertificateForm.XFCC or spelling == "absent"
]


@pytest.mark.parametrize(("form", "spelling", "statement"), CELLS)
def test_absence_is_the_listeners_own_spelling_that_the_statement_confirms(
    form: CertificateForm, spelling: str, statement: str
) -> None:
    """Of every other spelling a refusal comes, and of every other statement."""
    rules = rules_of(form, spelling, statement)
    _, shown, none = STATEMENTS[statement]
    for other, value in SPELLINGS.items():
        # The next proxy may drop an empty header: absence is none if the statement confirms it.
        own = other == spelling or (other == "absent" and shown is not None)
        found = outcome(rules, value, none)
        assert (found is None) is own, other
        assert own or isinstance(found, Reason)
        # "Shown" beside no certificate, as of one that is too large for the proxy; and a statement that was removed.
        if shown is not None:
            assert isinstance(outcome(rules, value, shown), Reason)
            assert isinstance(outcome(rules, value, None), Reason)
            assert isinstance(outcome(rules, value, shown + b", " + shown), Reason)


@pytest.mark.parametrize(("form", "spelling", "statement"), CELLS)
def test_certificate_counts_with_the_statement_for_one_alone(
    form: CertificateForm, spelling: str, statement: str
) -> None:
    """It is read whatever the listener's spelling of none; beside a statement for none, or none at all, it refuses."""
    rules = rules_of(form, spelling, statement)
    _, shown, none = STATEMENTS[statement]
    assert outcome(rules, FORMS[form], shown) == ALICE.der
    if shown is not None:
        assert outcome(rules, FORMS[form], none) is Reason.PROXY_STATEMENT_CONTRADICTS
        assert outcome(rules, FORMS[form], None) is Reason.PROXY_STATEMENT_MISSING
        assert outcome(rules, FORMS[form], b"") is not ALICE.der
    for other, value in FORMS.items():
        if other is not form:
            assert isinstance(outcome(rules, value, shown), Reason)


@given(st.sampled_from(CELLS), st.binary(max_size=40), st.binary(max_size=20))
def test_any_octets_are_neither_a_certificate_nor_none(
    cell: tuple[CertificateForm, str, str], value: bytes, stated: bytes
) -> None:
    """Whatever stands in both headers: none is exactly the spelling, with exactly the statement."""
    rules = rules_of(*cell)
    indicator, _, none = STATEMENTS[cell[2]]
    if outcome(rules, value, stated) is None:
        assert value == SPELLINGS[cell[1]]
        assert indicator is IndicatorForm.NONE or stated == none


@given(
    st.sampled_from([cell for cell in CELLS if STATEMENTS[cell[2]][0] is not IndicatorForm.NONE]),
    st.sampled_from([*SPELLINGS.values(), *FORMS.values()]),
    st.sampled_from(
        [None, b"", b"sha256=", b"NONE", b"0", b"1", b"SUCCESS", DIGEST, b"sha256=" + MALLORY.sha256.hex().encode()]
    ),
)
def test_header_and_statement_agree_or_refuse(
    cell: tuple[CertificateForm, str, str], value: bytes | None, stated: bytes | None
) -> None:
    """A client that removes or empties one header, or both, is never without a certificate because of it."""
    found = outcome(rules_of(*cell), value, stated)
    _, shown, none = STATEMENTS[cell[2]]
    if found is None:
        assert value in {None, SPELLINGS[cell[1]]}
        assert stated == none
    elif not isinstance(found, Reason):
        assert value == FORMS[cell[0]]
        assert shown is not None
        assert stated is not None
        assert stated.lower() == shown.lower() or (cell[2] in {"nginx", "apache"} and stated == b"SUCCESS")


HAPROXY = HeaderRules("client-cert", CertificateForm.RFC9440, "client-cert-chain", none_values=frozenset({b"::"}))


@pytest.mark.parametrize(
    ("certificate", "chain", "expected"),
    [
        (b"::", b"::", None),
        (b"::", b"", None),
        (b"::", None, None),
        (FORMS[CertificateForm.RFC9440], b"::", ()),
        (FORMS[CertificateForm.RFC9440], b":" + b64encode(CA.der + MALLORY.der) + b":", (CA.der, MALLORY.der)),
        (b"::", rfc9440.format_certificate(CA.der), Reason.HEADER_WITHOUT_CERTIFICATE),
        (None, b"::", Reason.HEADER_WITHOUT_CERTIFICATE),
        (b":" + b64encode(ALICE.der + CA.der) + b":", b"::", Reason.HEADER_MALFORMED),
        (FORMS[CertificateForm.RFC9440], b":" + b64encode(CA.der + b"0") + b":", Reason.HEADER_MALFORMED),
        (FORMS[CertificateForm.RFC9440], b":" + b64encode(CA.der + MALLORY.der[:-1]) + b":", Reason.HEADER_MALFORMED),
        (FORMS[CertificateForm.RFC9440], b":" + b64encode(CA.der + b"\x00" * 3) + b":", Reason.HEADER_MALFORMED),
        (FORMS[CertificateForm.RFC9440], b"::, ::", Reason.HEADER_MALFORMED),
    ],
)
def test_haproxys_chain_is_one_value(
    certificate: bytes | None, chain: bytes | None, expected: tuple[bytes, ...] | Reason | None
) -> None:
    """`::` for none of either header, all CAs in one byte sequence; the leaf stands alone."""
    headers = [(b"client-cert", certificate), (b"client-cert-chain", chain)]
    check = CheckRequest("", "", tuple((name, value) for name, value in headers if value is not None))
    try:
        selected = select(check, HAPROXY)
        found: object = None if selected is None else decode(selected, HAPROXY)[0].intermediates
    except Refused as refusal:
        found = refusal.reason
    assert found == expected


@pytest.mark.parametrize(("own", "other"), [pair for pair in product(FORMS, FORMS) if pair[0] != pair[1]])
def test_value_of_another_form_is_called_by_it(own: CertificateForm, other: CertificateForm) -> None:
    """The first mistake that is made with a new proxy."""
    rules = HeaderRules(certificate_header="x-forwarded-client-cert", form=own)
    for value, said in ((FORMS[other], f"; it begins like {other}: compare certificate.form"), (b"x y", "")):
        with pytest.raises(Refused) as caught:
            decode(Selected(value, None, own), rules)
        assert caught.value.reason is Reason.HEADER_MALFORMED
        assert caught.value.detail.partition("; it begins")[1:] == said.partition("; it begins")[1:]
