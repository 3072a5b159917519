"""What the audit log keeps of a thing says what a reader wants to know, in plain values with stable keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from support.certificates import NOW
from support.command_world import ALICE, ROOT

from authz.admin.described import described_ca, described_organization, described_user, rfc3339
from authz.directory.audit import canonical
from authz.directory.registrations import StoredRegistration
from authz.model import Enforcement, Organization, PathSettings, Registration, TokenSettings, User
from authz.pki import Certificate


def test_settings_of_an_organization_that_are_the_default_are_left_out() -> None:
    """What differs is there, with lists as lists; all of it can be written as canonical JSON."""
    token, path = TokenSettings(issuer="https://id.example"), PathSettings(policies=("1.2.3",), min_rsa_bits=3072)
    described = described_organization(Organization(7, "acme", ("a.example",), token=token, path=path))
    assert described["token"] == {"issuer": "https://id.example"}
    assert described["path"] == {"policies": ["1.2.3"], "min_rsa_bits": 3072}
    assert described["enforcement"] == "required"
    assert canonical(described)


def test_user_who_goes_is_described_with_the_registrations() -> None:
    """For what went is shown nowhere else."""
    user = User(1, 1, "alice", Enforcement.OBSERVE)
    registration = Registration(4, 1, 1, ALICE.sha256, "laptop", retired_at=NOW)
    stored = StoredRegistration("acme", "alice", registration, Certificate.parse(ALICE.der))
    assert "registrations" not in described_user(user)
    (described,) = described_user(user, [stored])["registrations"]
    assert (described["sha256"], described["label"], described["from"]) == (ALICE.sha256.hex(), "laptop", None)
    assert described["retired"] == "2026-06-01T12:00:00Z"


def test_moments_are_in_utc() -> None:
    """Whatever zone they came in."""
    assert rfc3339(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))) == "2025-12-31T23:00:00Z"
    assert rfc3339(datetime(2026, 1, 1, 0, 0, 0, 5, tzinfo=UTC)) == "2026-01-01T00:00:00.000005Z"
    assert rfc3339(None) is None


def test_ca_is_described_by_digest_and_subject() -> None:
    """Its DER is in the directory, or was in a file; one that cannot be read any more has no subject."""
    assert described_ca(ROOT.sha256, "CN=Root") == {"sha256": ROOT.sha256.hex(), "subject": "CN=Root"}
    assert described_ca(b"\xab" * 32, None) == {"sha256": "ab" * 32}
