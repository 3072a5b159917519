"""`authz cert`: registered, refused, retired."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.certificates import Authority, Minted, chain_pem
from support.command_world import ALICE, BOB, CA, HOST, LIFE, NOW, ROOT, Run, write


def test_certificate_retired_is_denied(acme: Run) -> None:
    """From that moment on."""
    assert acme("cert", "retire", "1").code == 0
    done = acme("check", HOST, "alice", "--cert", "alice.pem")
    assert (done.code, "certificate_registration_inactive" in done.err) == (1, True)


def test_leaf_registered_elsewhere_is_reported(acme: Run) -> None:
    """Not refused."""
    acme("org", "add", "other")
    acme("user", "add", "other", "alice")
    done = acme("cert", "add", "other", "alice.pem", "--user", "alice")
    assert done.code == 0
    assert "registered in acme too" in done.err
    assert "does not verify now" in done.err


def key_and(one: Minted) -> str:
    """A careless file."""
    return one.key_pem + one.pem


SELF_SIGNED = Authority.root("selfish", **LIFE)


EXPIRED = CA.leaf("old", not_before=NOW - timedelta(days=9), not_after=NOW - timedelta(days=1))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (key_and(ALICE), "private key"),
        ("", "empty"),
        ("nonsense", "cannot be read"),
        (ALICE.pem.replace("CERTIFICATE", "PUBLIC KEY"), "PUBLIC KEY"),
        (ALICE.pem + ALICE.pem[:200], "cannot be read"),
        (chain_pem(ALICE, BOB), "2 certificates of users"),
        (chain_pem(ROOT, CA), "no certificate of a user"),
        (CA.pem, "CA certificate"),
        (SELF_SIGNED.pem, "CA certificate"),
        (EXPIRED.pem, "expired"),
        (chain_pem(BOB, *(Authority.root(f"R{number}", **LIFE) for number in range(10))), "11 certificates"),
        ("x" * (1024 * 1024 + 1), "larger"),
    ],
)
def test_certificate_file_that_is_wrong_is_refused_with_a_sentence(acme: Run, content: str, said: str) -> None:
    """And nothing is registered."""
    before = acme("cert", "list", "--json").data
    done = acme("cert", "add", "acme", write("bad.pem", content), "--user", "alice")
    assert done.code == 1
    assert said in done.err
    assert "hint: " in done.err
    assert "Traceback" not in done.err
    assert acme("cert", "list", "--json").data == before


def test_chain_in_any_order_finds_the_leaf(acme: Run) -> None:
    """Intermediate first, leaf last."""
    acme("user", "add", "acme", "bob")
    done = acme("cert", "add", "acme", write("bob.pem", chain_pem(CA, BOB)), "--user", "bob", "--json")
    assert done.data["sha256"] == BOB.sha256.hex()  # type: ignore[index, call-overload]


def test_certificate_is_not_registered_by_its_common_name(acme: Run) -> None:
    """No name in a certificate says whose it is: without --user the command registers nothing."""
    before = acme("cert", "list", "--json").data
    done = acme("cert", "add", "acme", write("again.pem", chain_pem(CA.leaf("alice", **LIFE), CA)))
    assert (done.code, done.out) == (2, "")
    assert "--user" in done.err
    assert acme("cert", "list", "--json").data == before


def test_registration_that_has_ended_already_is_warned_of(acme: Run) -> None:
    """Of one that ends later nothing is said."""
    acme("user", "add", "acme", "bob")
    write("bob.pem", chain_pem(BOB, CA))
    add = ("cert", "add", "acme", "bob.pem", "--user", "bob", "--until")
    assert "has ended already" in acme(*add, "2001-01-01").err
    assert "has ended already" not in acme(*add, "2999-01-01").err
