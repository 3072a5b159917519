"""What the metrics say of the directory: what ends first, and whom `required` would refuse."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from support.certificates import NOW, Authority
from support.directory import new_store

from authz.directory import Store
from authz.directory.report import _FIRST_ENDS, ReportReader
from authz.directory.schema import anchors, decisions, directory_changes, last_seen, registrations, users
from authz.model import DirectoryReport, Expiring, Organization, TokenSettings, key_set_id
from authz.pki import Certificate

DAY = timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Two organizations, each with a user."""
    made = new_store(f"sqlite:///{tmp_path}/authz.db", fill)
    yield made
    made.close()


def fill(store: Store) -> None:
    """Add them."""
    for name in ("acme", "globex"):
        store.add_organization(Organization(0, name, (f"{name}.example.test",)))
        store.add_user(name, "alice")


def report(store: Store, reader: ReportReader | None = None) -> DirectoryReport:
    """What is read now."""
    with store.reading() as connection:
        return (reader or ReportReader()).read(connection, NOW)


def registered(store: Store, organization: str, **columns: object) -> None:
    """A registration of alice's, with these dates."""
    with store.transaction() as connection:
        number = connection.execute(sa.text("SELECT count(*) FROM registrations")).scalar_one()
        row = connection.execute(
            sa.text(
                "SELECT o.id, u.id FROM organizations o JOIN users u ON u.organization_id = o.id WHERE o.name = :n"
            ),
            {"n": organization},
        ).one()
        values = {"organization_id": row[0], "user_id": row[1], "sha256": b"%032d" % number, "der": b"", "chain": b""}
        values |= {"label": "", "created_at": NOW}
        connection.execute(sa.insert(registrations).values(**values, **columns))


def registration_ends(store: Store) -> dict[str, timedelta]:
    """How long the first registration of each organization lasts."""
    ends = report(store).ends
    return {name: end - NOW for (kind, name), end in ends.items() if kind is Expiring.REGISTRATION}


def test_first_registration_to_end_counts_by_certificate_period_or_retirement(store: Store) -> None:
    """Whichever ends first; each organization has its own."""
    registered(store, "acme", not_after=NOW + 9 * DAY)
    registered(store, "acme", not_after=NOW + 5 * DAY)
    registered(store, "globex", not_after=NOW + 9 * DAY, valid_until=NOW + 3 * DAY)
    assert registration_ends(store) == {"acme": 5 * DAY, "globex": 3 * DAY}
    registered(store, "acme", not_after=NOW + 9 * DAY, retired_at=NOW + 4 * DAY)
    assert registration_ends(store) == {"acme": 4 * DAY, "globex": 3 * DAY}


def test_registration_of_a_key_outlives_its_certificate(store: Store) -> None:
    """It ends by its own period alone, also after the certificate has."""
    key = {"kind": "key", "spki_sha256": b"k" * 32}
    registered(store, "acme", not_after=NOW + DAY, **key)
    registered(store, "globex", not_after=NOW - DAY, valid_until=NOW + 2 * DAY, **key)
    assert registration_ends(store) == {"globex": 2 * DAY}


@pytest.mark.parametrize(
    "columns",
    [
        {"not_after": NOW - DAY},
        {"not_after": NOW + DAY, "valid_until": NOW - DAY},
        {"not_after": NOW + DAY, "retired_at": NOW - DAY},
        {"not_after": NOW - DAY, "valid_until": NOW + DAY},
        {"not_after": None},
    ],
)
def test_registration_that_has_ended_hides_no_other(store: Store, columns: dict[str, object]) -> None:
    """Expired, over, retired, or of a date that is not known."""
    registered(store, "acme", **columns)
    registered(store, "acme", not_after=NOW + 7 * DAY)
    assert registration_ends(store) == {"acme": 7 * DAY}


def test_registration_of_what_is_inactive_does_not_count(store: Store) -> None:
    """A user, or an organization, that is switched off."""
    registered(store, "acme", not_after=NOW + DAY)
    registered(store, "globex", not_after=NOW + DAY)
    with store.transaction() as connection:
        connection.execute(sa.update(users).where(users.c.organization_id == 1).values(active=False))
        connection.execute(sa.text("UPDATE organizations SET active = 0 WHERE name = 'globex'"))
    assert registration_ends(store) == {}


def seen(store: Store, organization: int, *, ago: timedelta, left: timedelta) -> None:
    """A certificate that the organization's user showed so long ago, and that lasts so long."""
    with store.transaction() as connection:
        number = connection.execute(sa.text("SELECT count(*) FROM last_seen")).scalar_one()
        digests = dict.fromkeys(("issuer", "spki_sha256", "anchor_sha256", "path"), b"")
        values = {"organization_id": organization, "user_id": organization, "sha256": b"%032d" % number}
        values |= {"first_seen": NOW - ago, "last_seen": NOW - ago, "not_after": NOW + left, "listener": "envoy"}
        connection.execute(sa.insert(last_seen).values(**digests, **values))


def test_first_presented_certificate_to_end_is_one_that_was_seen_lately(store: Store) -> None:
    """Registered or not; one that has a successor, has expired, or is of an inactive user hides no other."""
    for ago, left in ((1, 9), (1, 4), (20, 2), (1, -1)):
        seen(store, 1, ago=ago * DAY, left=left * DAY)
    seen(store, 2, ago=DAY, left=DAY)
    with store.transaction() as connection:
        connection.execute(sa.update(users).where(users.c.organization_id == 2).values(active=False))
    assert report(store).ends == {(Expiring.PRESENTED, "acme"): NOW + 4 * DAY}


def test_first_ends_are_read_from_indexes(store: Store) -> None:
    """A step in an index for each organization; only the organizations themselves are gone through."""
    statement = str(_FIRST_ENDS.compile(dialect=sqlite.dialect()))
    with store.reading() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", (1,) * statement.count("?")).all()
    details = [row.detail for row in plan]
    assert [detail for detail in details if detail.startswith("SCAN")] == ["SCAN organizations"]
    assert not [detail for detail in details if "TEMP B-TREE" in detail], details
    for index in (f"registrations_organization_id_{end}" for end in ("not_after", "valid_until", "retired_at")):
        assert any(f"ix_{index} (organization_id=? AND" in detail for detail in details), details


def test_authorities_count_for_their_organization_and_shared_ones_for_none(store: Store) -> None:
    """With when they end, and their keys, by which CRLs are theirs; one that has ended hides no other."""
    root, old = (Authority.root(name, not_after=NOW + days * DAY) for name, days in (("Root", 5), ("Old", -1)))
    shared, issuing = Authority.root("Shared", not_after=NOW + 2 * DAY), root.intermediate("CA", not_after=NOW + DAY)
    parsed = {one: Certificate.parse(one.der) for one in (root, old, shared, issuing)}
    store.add_anchors("acme", [parsed[root], parsed[old]])
    store.add_anchors("globex", [parsed[root]])
    store.add_anchors(None, [parsed[shared]])
    store.add_intermediates("globex", [parsed[issuing]])
    got = report(store)
    assert {key: end - NOW for key, end in got.ends.items()} == {
        (Expiring.ANCHOR, "acme"): 5 * DAY,
        (Expiring.ANCHOR, "globex"): 5 * DAY,
        (Expiring.ANCHOR, ""): 2 * DAY,
        (Expiring.INTERMEDIATE, "globex"): DAY,
    }
    assert got.signers[parsed[root].plain_spki_sha256] == {"acme", "globex"}
    assert got.signers[parsed[old].plain_spki_sha256] == {"acme"}
    assert got.signers[parsed[shared].plain_spki_sha256] == {""}
    assert got.signers[parsed[issuing].plain_spki_sha256] == {"globex"}


def test_certificate_that_cannot_be_read_hides_no_other(store: Store) -> None:
    """Neither does one that was read before, and is gone."""
    root = Certificate.parse(Authority.root("Root", not_after=NOW + DAY).der)
    store.add_anchors("acme", [root])
    with store.transaction() as connection:
        connection.execute(sa.insert(anchors).values(organization_id=1, sha256=b"x" * 32, der=b"no certificate"))
    reader = ReportReader()
    assert report(store, reader).ends == {(Expiring.ANCHOR, "acme"): NOW + DAY}
    store.remove_anchor("acme", root.sha256)
    assert report(store, reader).ends == {}
    assert list(reader._facts) == [b"x" * 32]


def test_authority_is_parsed_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand organizations have twenty thousand of them."""
    store.add_anchors("acme", [Certificate.parse(Authority.root("Root").der)])
    reader = ReportReader()
    first = report(store, reader)
    monkeypatch.setattr("authz.directory.report.Certificate", None)
    assert report(store, reader) == first


def decided(store: Store, *, organization: int | None = 1, user: str = "alice", outcome: str = "observed") -> None:
    """A decision of the history."""
    with store.transaction() as connection:
        number = connection.execute(sa.text("SELECT count(*) FROM decisions")).scalar_one()
        texts = dict.fromkeys(("reason", "detail", "host", "method", "target", "organization", "subject"), "")
        values = {"decision_id": str(number), "at": NOW, "listener": "envoy", "outcome": outcome, "user_name": user}
        values |= {"organization_id": organization, "proven": organization is not None, "account": user}
        connection.execute(sa.insert(decisions).values(**texts, **values))


def test_users_whom_required_would_refuse_are_counted_once(store: Store) -> None:
    """From the history: not the denied, and none of an organization that is gone or was never known."""
    for user in ("alice", "alice", "bob"):
        decided(store, user=user)
    decided(store, organization=2)
    decided(store, organization=2, user="carol", outcome="denied")
    decided(store, organization=99)
    decided(store, organization=None)
    assert report(store).observed == {"acme": 2, "globex": 1}


def test_key_sets_are_those_of_active_organizations(store: Store) -> None:
    """Several may share one; what stands for it is as long for every location."""
    for name, keys in (
        ("b", "https://issuer.example.test/keys"),
        ("c", "https://issuer.example.test/keys"),
        ("d", "/" * 9_000),
    ):
        token = TokenSettings("i", f"a-{name}", keys=keys)
        store.add_organization(Organization(0, name, (f"{name}.test",), token=token))
    store.add_organization(
        Organization(0, "off", ("off.test",), False, token=TokenSettings("i", "off", keys="/off.json"))
    )
    got = report(store).key_sets
    assert got == {key_set_id("https://issuer.example.test/keys"): {"b", "c"}, key_set_id("/" * 9_000): {"d"}}
    assert {len(key) for key in got} == {32}


def test_last_change_is_that_of_the_newest_row_of_the_log(store: Store) -> None:
    """Whatever its clock says."""
    with store.transaction() as connection:
        connection.execute(sa.update(directory_changes).values(at=NOW - DAY))
    assert report(store).changed_at == NOW - DAY
