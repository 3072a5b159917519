"""Whom `required` would refuse, by what was recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from support.certificates import NOW
from support.directory import DIALECTS, new_store, url_of
from support.sightings import add_registration, add_sighting

from authz.admin.rehearsal import Rehearsed, RehearsedUser, known_from, rehearse
from authz.directory import Store
from authz.directory.decision_rows import row_of
from authz.directory.last_seen_rows import leaves_seen_of
from authz.directory.schema import decisions
from authz.directory.users import get_user
from authz.model import BindingScope, Enforcement, Organization, Outcome, RecordedDecision, RegistrationKind

DAY = timedelta(days=1)
SINCE = NOW - 14 * DAY
LATER = {"not_after": NOW + 90 * DAY}


@pytest.fixture(params=DIALECTS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """One organization with users of each enforcement."""
    opened = new_store(url_of(request.param, tmp_path))
    opened.add_organization(Organization(0, "acme", ("acme.example.test",)))
    for enforcement in Enforcement:
        opened.add_user("acme", enforcement.value, enforcement)
    yield opened
    opened.close()


def record(store: Store, user: str, at: datetime, reason: str = "certificate_required", **more: object) -> None:
    """A request that observe let pass."""
    owner = store.organization("acme").id
    names = {"organization": "acme", "organization_id": owner, "user": user, "listener": "envoy", "proven": True}
    values = {"outcome": Outcome.OBSERVED, "first_at": at, **names, **more}
    decision = RecordedDecision(decision_id=f"{user}{reason}{at}", at=at, reason=reason, **values)  # type: ignore[arg-type]
    with store.transaction() as connection:
        connection.execute(sa.insert(decisions).values(**row_of(decision)))


def rehearsed(store: Store) -> list[RehearsedUser]:
    """What `required` would do."""
    with store.reading() as connection:
        return list(rehearse(connection, "acme", SINCE, NOW))


def test_user_who_was_never_seen_is_listed_as_such(store: Store) -> None:
    """Those who are required already are not rehearsed, nor those who are switched off."""
    assert [(row.user, row.outcome) for row in rehearsed(store)] == [
        ("observe", Rehearsed.NEVER_SEEN),
        ("off", Rehearsed.NEVER_SEEN),
    ]


def test_recorded_refusals_are_counted_by_reason(store: Store) -> None:
    """With the last of each; denials, and what is older, do not count."""
    record(store, "observe", NOW - 3 * DAY)
    record(store, "observe", NOW - 2 * DAY)
    record(store, "observe", NOW - DAY, "certificate_not_registered")
    record(store, "observe", NOW - 20 * DAY, "certificate_of_another_user")
    record(store, "observe", NOW - DAY, "certificate_revoked", outcome=Outcome.DENIED)
    rows = [(row.reason, row.times, row.last_refused) for row in rehearsed(store) if row.outcome is Rehearsed.REFUSED]
    assert rows == [("certificate_not_registered", 1, NOW - DAY), ("certificate_required", 2, NOW - 2 * DAY)]


def match(store: Store, user: str, **columns: object) -> int:
    """The user showed a registered certificate yesterday, and it matched; the registration's number."""
    sha256 = add_sighting(store, "acme", user, NOW - DAY, matched="certificate", **LATER)
    return add_registration(store, "acme", user, NOW - DAY, sha256=sha256, **columns)


def outcome(store: Store, user: str) -> tuple[Rehearsed, datetime | None]:
    """What is said of a user of whom there is one row."""
    [row] = [row for row in rehearsed(store) if row.user == user]
    return row.outcome, row.last_matched


def test_certificate_that_matched_passes(store: Store) -> None:
    """Beside a refusal it says when the user had it right for the last time."""
    match(store, "observe")
    record(store, "observe", NOW - DAY, "certificate_revoked", outcome=Outcome.DENIED)
    record(store, "observe", NOW - DAY, "certificate_expired", outcome=Outcome.DENIED)
    assert outcome(store, "observe") == (Rehearsed.PASSES, NOW - DAY)
    record(store, "observe", NOW - 2 * DAY)
    assert outcome(store, "observe") == (Rehearsed.REFUSED, NOW - DAY)


def test_certificate_that_matched_passes_while_its_registration_counts(store: Store) -> None:
    """Not once it is retired; where any user's is enough, another's is."""
    match(store, "observe", retired_at=NOW)
    assert outcome(store, "observe") == (Rehearsed.ENDED, NOW - DAY)
    match(store, "off", valid_until=NOW - DAY / 2)
    assert outcome(store, "off")[0] is Rehearsed.ENDED
    with store.reading() as connection:
        [leaf] = {seen.sha256 for seen in leaves_seen_of(connection, get_user(connection, "acme", "observe").id)}
    add_registration(store, "acme", "required", NOW, sha256=leaf)
    assert outcome(store, "observe")[0] is Rehearsed.ENDED
    store.set_organization(replace(store.organization("acme"), binding_scope=BindingScope.ORGANIZATION))
    assert outcome(store, "observe")[0] is Rehearsed.PASSES
    store.set_organization(replace(store.organization("acme"), binding_kinds=(RegistrationKind.KEY,)))
    assert outcome(store, "observe")[0] is Rehearsed.ENDED


def test_user_whose_every_request_is_refused_was_seen(store: Store) -> None:
    """No enforcement changes that, but for what `required` refused before it was taken back."""
    record(store, "observe", NOW - DAY, "certificate_expired", outcome=Outcome.DENIED)
    record(store, "observe", NOW - DAY, "certificate_revoked", outcome=Outcome.DENIED)
    rows = [(row.outcome, row.reason, row.times) for row in rehearsed(store) if row.user == "observe"]
    already = Rehearsed.REFUSED_ALREADY
    assert rows == [(already, "certificate_expired", 1), (already, "certificate_revoked", 1)]
    record(store, "observe", NOW - DAY, "certificate_required", outcome=Outcome.DENIED)
    rows = [(row.outcome, row.reason, row.times) for row in rehearsed(store) if row.user == "observe"]
    assert rows == [(Rehearsed.REFUSED, "certificate_required", 1)]


def test_certificate_of_a_user_who_is_off_was_not_compared(store: Store) -> None:
    """It verified, and no registration was looked for."""
    add_sighting(store, "acme", "off", NOW - DAY, **LATER)
    [row] = [row for row in rehearsed(store) if row.user == "off"]
    assert row.outcome is Rehearsed.NOT_COMPARED


def test_records_begin_with_the_first_of_them(store: Store) -> None:
    """Or where the period begins; without any nothing is known."""
    with store.reading() as connection:
        assert known_from(connection, "acme", SINCE, NOW - 30 * DAY) is None
    record(store, "observe", NOW - 2 * DAY)
    with store.reading() as connection:
        assert known_from(connection, "acme", SINCE, NOW - 30 * DAY) == NOW - 2 * DAY
    add_sighting(store, "acme", "off", NOW - 30 * DAY, **LATER)
    with store.reading() as connection:
        assert known_from(connection, "acme", SINCE, NOW - 30 * DAY) == SINCE


def test_user_who_is_off_and_came_without_a_certificate_would_be_refused(store: Store) -> None:
    """Where the history keeps allowed requests; one with a certificate was not compared."""
    record(store, "off", NOW - 2 * DAY, "", outcome=Outcome.ALLOWED)
    record(store, "off", NOW - DAY, "", outcome=Outcome.ALLOWED)
    record(store, "observe", NOW - DAY, "", outcome=Outcome.ALLOWED, certificate=b"c" * 32)
    assert [(row.user, row.outcome, row.reason, row.times) for row in rehearsed(store)] == [
        ("observe", Rehearsed.NEVER_SEEN, "", 0),
        ("off", Rehearsed.REFUSED, "certificate_required", 2),
    ]


def test_what_was_seen_before_the_history_begins_says_nothing_of_refusals(store: Store) -> None:
    """It has no refusal that is older than it keeps them."""
    add_sighting(store, "acme", "off", NOW - 90 * DAY, **LATER)
    with store.reading() as connection:
        assert known_from(connection, "acme", NOW - 60 * DAY, NOW - 30 * DAY) == NOW - 30 * DAY
    record(store, "observe", NOW - 40 * DAY)
    with store.reading() as connection:
        assert known_from(connection, "acme", NOW - 60 * DAY, NOW - 30 * DAY) == NOW - 40 * DAY
