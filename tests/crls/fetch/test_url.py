"""URLs that are fetched, and those that are not, each for its reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.crls.failures import FailureKind, FetchFailed
from authz.crls.fetch.url import MAX_URL, parse_url


def refused(text: str) -> FailureKind:
    """Why."""
    with pytest.raises(FetchFailed) as error:
        parse_url(text)
    assert error.value.detail
    return error.value.kind


@pytest.mark.parametrize(
    ("text", "sent", "host", "port"),
    [
        ("http://crl.example.com/ca.crl", "http://crl.example.com:80/ca.crl", "crl.example.com", 80),
        ("HTTPS://CRL.Example.COM./ca.crl", "https://crl.example.com:443/ca.crl", "crl.example.com", 443),
        ("http://crl.example.com:8080/", "http://crl.example.com:8080/", "crl.example.com", 8080),
        ("http://crl.example.com", "http://crl.example.com:80/", "crl.example.com", 80),
        ("http://crl.example.com:/x", "http://crl.example.com:80/x", "crl.example.com", 80),
        ("http://a/My%20CA(1)+.crl?x=%2f&y=@:", "http://a:80/My%20CA(1)+.crl?x=%2f&y=@:", "a", 80),
        ("http://a/..//b%2e", "http://a:80/..//b%2e", "a", 80),
        ("http://1.1.1.1/x", "http://1.1.1.1:80/x", "1.1.1.1", 80),
        ("http://[2606:4700:0::1111]:81/x", "http://[2606:4700::1111]:81/x", "2606:4700::1111", 81),
    ],
)
def test_url_is_sent_as_it_stands(text: str, sent: str, host: str, port: int) -> None:
    """But for the host, which has one spelling."""
    found = parse_url(text)
    assert (found.host, found.port) == (host, port)
    assert found.url.raw_host == host
    assert found.url.port == port
    assert found.url.raw_path_qs == "/" + sent.split("/", 3)[3]
    assert found.is_address is host[0].isdecimal()


@pytest.mark.parametrize(
    "text",
    ["ldap:///CN=CA,DC=example?certificateRevocationList;binary", "ldaps://x/", "file:///x", "FTP://a/", "data:,x"],
)  # fmt: skip
def test_other_schemes_are_not_fetched(text: str) -> None:
    """Nothing but http and https."""
    assert refused(text) is FailureKind.SCHEME


@pytest.mark.parametrize(
    "text",
    [
        "", "crl.example.com/ca.crl", "//crl.example.com/", "/ca.crl", "://x", " http://a/", "http//a/", "http:a", "http:///x",
        "http://", "http:/a/", "http://:80/", "http\u017f://a/",
        "http://user@a/", "http://user:word@a/", "http://@a/", "http://a:80@b/", "http://a#@b/",
        "http://a:b/", "http://a:80:80/", "http://a:-1/", "http://a:+80/", "http://a:0/", "http://a:65536/", "http://a:123456/",
        "http://a:\uff18\uff10/",
        "http://a/b c", "http://a/\r\nHost:b", "http://a/\n", "http://a/\x00", "http://a/é", "http://a\\b/\\", "http://a/\x7f",
        "http://[::1/", "http://::1/", "http://[::1]x/", "http://a/" + "x" * MAX_URL,
    ],
)  # fmt: skip
def test_malformed_url_is_refused(text: str) -> None:
    """No credentials, no odd ports, no spaces, nothing that could end a line."""
    kind = refused(text)
    assert kind is FailureKind.URL or (kind is FailureKind.ADDRESS_NOT_ALLOWED and "\\" in text)


@pytest.mark.parametrize(
    "host",
    ["0x7f.1", "2130706433", "127.1", "0177.0.0.1", "[::g]", "[]", "[::1%25lo]", "a..b", "a b", "%31", "\uff11.1.1.1"],
)  # fmt: skip
def test_host_in_an_odd_spelling_is_refused(host: str) -> None:
    """Whatever some resolver would make of it."""
    assert refused(f"http://{host}/") is FailureKind.ADDRESS_NOT_ALLOWED


@given(st.text(max_size=60) | st.from_regex(r"https?://[!-~]{0,40}", fullmatch=True))
def test_any_text_is_a_target_or_refused(text: str) -> None:
    """Never any other error; and the host that is checked is the one that is connected to."""
    try:
        found = parse_url(text)
    except FetchFailed:
        return
    assert found.url.raw_host == found.host
    assert found.url.port == found.port
    assert found.url.user is None
