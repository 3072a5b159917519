"""URIs in one spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.pki.x509.uri import normalized

URI = "http://crl.example.test/ca.crl"


@pytest.mark.parametrize(
    "spelled",
    [
        "HTTP://CRL.Example.Test/ca.crl",
        "http://crl.example.test:80/ca.crl",
        "http://crl.example.test:/ca.crl",
        "http://crl.example.test/%63a%2ecrl",
        "http://%43rl.example.test/ca.crl",
        "http://crl.example.test/./x/../ca.crl",
        "http://crl.example.test/../%2e%2E/ca.crl",
    ],
)
def test_spellings_of_one_uri_are_alike(spelled: str) -> None:
    """Case of scheme and host, the default port, escaped letters, and dots in the path say nothing."""
    assert normalized(spelled) == URI


@pytest.mark.parametrize(
    "other",
    [
        "https://crl.example.test/ca.crl",
        "http://crl.example.test/CA.crl",
        "http://crl.example.test:8080/ca.crl",
        "http://crl.example.test/ca.crl/",
        "http://crl.example.test//ca.crl",
        "http://crl.example.test/ca.crl?",
        "http://crl.example.test/ca.crl#a",
        "http://crl.example.test%2Fca.crl",
        "http://crl.example.test/%2Fca.crl",
        "http://crl.example.test/%252e/ca.crl",
        "http://user@crl.example.test/ca.crl",
        "http://crl.example.test\\@/ca.crl",
    ],
)
def test_another_uri_stays_another(other: str) -> None:
    """A reserved character keeps its escape, the path its case, and the query itself."""
    assert normalized(other) != URI


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("LDAP://DC1.Test:389/CN=A%2cB?certificateRevocationList?base", None),
        ("ftp://CRL.test:21/a/b/..", "ftp://crl.test/a/"),
        ("https://CRL.test", "https://crl.test/"),
        ("https://[2001:DB8::1]:443?a", "https://[2001:db8::1]/?a"),
        ("ldap:///CN=A", "ldap:///CN=A"),
        ("URN:Crl:A", "URN:Crl:A"),
        ("file://HOST/A/../b", "file://HOST/A/../b"),
        ("http:no-host", "http:no-host"),
        ("http://a:port/", "http://a:port/"),
        ("http://%%34%31/", "http://%%34%31/"),
        ("HTTP://A/%4", "HTTP://A/%4"),
        ("http://\u212a/", "http://\u212a/"),
        ("http://\u00c9/", "http://\u00c9/"),
        ("http://A B/", "http://A B/"),
    ],
)
def test_schemes_have_their_own_rules(uri: str, expected: str | None) -> None:
    """Of http, https, ldap and ftp; any other, and what is malformed, stays as it is."""
    assert normalized(uri) == (expected or "ldap://dc1.test/CN=A%2CB?certificateRevocationList?base")


@given(st.text("Hhtps:/.?#%2eE4@[]aA0", max_size=30).map("http://".__add__))
def test_normalizing_twice_changes_nothing(uri: str) -> None:
    """So that equality of the result is an equivalence."""
    assert normalized(normalized(uri)) == normalized(uri)
