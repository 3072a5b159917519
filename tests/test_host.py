"""Hosts have one spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.errors import Refused
from authz.host import canonical_host
from authz.reasons import Reason


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        ("api.example.com", "api.example.com"),
        ("API.Example.COM", "api.example.com"),
        ("api.example.com.", "api.example.com"),
        ("api.example.com:8443", "api.example.com"),
        ("api.example.com.:443", "api.example.com"),
        ("api.example.com:", "api.example.com"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]:443", "[::1]"),
        ("[0:0:0:0:0:0:0:1]", "[::1]"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("my_service", "my_service"),
    ],
)
def test_host_spelled_otherwise_has_one_form(raw: str, canonical: str) -> None:
    """Case, port and the root's dot make no difference."""
    assert canonical_host(raw) == canonical


@pytest.mark.parametrize(
    "raw",
    [
        "", ".", "..", "a..b", ".a", "a b", "a,b", "a:b", "a:123456", "a/b", "user@a", "bücher.example", "-a", "a-",
        "a" * 64, ".".join(["a" * 50] * 6), "[::1", "[::1]x", "[::1]:x", "[fe80::1%eth0]", "[nonsense]", "::1", "a\x00",
        "a\n", "\u212a.example",
    ],
)  # fmt: skip
def test_invalid_host_is_refused(raw: str) -> None:
    """Anything that two readers might read differently is no host."""
    with pytest.raises(Refused) as caught:
        canonical_host(raw)
    assert caught.value.reason is Reason.HOST_MALFORMED


@given(st.text(max_size=300))
def test_host_of_any_text_is_stable_or_refused(text: str) -> None:
    """The canonical form of a canonical form is itself."""
    try:
        canonical = canonical_host(text)
    except Refused:
        return
    assert canonical_host(canonical) == canonical
