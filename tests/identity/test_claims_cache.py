"""The memo of claims: bounded in bytes, and no organization's tokens drive out another's."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from authz.identity.claims import MAX_CLAIMS, ReadClaims, Signature
from authz.identity.claims_cache import ClaimsCache
from authz.identity.strict_json import read_object
from authz.pki.cache import SharedCache

CLAIMS = ReadClaims({"sub": "alice"})


def test_claims_are_remembered_for_their_organization_alone() -> None:
    """The same token may mean something else in another."""
    memo = ClaimsCache(SharedCache())
    memo.put(1, b"token", CLAIMS)
    memo.put(2, b"other", CLAIMS)
    assert memo.get(1, b"token") is CLAIMS
    assert memo.get(2, b"token") is memo.get(3, b"token") is None


def test_flood_of_tokens_leaves_another_organizations() -> None:
    """However many an issuer signs."""
    memo = ClaimsCache(SharedCache(200_000))
    memo.put(1, b"token", CLAIMS)
    for number in range(1_000):
        memo.put(2, b"%d" % number, CLAIMS)
    assert memo.get(1, b"token") is CLAIMS
    assert memo.get(2, b"0") is None
    assert memo.get(2, b"999") is CLAIMS


def test_several_sources_share_what_an_organization_has() -> None:
    """A token and a payload are different keys."""
    whole = SharedCache()
    ClaimsCache(whole).put(1, b"token", CLAIMS)
    assert ClaimsCache(whole).get(1, b"token") is CLAIMS


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(
            {"iss": "https://idp.test", "sub": "alice", "aud": ["a", "b"], "exp": 1_900_000_000, "roles": ["x"]}
        ),
        json.dumps({"aud": [[] for _ in range(300)]}),
        json.dumps({"cnf": {f"k{number}": {} for number in range(120)}}),
        json.dumps({"aud": ["\U0001f600" + "x" * 2_000]}, ensure_ascii=False),
        json.dumps({"aud": [number / 7 for number in range(400)]}),
        json.dumps({"aud": [10**300] * 20}),
    ],
    ids=["usual", "lists", "objects", "wide", "floats", "integers"],
)
def test_claims_weigh_what_they_take(text: str) -> None:
    """Whatever JSON makes of few octets."""
    whole = SharedCache()
    memo = ClaimsCache(whole)
    data = text.encode()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(30):
        memo.put(1, bytes(2_000) + b"%d" % number, ReadClaims(read_object(data)))
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(whole) == 30
    assert taken <= whole.weight <= 3 * taken


def test_claims_that_take_much_are_not_remembered() -> None:
    """They are read each time."""
    memo = ClaimsCache(SharedCache())
    memo.put(1, b"token", ReadClaims({"aud": [[] for _ in range(MAX_CLAIMS // 60)]}))
    assert memo.get(1, b"token") is None


def test_permissions_are_not_remembered_and_do_not_hinder() -> None:
    """Keycloak writes an object for each; a token that was not remembered would be verified each time, and charged."""
    memo = ClaimsCache(SharedCache())
    claims = {"sub": "alice", "realm": {"roles": ["a"] * 400}, "permissions": [{"id": 1} for _ in range(400)]}
    memo.put(1, b"token", ReadClaims(claims))
    assert memo.get(1, b"token") is not None


def test_what_a_token_says_of_its_key_is_weighed() -> None:
    """A kid may be as long as a token."""
    assert ReadClaims({}, "t" * 1_000, Signature("k" * 5_000, "ES256", 1)).weight > ReadClaims({}).weight + 6_000
