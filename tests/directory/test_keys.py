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
)
from authz.service import queue_key

OWN: list[RowKey] = [HostKey("a.test", 7), UserKey(7, "a.test"), RegistrationsKey(7, b"s" * 32), TrustKey(7)]


def test_checks_of_one_organization_wait_together_whatever_the_row() -> None:
    """And apart from another's."""
    assert {queue_key(key) for key in OWN} == {queue_key(TrustKey(7))}
    assert queue_key(TrustKey(8)) != queue_key(TrustKey(7))
    assert {key.organization for key in OWN} == {7}


def test_checks_of_unknown_hosts_wait_together_and_apart_from_every_organization() -> None:
    """Strangers can make up as many as they like."""
    assert queue_key(HostKey("a.test")) == queue_key(HostKey("b.test"))
    assert queue_key(HostKey("a.test")) not in {queue_key(key) for key in OWN}
    assert HostKey("a.test").organization == 0


def test_keys_of_different_kinds_are_never_equal() -> None:
    """They are tuples: an organization's number must not stand for a host, nor its anchors for the organization."""
    changed: list[ChangedKey] = [*OWN, OrganizationKey(7), UsersKey(7), CrlKey(b"s" * 32)]
    assert len(set(changed)) == len(changed)
