"""`authz check`: what it shows of a decision, and its exit code."""

from __future__ import annotations

from datetime import timedelta

from support.command_world import ALICE, HOST, NOW, Run


def test_check_allowed_shows_every_gate_and_exits_zero(acme: Run) -> None:
    """Subject, serial, SHA-256, where found, which CRL."""
    done = acme("check", HOST, "alice", "--cert", "alice.pem")
    assert done.code == 0, done.err
    for seen in ("CN=alice", ALICE.sha256.hex(), "known intermediate", "trust anchor", "CRL 1 of CN=CA", "laptop"):
        assert seen in done.out


def test_check_denied_says_why_and_exits_one(acme: Run) -> None:
    """The reason, and what to do about it."""
    done = acme("check", HOST, "alice")
    assert done.code == 1
    assert "certificate_required" in done.err
    assert "hint:" in done.err


def test_check_denied_names_the_certificate_at_fault(acme: Run) -> None:
    """An expired one by its subject and date."""
    done = acme("check", HOST, "alice", "--cert", "alice.pem", "--at", (NOW + timedelta(days=60)).isoformat())
    assert done.code == 1
    assert "certificate_expired" in done.err
    assert "CN=alice" in done.out


def test_check_as_json_has_a_row_a_gate(acme: Run) -> None:
    """For programs."""
    gates = [row["gate"] for row in acme("check", HOST, "alice", "--cert", "alice.pem", "--json").data]  # type: ignore[attr-defined]
    assert gates == ["organization", "user", "header", *["certificate"] * 3, *["revocation"] * 2, "binding"]
