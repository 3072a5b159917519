"""`authz user`: added, changed, listed and removed."""

from __future__ import annotations

import os
import shlex
import sqlite3
from contextlib import closing

from support.command_world import ALICE, Run


def test_user_has_the_organizations_enforcement_unless_one_is_given(acme: Run) -> None:
    """A user who needs a certificate cannot pass without one, and the hint says so."""
    assert acme("user", "set", "acme", "alice", "--enforcement", "observe", "--json").data == {
        "organization": "acme",
        "user": "alice",
        "enforcement": "observe",
        "active": True,
    }
    added = acme("user", "add", "acme", "bob")
    assert "hint: denied until a certificate is registered" in added.err
    assert "hint:" not in acme("user", "add", "acme", "carol", "--enforcement", "off").err


def test_user_that_is_switched_off_is_denied(acme: Run) -> None:
    """Until it is switched on again."""
    for option, code in (("--off", 1), ("--on", 0)):
        assert acme("user", "set", "acme", "alice", option).code == 0
        assert acme("check", "api.acme.test", "alice", "--cert", "alice.pem").code == code


def test_list_without_users_says_how_to_add_one(run: Run) -> None:
    """It is no failure."""
    run("org", "add", "acme")
    done = run("user", "list", "acme")
    assert (done.code, done.out) == (0, "")
    assert "hint: add one: authz user add acme NAME" in done.err


def test_user_is_shown_with_certificates(acme: Run) -> None:
    """In JSON as a list, empty where there are none; the hint then says how to register one, whatever the name."""
    shown = acme("user", "show", "acme", "alice", "--json").data
    assert [row["label"] for row in shown["certificates"]] == ["laptop"]  # type: ignore[index, call-overload]
    assert ALICE.sha256.hex() in acme("user", "show", "acme", "alice").out
    acme("user", "add", "acme", "b o'b")
    assert acme("user", "show", "acme", "b o'b", "--json").data["certificates"] == []  # type: ignore[index, call-overload]
    hint = acme("user", "show", "acme", "b o'b").err.partition("certificate: ")[2]
    assert shlex.split(hint) == ["authz", "cert", "add", "acme", "chain.pem", "--user", "b o'b"]


def test_user_is_shown_with_what_was_presented(acme: Run) -> None:
    """When first and last, at which listener, and what matched it."""
    path = os.environ["AUTHZ_DATABASE"].removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO last_seen (organization_id, user_id, sha256, first_seen, last_seen, not_after, issuer, "
            "spki_sha256, anchor_sha256, path, listener, matched) "
            "VALUES (1, 1, x'ab', 0, 60000000, 0, x'', x'', x'', x'', 'envoy', 'key')"
        )
    shown = acme("user", "show", "acme", "alice", "--json").data
    [seen] = shown["seen"]  # type: ignore[index, call-overload]
    assert (seen["sha256"], seen["listener"], seen["matched"]) == ("ab", "envoy", "key")
    assert (seen["first_seen"], seen["last_seen"]) == ("1970-01-01T00:00:00+00:00", "1970-01-01T00:01:00+00:00")
    assert "presented" in acme("user", "show", "acme", "alice").err
