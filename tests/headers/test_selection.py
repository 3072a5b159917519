"""Which header is the certificate's."""

from __future__ import annotations

import pytest

from authz.errors import Refused
from authz.headers import KNOWN_HEADERS, select
from authz.model import CheckRequest, HeaderRules
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
