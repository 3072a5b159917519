"""What ends when, as the operator reads it: by certificate, user, anchor or organization."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from support.command_world import ALICE, CA, NOW, ROOT, Run, write
from support.sightings import add_registration, add_sighting

from authz.directory import Store
from authz.directory.organizations import get_organization
from authz.directory.seen_cas import keep_seen_cas
from authz.pki import Certificate

SECOND_LEVEL = {"registration", "anchor", "intermediate", "crl"}


def rows(run: Run, *options: str) -> list[dict[str, Any]]:
    """What is printed as JSON."""
    done = run("expiry", "--days", "31", *options, "--json")
    assert done.code == 0, done.err
    assert isinstance(done.data, list)
    return done.data


def presented() -> None:
    """Alice showed her certificate."""
    store = Store("sqlite:///test.db")
    path = {"path": CA.sha256 + ROOT.sha256, "anchor_sha256": ROOT.sha256}
    add_sighting(
        store, "acme", "alice", NOW, sha256=ALICE.sha256, not_after=Certificate.parse(ALICE.der).not_after, **path
    )
    store.close()


def test_each_thing_that_ends_is_a_row(acme: Run) -> None:
    """With its kind, whose it is, and how many users stop."""
    presented()
    found = rows(acme)
    assert {row["kind"] for row in found} == SECOND_LEVEL
    [alice] = [row for row in found if row["kind"] == "registration"]
    assert (alice["organization"], alice["user"], alice["stops"]) == ("acme", "alice", 1)
    assert ALICE.sha256.hex() in alice["what"]
    assert acme("expiry", "--days", "31").err == "5 end within 31 days; users who stop by an end of their own: 1\n"


def test_name_of_a_ca_that_a_client_sends_draws_on_no_terminal(acme: Run) -> None:
    """As a table, and as JSON."""
    sent = ROOT.intermediate("\x1b[31mred\nCN=\u202efree", not_after=NOW + timedelta(days=5))
    store = Store("sqlite:///test.db")
    with store.transaction() as connection:
        keep_seen_cas(connection, [(get_organization(connection, "acme").id, sent.sha256, sent.der)], NOW)
    store.close()
    for options in ((), ("--json",)):
        out = acme("expiry", "--days", "31", *options).out
        assert "[31mred" in out
        assert not any(sign in out for sign in ("\x1b", "\u202e", "\nCN=free"))


def test_user_who_stops_by_two_ends_at_one_moment_is_counted_once(acme: Run) -> None:
    """Each end is a row, for each must be renewed."""
    store = Store("sqlite:///test.db")
    for _ in range(2):
        add_registration(store, "acme", "alice", NOW, not_after=NOW + timedelta(days=400))
    store.close()
    done = acme("expiry", "--days", "401", "--json")
    assert [row["stops"] for row in done.data if row["kind"] == "registration"] == [0, 1, 1]  # type: ignore[attr-defined]
    assert done.err.endswith("users who stop by an end of their own: 1\n")
    sums = acme("expiry", "--days", "401", "--by", "organization", "--json").data
    assert [row["stops"] for row in sums] == [0, 1]  # type: ignore[attr-defined]


def test_users_who_stop_are_rows_of_their_own(acme: Run) -> None:
    """And no one else: for each end by which a user stops, what is above it first."""
    acme("user", "add", "acme", "bob")
    named = [(row["user"], row["kind"]) for row in rows(acme, "--by", "user")]
    assert named == [("alice", "crl"), ("alice", "crl"), ("alice", "registration")]
    told = acme("expiry", "--days", "31", "--by", "user").err
    assert told == "3 ends by which a user stops within 31 days; users who stop by an end of their own: 1\n"


def test_sums_by_organization_and_anchor(acme: Run) -> None:
    """What ends first of each; what has no anchor that is known stands under an empty one."""
    presented()
    [others, own] = rows(acme, "--by", "organization")
    assert (others["organization"], others["ends"]) == ("", 2)
    assert (own["organization"], own["ends"], own["stops"]) == ("acme", 3, 1)
    assert own["first"] == min(row["at"] for row in rows(acme) if row["organization"] == "acme")
    [anchor] = rows(acme, "--by", "anchor")
    assert (anchor["anchor"], anchor["ends"], anchor["stops"]) == (ROOT.sha256.hex(), 5, 1)


def test_file_of_own_tls_is_a_row(acme: Run) -> None:
    """As the settings name it."""
    write("server.pem", ROOT.pem)
    files = 'certificate = "server.pem"\nkey = "server.key"\nclient_ca = "server.pem"\nnames = ["proxy"]\n'
    listener = f'[[listener]]\naddress = "127.0.0.1:8443"\n[listener.tls]\n{files}'
    settings = write("authz.toml", f'database = "sqlite:///test.db"\n{listener}')
    done = acme("--config", settings, "expiry", "--days", "31", "--json")
    assert done.code == 0, done.err
    own = [row["what"] for row in done.data if row["kind"] == "own_tls"]  # type: ignore[attr-defined]
    assert own == ["certificate of the service in server.pem", "certificate of a CA of its clients in server.pem"]


@pytest.mark.parametrize("days", ["-1", "40000"])
def test_days_without_sense_are_a_usage_error(run: Run, days: str) -> None:
    """Before anything is read."""
    assert run("expiry", "--days", days).code == 2
