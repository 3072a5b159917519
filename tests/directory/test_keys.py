"""What a check may find missing: which checks wait together for a row."""

from __future__ import annotations

from authz.directory.keys import (
    ChangedKey,
    CrlKey,
    HostKey,
    OrganizationKey,
    RegistrationsKey,
    RowKey,
    TrustKey,
    UserKey,
    UsersKey,
    owner_of,
)

OWN: list[RowKey] = [HostKey("a.test", 7), UserKey(7, "a.test"), RegistrationsKey(7, b"s" * 32), TrustKey(7)]


def test_checks_of_one_organization_wait_together_whatever_the_row() -> None:
    """And apart from another's."""
    assert {key.queue for key in OWN} == {TrustKey(7).queue}
    assert TrustKey(8).queue != TrustKey(7).queue
    assert {owner_of(key) for key in OWN} == {7}


def test_checks_of_unknown_hosts_wait_together_and_apart_from_every_organization() -> None:
    """Strangers can make up as many as they like."""
    assert HostKey("a.test").queue == HostKey("b.test").queue
    assert HostKey("a.test").queue not in {key.queue for key in OWN}
    assert owner_of(HostKey("a.test")) == 0


def test_keys_of_different_kinds_are_never_equal() -> None:
    """They are tuples: an organization's number must not stand for a host, nor its anchors for the organization."""
    changed: list[ChangedKey] = [*OWN, OrganizationKey(7), UsersKey(7), CrlKey(b"s" * 32)]
    assert len(set(changed)) == len(changed)
