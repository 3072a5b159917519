"""What a user can pass with, and whether it stops as one of them ends."""

from __future__ import annotations

import pytest

from authz.admin.ca_lifetimes import Below, CaLifetimes
from authz.admin.credentials import Credentials, credentials_of
from authz.directory.end_columns import SECOND
from authz.directory.endings import OwnerRow
from authz.directory.holders import Holder, RegistrationRow, SharedRow, SightingRow
from authz.model import BindingScope, Enforcement, RegistrationKind

END = 100 * SECOND
SINCE = END + SECOND
ALL = " ".join(RegistrationKind)
HERE, THERE = b"h" * 32, b"t" * 32
SEEN, KEY = b"s" * 32, b"k" * 32


class Places:
    """Two places: what stands `THERE` has no path to an anchor."""

    def of_path(self, path: bytes, chain_sha256: bytes | None) -> Below:
        """See the protocol."""
        return Below(None, path)

    def of_leaf(self, issuer: bytes | None, key_id: bytes | None, chain_sha256: bytes | None) -> Below:
        """See the protocol."""
        return Below(None, issuer or HERE)


class Lifetimes(CaLifetimes):
    """Of CAs that do not end; the one `HERE` does at `since`, if that is given."""

    def __init__(self, since: int | None = None) -> None:
        super().__init__((), (), {}, {})
        self._since = since

    def live(self, below: Below, at: int, ended: object = None) -> bool:
        """See the original."""
        if ended is not None:
            return not (ended == HERE and below.key_id == HERE)
        return below.key_id == HERE and (self._since is None or at < self._since)

    def stands_above(self, below: Below, ended: object) -> bool:
        """See the original."""
        return ended == HERE


def registration(number: int = 1, **columns: object) -> RegistrationRow:
    """Of a certificate that ends at `END`."""
    values = dict.fromkeys(RegistrationRow._fields) | {"kind": "certificate", "sha256": b"%032d" % number}
    return RegistrationRow(**{**values, "id": number, "user": 1, "not_after": END, **columns})  # type: ignore[arg-type]


def sighting(
    sha256: bytes = b"s" * 32,
    end: int = END,
    path: bytes = HERE,
    refused_by: str = "",
    *,
    matched: str = "",
    with_others: bool = False,
) -> SightingRow:
    """A certificate seen."""
    return SightingRow(1, sha256, end, path, matched, refused_by, with_others, b"k" * 32)


def credentials(
    *rows: RegistrationRow | SightingRow,
    enforcement: str = Enforcement.REQUIRED,
    scope: str = BindingScope.USER,
    kinds: str = ALL,
    since: int | None = None,
    shared: dict[bytes, list[SharedRow]] | None = None,
) -> Credentials:
    """What a user has of those."""
    holder = Holder(1, "alice", enforcement)
    holder.shared = shared or {}
    holder.registrations = [row for row in rows if isinstance(row, RegistrationRow)]
    holder.sightings = [row for row in rows if isinstance(row, SightingRow)]
    return credentials_of(holder, OwnerRow(1, "acme", scope, kinds), Lifetimes(since), Places())


GOOD = {"not_after": END + 9 * SECOND}
SPARES = {
    "lasts longer": (GOOD, True),
    "begins in time": ({**GOOD, "valid_from": SINCE}, True),
    "begins too late": ({**GOOD, "valid_from": SINCE + 1}, False),
    "ends at the same moment": ({**GOOD, "valid_until": SINCE}, False),
    "will be retired later": ({**GOOD, "retired_at": SINCE + 1}, True),
    "cannot be read": ({"not_after": None}, False),
    "is a key": ({"kind": "key"}, True),
    "is a name": ({"kind": "identity", "sha256": None, "not_after": None}, True),
    "has no path": ({**GOOD, "issuer": THERE}, False),
}


@pytest.mark.parametrize(("columns", "good"), SPARES.values(), ids=SPARES)
def test_user_with_another_registration_that_counts_then_does_not_stop(columns: dict[str, object], good: bool) -> None:
    """It is named; one that does not count right after the end is no help."""
    mine = credentials(registration(), registration(2, **columns))
    assert mine.end(1, SINCE) == ((False, 2) if good else (True, None))


def test_registration_of_a_kind_that_does_not_count_is_no_help() -> None:
    """The organization allows certificates alone."""
    mine = credentials(registration(), registration(2, kind="key"), kinds="certificate")
    assert mine.end(1, SINCE) == (True, None)


def test_registration_over_within_the_second_of_its_certificate_s_end_is_an_end() -> None:
    """Its line has the moment of the certificate, through whose second it would count."""
    assert credentials(registration(valid_until=END + SECOND // 2)).end(1, SINCE) == (True, None)


def test_certificate_that_is_not_valid_yet_is_no_help() -> None:
    """Its user stops before it begins."""
    mine = credentials(registration(), registration(2, not_before=SINCE + 1, **GOOD))
    assert mine.end(1, SINCE) == (True, None)


@pytest.mark.parametrize("with_others", [False, True])
@pytest.mark.parametrize("kind", RegistrationKind)
def test_chain_that_came_with_a_key_or_a_name_counts_only_for_a_client_that_sends_one(
    kind: RegistrationKind, *, with_others: bool
) -> None:
    """The service looks for one that is registered with the leaf itself."""
    asked = []

    class Asked(Places):
        def of_path(self, path: bytes, chain_sha256: bytes | None) -> Below:
            asked.append(chain_sha256)
            return super().of_path(path, chain_sha256)

    holder = Holder(1, "alice", Enforcement.OFF)
    holder.registrations = [registration(kind=kind, chain_sha256=b"c" * 32, sha256=b"s" * 32)]
    holder.sightings = [sighting(with_others=with_others)]
    credentials_of(holder, OwnerRow(1, "acme", BindingScope.USER, ALL), Lifetimes(), Asked())
    counts = kind is RegistrationKind.CERTIFICATE or with_others
    assert asked == [b"c" * 32, b"c" * 32 if counts else None]


@pytest.mark.parametrize("enforcement", [Enforcement.OFF, Enforcement.OBSERVE])
def test_user_of_whom_no_certificate_is_required_stops_only_by_showing_it(enforcement: str) -> None:
    """An expired certificate is refused whatever the enforcement is; one that is not shown is not missed."""
    own = registration()
    assert credentials(own, enforcement=enforcement).end(1, SINCE) == (False, None)
    seen = sighting(b"%032d" % 1)
    assert credentials(own, seen, enforcement=enforcement).end(1, SINCE) == (True, None)
    other = sighting(end=END + 1)
    assert credentials(own, seen, other, enforcement=enforcement).end(1, SINCE) == (False, b"s" * 32)


def period(start: int | None = None, end: int | None = None, retired: int | None = None) -> SharedRow:
    """Of a registration of somebody's."""
    return SharedRow(start, end, retired, None)


OTHERS: dict[str, tuple[dict[bytes, list[SharedRow]], int | None]] = {
    "of nobody": ({}, None),
    "of the certificate": ({SEEN: [period()]}, SINCE),
    "of the certificate, until before": ({SEEN: [period(end=END), period(retired=END - 1)]}, END),
    "of the certificate, from then on": ({SEEN: [period(end=END), period(start=END)]}, SINCE),
    "of the key": ({KEY: [period(end=END)]}, END),
    "of the key of a certificate that was taken away": ({SEEN: [period(end=1)], KEY: [period()]}, 1),
}


@pytest.mark.parametrize(("shared", "end"), OTHERS.values(), ids=OTHERS)
def test_certificate_seen_counts_as_long_as_a_registration_of_the_organization(
    shared: dict[bytes, list[SharedRow]], end: int | None
) -> None:
    """That of any user; not where only the user's own count, nor of a kind that does not count."""
    mine = credentials(sighting(), scope=BindingScope.ORGANIZATION, shared=shared)
    assert [mine.is_end(SEEN, moment) for moment in (1, END, SINCE)] == [moment == end for moment in (1, END, SINCE)]
    assert [mine.end(SEEN, moment)[0] for moment in (1, END, SINCE)] == [moment == end for moment in (1, END, SINCE)]
    assert credentials(sighting(), shared=shared).all == []
    assert credentials(sighting(), scope=BindingScope.ORGANIZATION, kinds="identity", shared=shared).all == []


def test_certificate_seen_ends_where_there_is_a_gap_between_registrations() -> None:
    """And again behind it; not where another goes on."""
    periods = [period(end=10), period(start=5, end=20), period(start=30, end=40)]
    mine = credentials(sighting(), scope=BindingScope.ORGANIZATION, shared={SEEN: periods})
    assert [mine.is_end(SEEN, moment) for moment in (10, 20, 30, 40)] == [False, True, False, True]
    assert [mine.end(SEEN, moment)[0] for moment in (10, 20, 30, 40)] == [False, True, False, True]


def test_certificate_seen_that_matched_by_another_user_s_name_goes_on() -> None:
    """Not by a name of the user's own, nor where it was refused."""
    free = BindingScope.ORGANIZATION
    seen = sighting(matched="identity")
    assert credentials(seen, scope=free).end(SEEN, SINCE) == (True, None)
    assert credentials(sighting(matched="identity", refused_by="x"), scope=free).all == []
    own = registration(kind="identity", anchor_sha256=HERE)
    assert [credential.name for credential in credentials(own, seen, scope=free).all] == [1]


def test_end_of_a_ca_stops_who_has_nothing_elsewhere() -> None:
    """And not who had stopped before, or whose certificate ends no later."""
    lasting = registration(**GOOD)
    assert credentials(lasting, since=SINCE).stop_by(HERE, SINCE)
    assert not credentials(registration(), since=SINCE).stop_by(HERE, SINCE)
    assert not credentials(lasting).stop_by(HERE, SINCE)
    assert not credentials(enforcement=Enforcement.OFF, since=SINCE).stop_by(HERE, SINCE)


def test_what_has_ended_before_above_hides_no_other_end() -> None:
    """It may be renewed: of who has stopped already, each end counts as if nothing else had ended."""
    mine = credentials(registration(), registration(2, **GOOD), since=END - SECOND)
    assert mine.end(1, SINCE) == (False, 2)
    assert credentials(registration(), since=END - SECOND).end(1, SINCE) == (True, None)
    assert mine.stop_by(HERE, SINCE)
    assert not mine.stop_by(THERE, SINCE)
