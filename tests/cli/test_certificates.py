"""`authz cert`: registered, refused, retired."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
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


def test_files_are_registered_together_or_not_at_all(acme: Run) -> None:
    """One that is wrong keeps the others out; each leaf has its own row."""
    acme("user", "add", "acme", "bob")
    good, bad = write("bob.pem", chain_pem(BOB, CA)), write("bad.pem", CA.pem)
    before = acme("cert", "list", "--json").data
    done = acme("cert", "add", "acme", good, bad, "--user", "bob")
    assert (done.code, "bad.pem" in done.err) == (1, True)
    assert acme("cert", "list", "--json").data == before
    second = write("second.pem", CA.leaf("bob", **LIFE).pem)
    rows = acme("cert", "add", "acme", good, second, "--user", "bob", "--json").data
    assert [row["user"] for row in rows] == ["bob", "bob"]  # type: ignore[attr-defined]
    assert len({row["sha256"] for row in rows}) == 2  # type: ignore[attr-defined]


@contextlib.contextmanager
def standard_input(content: bytes) -> Iterator[None]:
    """What comes from a pipe to this process."""
    before, (end, other) = os.dup(0), os.pipe()
    with open(other, "wb") as pipe:  # noqa: PTH123 - a descriptor
        pipe.write(content)
    os.dup2(end, 0)
    os.close(end)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)


def test_certificate_comes_from_standard_input(acme: Run) -> None:
    """Errors call it by its name."""
    acme("user", "add", "acme", "bob")
    for content, code in ((b"", 1), (b"nonsense", 1), (chain_pem(BOB, CA).encode(), 0)):
        with standard_input(content):
            done = acme("cert", "add", "acme", "-", "--user", "bob")
        assert done.code == code, done.err
        assert ("standard input" in done.err) == bool(code)


def test_same_certificate_added_again_stays_as_it_is(acme: Run) -> None:
    """With other words it is an error that says how to change it."""
    before = acme("cert", "list", "--json").data
    done = acme("cert", "add", "acme", "alice.pem", "--user", "alice", "--label", "laptop")
    assert (done.code, "registration 1 was there already" in done.err) == (0, True)
    other = acme("cert", "add", "acme", "alice.pem", "--user", "alice", "--label", "phone")
    assert (other.code, "authz cert set 1" in other.err) == (1, True)
    assert acme("cert", "list", "--json").data == before


def test_label_and_period_are_changed(acme: Run) -> None:
    """What is not given stays, `none` takes a time away, and the check goes by the new period."""
    row = acme("cert", "set", "1", "--label", "phone", "--until", "+90d", "--json").data
    assert (row["label"], row["from"], row["state"]) == ("phone", None, "active")  # type: ignore[index, call-overload]
    assert row["until"].startswith(f"{NOW + timedelta(days=90):%Y-%m-%d}")  # type: ignore[index, call-overload]
    ended = acme("cert", "set", ALICE.sha256.hex()[:9], "--until", "yesterday")
    assert "has ended already" in ended.err
    assert "certificate_registration_inactive" in acme("check", HOST, "alice", "--cert", "alice.pem").err
    assert acme("cert", "set", "1", "--until", "none", "--json").data["until"] is None  # type: ignore[index, call-overload]
    assert acme("check", HOST, "alice", "--cert", "alice.pem").code == 0


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ((), 2),
        (("--until", "someday"), 2),
        (("--from", "2h"), 2),
        (("--label", "x" * 65), 1),
        (("--from", "tomorrow", "--until", "yesterday"), 1),
    ],
)
def test_change_that_cannot_be_is_refused(acme: Run, options: tuple[str, ...], code: int) -> None:
    """And nothing is changed."""
    before = acme("cert", "show", "1", "--json").data
    assert acme("cert", "set", "1", *options).code == code
    assert acme("cert", "show", "1", "--json").data == before


@pytest.mark.slow
def test_retirement_is_taken_back(acme: Run) -> None:
    """The registration counts as before; of one that was not retired nothing changes."""
    assert "authz cert reinstate 1" in acme("cert", "retire", "1").err
    assert acme("check", HOST, "alice", "--cert", "alice.pem").code == 1
    for _ in range(2):
        assert acme("cert", "reinstate", "1", "--json").data["state"] == "active"  # type: ignore[index, call-overload]
        assert acme("check", HOST, "alice", "--cert", "alice.pem").code == 0


def test_leaf_that_was_registered_anew_is_not_reinstated_beside_it(acme: Run) -> None:
    """Two registrations of one leaf for one user never count at one time."""
    acme("cert", "retire", "1")
    assert acme("cert", "add", "acme", "alice.pem", "--user", "alice").code == 0
    done = acme("cert", "reinstate", "1")
    assert (done.code, "registered already, as 2" in done.err) == (1, True)


def test_certificate_is_named_by_the_beginning_of_its_digest(acme: Run) -> None:
    """Where several registrations are of such a leaf they are listed, and none is changed."""
    digest = ALICE.sha256.hex()
    beginning = digest[: 1 + next(i for i, digit in enumerate(digest) if digit in "abcdef")]
    assert acme("cert", "show", beginning, "--json").data["id"] == 1  # type: ignore[index, call-overload]
    for spelled in (digest.upper(), ALICE.sha256.hex(":")):
        assert acme("cert", "show", spelled, "--json").data["id"] == 1  # type: ignore[index, call-overload]
    acme("user", "add", "acme", "bob")
    acme("cert", "add", "acme", "alice.pem", "--user", "bob")
    done = acme("cert", "retire", digest)
    assert (done.code, "1 (alice of acme), 2 (bob of acme)" in done.err) == (1, True)
    assert {row["state"] for row in acme("cert", "list", "--json").data} == {"active"}  # type: ignore[attr-defined]


def test_eight_digits_may_be_the_beginning_of_a_digest(acme: Run) -> None:
    """Where no registration has that id; fewer are an id."""
    leaf = next(leaf for leaf in iter(lambda: CA.leaf("alice", **LIFE), None) if leaf.sha256.hex()[:8].isdigit())
    acme("cert", "add", "acme", write("digits.pem", chain_pem(leaf, CA)), "--user", "alice")
    assert acme("cert", "show", leaf.sha256.hex()[:8], "--json").data["id"] == 2  # type: ignore[index, call-overload]
    assert acme("cert", "show", f"9{leaf.sha256.hex()[:6]}").code == 1


@pytest.mark.parametrize(
    ("key", "code"), [("f" * 64, 1), ("f" * 65, 2), ("-1", 2), ("1.0", 2), ("0", 1), ("9" * 18, 1)]
)
def test_registration_that_is_not_there_is_an_error(acme: Run, key: str, code: int) -> None:
    """By whatever it is named."""
    assert acme("cert", "show", "--", key).code == code
