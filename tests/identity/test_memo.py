"""The memo of claims: bounded in octets, each organization by itself, and few organizations at a time."""

from __future__ import annotations

import pytest

from authz.identity.memo import ClaimsMemos

CLAIMS = {"sub": "alice"}


@pytest.fixture
def memos(monkeypatch: pytest.MonkeyPatch) -> ClaimsMemos[bytes]:
    """Room for 40 octets in each of two organizations."""
    monkeypatch.setattr("authz.identity.memo.MAX_REMEMBERED", 40)
    monkeypatch.setattr("authz.identity.memo.MAX_MEMOS", 2)
    return ClaimsMemos(len)


def test_claims_are_remembered_for_their_organization_alone(memos: ClaimsMemos[bytes]) -> None:
    """The same token may mean something else in another."""
    memos.put(1, b"token", CLAIMS)
    assert memos.get(1, b"token") is CLAIMS
    assert memos.get(2, b"token") is None


def test_claims_beyond_the_octets_push_out_the_first_of_their_own_organization(memos: ClaimsMemos[bytes]) -> None:
    """And nothing of another's."""
    memos.put(1, b"a" * 20, CLAIMS)
    memos.put(2, b"a" * 20, CLAIMS)
    for letter in b"bcdefg":
        memos.put(2, bytes([letter]) * 20, CLAIMS)
    assert memos.get(1, b"a" * 20) is CLAIMS
    assert memos.get(2, b"a" * 20) is None
    assert len(memos) == 3


def test_organization_beyond_the_bound_pushes_out_the_first_met(memos: ClaimsMemos[bytes]) -> None:
    """So that the number of organizations is no way around the octets."""
    for organization in (1, 2, 3):
        memos.put(organization, b"token", CLAIMS)
    assert memos.get(1, b"token") is None
    assert memos.get(3, b"token") is CLAIMS
    assert len(memos) == 2
