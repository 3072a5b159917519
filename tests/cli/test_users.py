"""`authz user`: added, changed, listed and removed."""

from __future__ import annotations

from support.command_world import Run


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
