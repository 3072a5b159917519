"""Who would be refused is known before a change, by what was seen of them lately."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from support.certificates import NOW
from support.command_world import ALICE, BOB, CA, ROOT

from authz.admin.audited_store import AuditedStore
from authz.admin.documents import Kind, Wanted, registration_content, user_content
from authz.admin.plan import Action, Step
from authz.admin.refusals import LATELY, Refusal, refusals
from authz.directory.schema import last_seen
from authz.pki import Certificate


@pytest.fixture
def seen(store: AuditedStore) -> AuditedStore:
    """Alice was seen an hour ago with her certificate, below the root; bob too long ago."""
    store.add_user("acme", "bob")
    for name, leaf, at in (("alice", ALICE, NOW - timedelta(hours=1)), ("bob", BOB, NOW - LATELY - timedelta(hours=1))):
        store.register("acme", name, Certificate.parse(leaf.der), [Certificate.parse(CA.der)], now=NOW)
        note(store, name, leaf.sha256, at)
    return store


def note(store: AuditedStore, name: str, sha256: bytes, at: datetime) -> None:
    """A row of what was last seen."""
    user = store.user("acme", name)
    row = {
        "organization_id": user.organization_id, "user_id": user.id, "sha256": sha256, "first_seen": at,
        "last_seen": at,
        "not_after": at, "issuer": b"", "spki_sha256": b"", "anchor_sha256": ROOT.sha256, "path": b"", "listener": "l",
        "matched": "certificate",
    }  # fmt: skip
    with store.transaction() as connection:
        connection.execute(last_seen.insert().values(**row))


def step(action: Action, kind: Kind, content: bytes = b"", user: str = "", name: str = "") -> Step:
    """A step of acme's."""
    return Step(action, Wanted(kind, "acme", user, name, content), b"{}", 1, None)


ENDED = registration_content("alice", "", (None, None, NOW), b"")
LATER = registration_content("alice", "", (None, None, NOW + timedelta(days=1)), b"")
INACTIVE, ACTIVE = user_content("required", active=False), user_content("required", active=True)
LEAF = ALICE.sha256.hex()


@pytest.mark.parametrize(
    ("planned", "why"),
    [
        (step(Action.REMOVE, Kind.USER, user="alice"), "the user is removed"),
        (step(Action.CHANGE, Kind.USER, INACTIVE, "alice"), "the user is switched off"),
        (step(Action.REMOVE, Kind.CERTIFICATE, user="alice", name=LEAF), "the registration is retired"),
        (step(Action.CHANGE, Kind.CERTIFICATE, ENDED, "alice", LEAF), "the registration is retired"),
        (step(Action.REMOVE, Kind.ANCHOR, name=ROOT.sha256.hex()), "the anchor of the certificate is removed"),
        (step(Action.REMOVE, Kind.ORGANIZATION), "the organization is removed or switched off"),
        (step(Action.CHANGE, Kind.ORGANIZATION, b'{"active":false}'), "the organization is removed or switched off"),
        (step(Action.CHANGE, Kind.USER, ACTIVE, "alice"), None),
        (step(Action.CHANGE, Kind.CERTIFICATE, LATER, "alice", LEAF), None),
        (step(Action.REMOVE, Kind.USER, user="bob"), None),
        (step(Action.REMOVE, Kind.CERTIFICATE, user="alice", name=BOB.sha256.hex()), None),
        (step(Action.REMOVE, Kind.CERTIFICATE, user="alice", name=f"key {LEAF}"), None),
        (step(Action.REMOVE, Kind.CERTIFICATE, user="alice", name=f"identity {ROOT.sha256.hex()} dns:a"), None),
        (step(Action.REMOVE, Kind.ANCHOR, name=CA.sha256.hex()), None),
        (step(Action.REMOVE, Kind.INTERMEDIATE, name=CA.sha256.hex()), None),
        (step(Action.CHANGE, Kind.ORGANIZATION, b'{"active":true}'), None),
        (step(Action.ADD, Kind.USER, ACTIVE, "alice"), None),
    ],
    ids=range(17),
)
@pytest.mark.slow
def test_user_seen_lately_is_named_with_the_reason(seen: AuditedStore, planned: Step, why: str | None) -> None:
    """If the step ends what the user was seen with, and not otherwise."""
    with seen.reading() as connection:
        named = list(refusals(connection, [planned], NOW))
    assert named == ([] if why is None else [Refusal("acme", "alice", why, 1, NOW - timedelta(hours=1))])


def test_sentence_says_who_why_and_when() -> None:
    """For the operator."""
    assert str(Refusal("acme", "alice", "certificate_required", 3, NOW)) == (
        "alice of acme would be refused: certificate_required (3 times, last 2026-06-01 12:00:00Z)"
    )
