"""Host, method and target from the headers of a proxy that asks with a request of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.errors import Refused
from authz.headers import read_client_request
from authz.host import canonical_host
from authz.model import ClientRequestHeaders

FORWARDED = ClientRequestHeaders("x-forwarded-host", None, "x-forwarded-method", "x-forwarded-uri")
ORIGINAL = ClientRequestHeaders(None, "x-original-url", "x-original-method")
HOST = (b"host", b"authz.internal")
ACME = (b"x-forwarded-host", b"acme.test")


def read(names: ClientRequestHeaders, *headers: tuple[bytes, bytes]) -> tuple[str, tuple[str, str]]:
    """What is read beside the service's own Host, of a question GET /v1/auth."""
    return read_client_request((HOST, *headers), names, ("GET", "/v1/auth"))


def test_forwarded_headers_hold_host_method_and_target() -> None:
    """Traefik, APISIX; the Host is then the service's and ignored."""
    headers = (ACME, (b"x-forwarded-method", b"PUT"), (b"x-forwarded-uri", b"/a?b"))
    assert read(FORWARDED, *headers) == ("acme.test", ("PUT", "/a?b"))


def test_fact_without_a_header_of_its_own_is_the_requests() -> None:
    """Host, method and target each."""
    assert read(ClientRequestHeaders(method="x-method")) == ("authz.internal", ("", "/v1/auth"))
    assert read(ClientRequestHeaders("x-forwarded-host"), ACME) == ("acme.test", ("GET", "/v1/auth"))


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (ACME, ACME),
        (ACME, (b"x-forwarded-host", b"evil.test")),
        (ACME, (b"x_forwarded_host", b"evil.test")),
        ((b"x-forwarded_host", b"acme.test"),),
        ((b"x-forwarded-host", b""),),
    ],
)
def test_host_that_did_not_arrive_exactly_once_is_no_host(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    """Missing, repeated, in a twin or empty; never that of the question itself."""
    assert read(FORWARDED, *headers)[0] == ""


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (b"https://acme.test/a?b=https://evil.test/", ("acme.test", "/a?b=https://evil.test/")),
        (b"http://acme.test:8080//evil.test/", ("acme.test:8080", "//evil.test/")),
        (b"https://[::1]:8443/a", ("[::1]:8443", "/a")),
        (b"https://acme.test", ("acme.test", "")),
        (b"/a", ("", "")),
        (b"//acme.test/a", ("", "")),
        (b"acme.test/a", ("", "")),
        (b"ftp://acme.test/", ("", "")),
        (b"https:/acme.test/", ("", "")),
        (b"https:///acme.test/", ("", "/acme.test/")),
    ],
)
def test_url_is_split_at_its_first_slash(url: bytes, expected: tuple[str, str]) -> None:
    """The host behind the scheme, whatever is in path and query."""
    host, (_, target) = read(ORIGINAL, (b"x-original-url", url))
    assert (host, target) == expected


@pytest.mark.parametrize(
    "client",
    [
        b"acme.test?.evil.test",
        b"acme.test#.evil.test",
        b"acme.test@evil.test",
        b"evil.test\\",
        b"a:b@acme.test",
        b"a, b",
    ],
)
def test_host_of_a_client_that_ends_in_the_middle_is_malformed(client: bytes) -> None:
    """ingress-nginx writes scheme, the client's Host and its target in a row: no other host may come of it."""
    host, _ = read(ORIGINAL, (b"x-original-url", b"https://" + client + b"/a"))
    with pytest.raises(Refused):
        canonical_host(host)


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30), st.text(max_size=20))
def test_host_in_a_url_is_the_clients_or_malformed(host: str, path: str) -> None:
    """Whatever a client puts into Host and target, its organization is that of its Host alone."""
    url = f"https://{host}/{path}".encode()
    found, _ = read(ORIGINAL, (b"x-original-url", url))

    def canonical(text: str) -> str | None:
        try:
            return canonical_host(text)
        except Refused:
            return None

    # A proxy refuses a Host with a slash; here it ends the host.
    assert canonical(found) == canonical(host.partition("/")[0])
