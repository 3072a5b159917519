"""`authz cert rotate`: the new certificate is registered, and the one before it ends after the overlap."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support.certificates import chain_pem
from support.command_world import ALICE, BOB, CA, LIFE, NOW, Run, write

NEW = CA.leaf("alice", **LIFE)


def certificates(run: Run) -> list[dict[str, str]]:
    """The registrations."""
    return run("cert", "list", "acme", "--json").data  # type: ignore[return-value]


def test_certificate_before_stays_good_for_the_overlap(acme: Run) -> None:
    """Seven days unless something else is said; the label goes on, and what was done is audited."""
    done = acme("cert", "rotate", "acme", "alice", write("new.pem", chain_pem(NEW, CA)), "--json")
    assert done.code == 0, done.err
    assert (done.data["registered"], done.data["ending"]) == (1, 1)  # type: ignore[index, call-overload]
    former, new = certificates(acme)
    assert (new["sha256"], new["label"], new["state"], new["until"]) == (NEW.sha256.hex(), "laptop", "active", None)
    assert former["state"] == "active"
    assert timedelta(days=6, hours=23) < datetime.fromisoformat(former["until"]) - NOW < timedelta(days=7, hours=1)
    assert [row["action"] for row in acme("audit", "list", "--json", "--limit", "2").data] == ["change", "add"]  # type: ignore[union-attr, index, call-overload]


def test_second_rotation_with_the_same_certificate_changes_nothing(acme: Run) -> None:
    """A pipeline may do it again, and neither moves the end of the one before."""
    file = write("new.pem", chain_pem(NEW, CA))
    assert acme("cert", "rotate", "acme", "alice", file, "--overlap", "1h").code == 0
    before = certificates(acme)
    again = acme("cert", "rotate", "acme", "alice", file, "--overlap", "9d", "--json")
    assert (again.code, again.data["registered"], again.data["ending"]) == (0, 0, 0)  # type: ignore[index, call-overload]
    assert certificates(acme) == before


def test_overlap_of_nothing_ends_the_one_before_at_once(acme: Run) -> None:
    """As after a theft."""
    acme("cert", "rotate", "acme", "alice", write("new.pem", chain_pem(NEW, CA)), "--overlap", "0s")
    assert [row["state"] for row in certificates(acme)] == ["retired", "active"]


def test_certificate_that_was_taken_away_does_not_come_back(acme: Run) -> None:
    """Nothing is changed."""
    acme("cert", "retire", "1")
    done = acme("cert", "rotate", "acme", "alice", write("old.pem", chain_pem(ALICE, CA)))
    assert done.code == 1
    assert "was registered for alice, and has ended" in done.err
    assert [row["state"] for row in certificates(acme)] == ["retired"]


def test_user_with_several_certificates_needs_a_label(acme: Run) -> None:
    """Of two devices one is renewed, and the other goes on."""
    acme("cert", "add", "acme", write("phone.pem", chain_pem(BOB, CA)), "--user", "alice", "--label", "phone")
    file = write("new.pem", chain_pem(NEW, CA))
    refused = acme("cert", "rotate", "acme", "alice", file)
    assert refused.code == 1
    assert "alice has 2 certificates (laptop, phone)" in refused.err
    assert acme("cert", "rotate", "acme", "alice", file, "--label", "phone", "--overlap", "0s").code == 0
    assert [(row["label"], row["state"]) for row in certificates(acme)] == [
        ("laptop", "active"), ("phone", "retired"), ("phone", "active"),
    ]  # fmt: skip


def test_folder_is_rotated_wholly_or_not_at_all(acme: Run) -> None:
    """A file for each user, by its name; every error is printed."""
    acme("user", "add", "acme", "bob")
    Path("renewed").mkdir()
    for name, leaf in (("alice", NEW), ("bob", BOB), ("zed", CA.leaf("zed", **LIFE))):
        write(f"renewed/{name}.pem", chain_pem(leaf, CA))
    refused = acme("cert", "rotate", "acme", "--from", "renewed")
    assert refused.code == 1
    assert "acme has no user zed" in refused.err
    assert len(certificates(acme)) == 1
    Path("renewed/zed.pem").unlink()
    done = acme("cert", "rotate", "acme", "--from", "renewed", "--json")
    assert (done.data["registered"], done.data["ending"]) == (2, 1)  # type: ignore[index, call-overload]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["alice", "alice.pem", "--overlap=-1d"],
        ["alice"],
        ["alice", "a.pem", "--from", "x"],
        ["--from", "missing"],
        ["--from", "."],
    ],
)
def test_words_that_do_not_say_what_is_renewed_are_refused(acme: Run, words: list[str]) -> None:
    """With exit code 2 or 1, and nothing changed."""
    Path("root.pem").unlink()
    Path("ca.pem").unlink()
    Path("alice.pem").unlink()
    assert acme("cert", "rotate", "acme", *words).code > 0
    assert len(certificates(acme)) == 1


def test_every_file_that_is_wrong_is_named(acme: Run) -> None:
    """And two for one user, of which either may be the right one."""
    folder = Path("renewed")
    folder.mkdir()
    for name, text in (
        ("alice.crt", chain_pem(NEW, CA)),
        ("alice.pem", chain_pem(BOB, CA)),
        ("bob.pem", ""),
        ("c.pem", "x"),
    ):
        (folder / name).write_text(text)
    done = acme("cert", "rotate", "acme", "--from", "renewed")
    assert (done.code, len(certificates(acme))) == (1, 1)
    for said in (
        "renewed/alice.crt and renewed/alice.pem are both for alice",
        "bob.pem is empty",
        "c.pem cannot be read",
    ):
        assert said in done.err
    assert "3 errors: nothing was changed" in done.err


def test_next_rotation_within_the_overlap_renews_the_newest(acme: Run) -> None:
    """The one that was renewed before ends as it was said then."""
    newest = CA.leaf("alice", **LIFE)
    for name, leaf, overlap in (("new", NEW, "7d"), ("newest", newest, "1h")):
        assert (
            acme(
                "cert", "rotate", "acme", "alice", write(f"{name}.pem", chain_pem(leaf, CA)), "--overlap", overlap
            ).code
            == 0
        )
    first, second, third = certificates(acme)
    assert first["until"] > second["until"]
    assert (third["sha256"], third["until"]) == (newest.sha256.hex(), None)
