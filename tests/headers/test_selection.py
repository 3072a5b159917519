"""Which header is the certificate's."""

from __future__ import annotations

import pytest

from authz.errors import Refused
from authz.headers import KNOWN_HEADERS, replayable_headers, select
from authz.model import CheckRequest, HeaderRules, IndicatorForm
from authz.reasons import Reason

RULES = HeaderRules()


def request(*headers: tuple[bytes, bytes]) -> CheckRequest:
    """A request with these headers and some ordinary ones."""
    return CheckRequest("", "a", ((b"host", b"a"), (b"user-agent", b"x"), *headers))


def test_header_absent_gives_nothing() -> None:
    """Silence is silence; what it means is decided elsewhere."""
    assert select(request(), RULES) is None


def test_header_present_is_selected_undecoded() -> None:
    """The value is handed on as it stands."""
    selected = select(request((b"x-forwarded-client-cert", b"Hash=1")), RULES)
    assert selected is not None
    assert (selected.value, selected.chain) == (b"Hash=1", None)


def test_header_empty_is_not_absent() -> None:
    """An empty value is a value, and refused when it is decoded."""
    assert select(request((b"x-forwarded-client-cert", b"")), RULES) is not None


@pytest.mark.parametrize("name", sorted(KNOWN_HEADERS - {"x-forwarded-client-cert"}))
def test_other_certificate_header_is_refused(name: str) -> None:
    """A header that another proxy would have set is a lie at this listener."""
    assert refusal((name.encode(), b"x")) is Reason.HEADER_UNEXPECTED


@pytest.mark.parametrize("name", [b"ssl-client-cert-chain-17", b"ssl_client_cert_chain_9"])
def test_header_of_a_chain_without_end_is_refused(name: bytes) -> None:
    """Of more certificates than a chain has; not all can be removed by name."""
    assert refusal((name, b"x")) is Reason.HEADER_UNEXPECTED
    assert refusal((b"x-" + name, b"x")) is None


@pytest.mark.parametrize(
    ("own", "beside"),
    [
        ("x-forwarded-tls-client-cert", "x-forwarded-tls-client-cert-info"),
        ("x-amzn-mtls-clientcert", "x-amzn-mtls-clientcert-leaf"),
        ("x-amzn-mtls-clientcert-leaf", "x-amzn-mtls-clientcert-serial-number"),
        ("cloudfront-viewer-cert-pem", "cloudfront-viewer-cert-issuer"),
        ("ssl-client-cert", "ssl-client-cert-chain-0"),
        ("ssl-client-cert", "ssl-client-cert-chain-12"),
    ],
)
def test_header_that_the_own_proxy_writes_beside_the_certificate_is_passed_over(own: str, beside: str) -> None:
    """At its listener, and counts nothing there; a certificate in another family's header stays a lie."""
    rules = HeaderRules(own)
    selected = select(request((own.encode(), b"a"), (beside.encode(), b"b")), rules)
    assert selected is not None
    assert (selected.value, selected.chain) == (b"a", None)
    assert select(request((beside.encode(), b"b")), rules) is None
    for other in KNOWN_HEADERS - {own}:
        if other[:8] != own[:8]:
            assert refusal((own.encode(), b"a"), (other.encode(), b"b"), rules=rules) is Reason.HEADER_UNEXPECTED


def test_statement_may_be_a_header_that_is_known() -> None:
    """CloudFront states the digest beside a certificate of another form; a twin of it is no statement."""
    rules = HeaderRules("client-cert", indicator_header="cloudfront-viewer-cert-sha256")
    assert select(request((b"cloudfront-viewer-cert-sha256", b"x")), rules) is None
    assert refusal((b"cloudfront-viewer-cert-pem", b"x"), rules=rules) is Reason.HEADER_UNEXPECTED


def test_header_that_its_proxy_always_sends_is_not_absent() -> None:
    """A client that makes the proxy drop it (Connection) is refused; with a statement, by what that says."""
    rules = HeaderRules(none_values=frozenset({b"(null)"}))
    stated = HeaderRules(none_values=frozenset({b"(null)"}), indicator=IndicatorForm.FLAG)
    assert select(request(), stated) is None
    assert refusal(rules=rules) is Reason.HEADER_WITHOUT_CERTIFICATE
    assert select(request((b"x-forwarded-client-cert", b"(null)")), rules) is None
    assert refusal(*[(b"x-forwarded-client-cert", b"(null)")] * 2, rules=rules) is Reason.HEADER_AMBIGUOUS


def test_headers_of_every_known_name_are_replayed() -> None:
    """A decision about them is the same again."""
    headers = ((b"ssl-client-cert-chain-17", b"x"), (b"client_cert", b"y"), (b"x-authz-peer", b"z"))
    rules = HeaderRules(indicator_header="x-authz-peer")
    assert replayable_headers(request(*headers), rules) == headers


@pytest.mark.parametrize("twin", [b"x_forwarded_client_cert", b"x-forwarded_client-cert", b"ssl_client_cert"])
def test_underscore_twin_is_refused(twin: bytes) -> None:
    """What a server may fold into the header does not stand beside it."""
    assert refusal((twin, b"x")) is Reason.HEADER_UNEXPECTED


def test_header_twice_is_ambiguous() -> None:
    """Of two, neither is believed."""
    assert refusal((b"x-forwarded-client-cert", b"a"), (b"x-forwarded-client-cert", b"a")) is Reason.HEADER_AMBIGUOUS


@pytest.mark.parametrize(("size", "reason"), [(64 * 1024, None), (64 * 1024 + 1, Reason.HEADER_TOO_LARGE)])
def test_header_larger_than_the_limit_is_refused(size: int, reason: Reason | None) -> None:
    """The limit is 64 KB, to the octet."""
    assert refusal((b"x-forwarded-client-cert", b"a" * size)) is reason


def test_chain_header_without_a_certificate_header_is_refused() -> None:
    """A chain alone proves nothing."""
    rules = HeaderRules(certificate_header="client-cert", chain_header="client-cert-chain")
    assert refusal((b"client-cert-chain", b"x"), rules=rules) is Reason.HEADER_WITHOUT_CERTIFICATE
    both = select(request((b"client-cert", b"x"), (b"client-cert-chain", b"y")), rules)
    assert both is not None
    assert both.chain == b"y"


def refusal(*headers: tuple[bytes, bytes], rules: HeaderRules = RULES) -> Reason | None:
    """The reason for which the headers are refused, None if they are not."""
    try:
        select(request(*headers), rules)
    except Refused as refused:
        return refused.reason
    return None
