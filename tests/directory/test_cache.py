"""The cache of rows: of one line, until they change, bounded in bytes, and fair."""

from __future__ import annotations

import tracemalloc

import pytest
from support.certificates import Authority
from support.outcomes import parsed

from authz.directory.cache import HOSTS_PART, MIN_SWEEP, MISSING, RECENT, TRUST_PART, RowCache, tenants_memory
from authz.directory.keys import CrlKey, HostKey, OrganizationKey, RegistrationsKey, TrustKey, UserKey, UsersKey
from authz.errors import Refused
from authz.model import Enforcement, Organization, Registration, User
from authz.pki import TrustStore, VerifiedCache
from authz.pki.cache import SharedCache
from authz.pki.revocation.crl_store import MAX_REMEMBERED
from authz.reasons import Reason

ROOT = Authority.root()


def test_row_answers_in_its_own_line_only() -> None:
    """What a restored copy made void answers no more."""
    cache = RowCache(SharedCache())
    cache.put("o", "k", 5, "v")
    assert cache.get("o", "k", 5) == "v"
    assert cache.get("o", "k", 4) is MISSING
    assert cache.get("o", "k", 6) is MISSING
    assert cache.get("p", "k", 5) is MISSING


def test_flood_of_one_owner_leaves_anothers_rows() -> None:
    """The account with most rows gives up its oldest."""
    cache = RowCache(SharedCache(100_000))
    cache.put(1, "k", 1, "v")
    for number in range(1_000):
        cache.put(2, number, 1, number)
    assert cache.get(1, "k", 1) == "v"
    assert cache.get(2, 999, 1) == 999
    assert cache.get(2, 0, 1) is MISSING
    assert 50 < len(cache) < 200


def test_rows_share_their_organizations_room_with_what_its_checks_remember() -> None:
    """And neither kind drives out the other."""
    whole = SharedCache(100_000)
    cache, memo = RowCache(whole), whole.part(1, VerifiedCache)
    memo.admit([], [(b"signed", b"key")])
    for number in range(1_000):
        cache.put(1, number, 1, number)
    assert memo.verified((b"signed", b"key"))
    assert whole.weight <= whole.max_bytes


def test_unknown_hosts_drive_out_none_that_is_known() -> None:
    """Anybody can ask for them, and the tenants' room is not theirs."""
    whole = SharedCache(1_000_000)
    cache = RowCache(whole)
    cache.put("hosts", "known.test", 1, Organization(1, "acme", ("known.test",)))
    for number in range(1_000):
        cache.put("hosts", f"h{number}.test", 1, None)
    assert cache.get("hosts", "known.test", 1) is not MISSING
    assert cache.get("hosts", "h999.test", 1) is None
    assert cache.get("hosts", "h0.test", 1) is MISSING
    assert whole.weight == 0


def test_known_hosts_keep_their_room_when_they_fill_it() -> None:
    """However many unknown ones are asked for."""
    cache = RowCache(SharedCache(2_000_000))
    for number in range(1_000):
        cache.put("hosts", f"known{number}.test", 1, Organization(number, "acme", ("known.test",)))
    known = [number for number in range(1_000) if cache.get("hosts", f"known{number}.test", 1) is not MISSING]
    assert 50 < len(known) < 1_000
    for number in range(2_000):
        cache.put("hosts", f"h{number}.test", 1, None)
    assert all(cache.get("hosts", f"known{number}.test", 1) is not MISSING for number in known)


def test_outdated_row_is_found_by_no_tag() -> None:
    """It decides nothing."""
    cache = RowCache(SharedCache())
    assert cache.outdated("hosts", "h.test") is MISSING
    cache.put("hosts", "h.test", 1, "acme")
    assert cache.get("hosts", "h.test", 2) is MISSING
    assert cache.outdated("hosts", "h.test") == "acme"


def test_host_that_changed_hands_or_went_is_what_it_is_now() -> None:
    """Whether it was known before or not."""
    cache = RowCache(SharedCache())
    cache.put("hosts", "h.test", 1, None)
    cache.put("hosts", "h.test", 2, "acme")
    assert (cache.get("hosts", "h.test", 1), cache.get("hosts", "h.test", 2)) == (None, "acme")
    cache.put("hosts", "h.test", 3, None)
    assert (cache.get("hosts", "h.test", 2), cache.get("hosts", "h.test", 3)) == ("acme", None)


def test_change_drops_what_changed_alone() -> None:
    """A user, a leaf, a trust store, a host, known or not."""
    cache = RowCache(SharedCache())
    for owner in (1, 2):
        for key in (UserKey(owner, "a"), UserKey(owner, "b"), RegistrationsKey(owner, b"a")):
            cache.put(owner, key, 0, "v")
        cache.put("trust", TrustKey(owner), 0, "v")
        for host in "ab":
            cache.put("hosts", f"{host}{owner}", 0, Organization(owner, "o", ()))
    cache.put("hosts", "unknown", 0, None)
    for key in (UserKey(1, "a"), RegistrationsKey(1, b"a"), TrustKey(1), HostKey("a1"), CrlKey(b"a"), UserKey(3, "a")):
        cache.drop(key)
    assert [cache.get("hosts", host, 0) is MISSING for host in ("a1", "b1", "a2", "unknown")] == [True] + [False] * 3
    assert [cache.get("trust", TrustKey(owner), 0) for owner in (1, 2)] == [MISSING, "v"]
    assert [cache.get(owner, UserKey(owner, name), 0) for owner in (1, 2) for name in "ab"] == [MISSING, "v", "v", "v"]
    assert [cache.get(owner, RegistrationsKey(owner, b"a"), 0) for owner in (1, 2)] == [MISSING, "v"]


def test_change_of_an_organization_drops_all_its_hosts_and_the_unknown_ones() -> None:
    """In one step, also a thousand; what is read from then on holds. A shared anchor drops every trust store."""
    cache = RowCache(SharedCache())
    for owner in (1, 2):
        cache.put("trust", TrustKey(owner), 0, "v")
        for host in range(1_000):
            cache.put("hosts", f"h{host}.{owner}", 0, Organization(owner, "o", ()))
    cache.put("hosts", "unknown", 0, None)
    cache.drop(OrganizationKey(1))
    cache.drop(TrustKey(0))
    assert all(cache.get("hosts", f"h{host}.1", 0) is MISSING for host in range(1_000))
    assert all(cache.get("hosts", f"h{host}.2", 0) is not MISSING for host in range(1_000))
    assert cache.get("hosts", "unknown", 0) is MISSING
    assert cache.get("trust", TrustKey(2), 0) is MISSING
    cache.put("hosts", "h0.1", 0, Organization(1, "new", ()))
    assert cache.get("hosts", "h0.1", 0) == Organization(1, "new", ())
    assert cache.get("hosts", "h1.1", 0) is MISSING
    assert cache.outdated("hosts", "h1.1") == Organization(1, "o", ())


def test_rows_of_one_reading_are_at_hand_together_however_full_the_cache_is() -> None:
    """Else each would evict the other, and the check that needs both would never have them; a change drops them."""
    cache = RowCache(SharedCache(1))
    cache.begin()
    keys = UserKey(1, "a"), RegistrationsKey(1, b"a")
    for key in keys:
        cache.put(1, key, 0, "v")
    for host in "ab":
        cache.put("hosts", host, 0, Organization(1, "acme", ()))
    assert MISSING not in {cache.get("hosts", host, 0) for host in "ab"}
    assert [cache.get(1, key, 0) for key in keys] == ["v", "v"]
    assert [cache.get(1, key, 1) for key in keys] == [MISSING, MISSING]
    cache.drop(keys[0])
    assert cache.get(1, keys[0], 0) is MISSING
    for _ in range(RECENT):
        cache.begin()
    assert [cache.get(1, key, 0) for key in keys].count(MISSING) >= 1


def test_trust_stores_have_a_room_of_their_own() -> None:
    """A flood of users drives none of these out; in it the one asked for longest ago goes first."""
    whole = SharedCache(400_000)
    cache, anchors = RowCache(whole), parsed(ROOT)
    for owner in range(30):
        cache.put("trust", owner, 1, TrustStore(anchors, verified=whole.part(owner, VerifiedCache)))
        cache.get("trust", 0, 1)
    for number in range(2_000):
        cache.put(1, number, 1, number)
    assert cache.get("trust", 0, 1) is not MISSING
    assert cache.get("trust", 1, 1) is MISSING
    assert cache.get("trust", 29, 1) is not MISSING


def test_all_users_of_an_organization_are_dropped_together() -> None:
    """And no other's, nor its trust."""
    cache = RowCache(SharedCache())
    keys = [(1, UserKey(1, "a")), (1, RegistrationsKey(1, b"a")), (2, UserKey(2, "a")), ("trust", TrustKey(1))]
    for owner, key in keys:
        cache.put(owner, key, 1, "v")
    cache.drop(UsersKey(1))
    assert [cache.get(owner, key, 1) is MISSING for owner, key in keys] == [True, True, False, False]


def test_organization_of_number_0_has_no_unknown_hosts() -> None:
    """A number that a shell can give."""
    cache = RowCache(SharedCache())
    cache.put("hosts", "a", 1, Organization(0, "zero", ("a",)))
    cache.put("hosts", "unknown", 1, None)
    assert cache.get("hosts", "unknown", 1) is None
    cache.drop(OrganizationKey(0))
    assert cache.get("hosts", "a", 1) is MISSING


@pytest.mark.parametrize("rounds", [1, 5])
def test_row_put_again_is_counted_once(rounds: int) -> None:
    """A new revision replaces the old."""
    cache = RowCache(SharedCache())
    for revision in range(rounds):
        cache.put("o", "k", revision, revision)
    assert len(cache) == 1
    assert cache.get("o", "k", rounds) is MISSING


def test_owners_without_rows_are_forgotten() -> None:
    """However many come by."""
    whole = SharedCache(60_000)
    cache = RowCache(whole)
    for owner in range(20 * MIN_SWEEP):
        cache.put(owner, "k", 1, "v")
        assert cache.get(owner, "k", 1) == "v"
    assert len(cache._rows) <= MIN_SWEEP + len(whole.tenants)


def test_rooms_are_what_a_worker_may_remember_together() -> None:
    """The one for CRLs, which goes with them, among them."""
    whole = tenants_memory(256 << 20)
    parts = whole.max_bytes * (1 + 1 / HOSTS_PART + 1 / TRUST_PART) + MAX_REMEMBERED
    assert parts == pytest.approx(256 << 20, rel=0.001)


ROWS = {
    "user": lambda number: User(number, 1, f"user{number}", Enforcement.OFF),
    "long user": lambda number: User(number, 1, "\U0001f600" * 60 + str(number), Enforcement.OFF),
    "none": lambda _: None,
    "registrations": lambda number: (Registration(number, 1, number, bytes(31) + b"%c" % (number % 100), "laptop"),),
    "chains": lambda number: tuple(
        Registration(one, 1, number, bytes(32), "x" * 64, tuple(bytes(500 + one) for one in range(9)))
        for one in range(5)
    ),
    "refusal": lambda number: Refused(Reason.TRUST_ANCHORS_UNUSABLE, certificate=bytes(2_000 + number)),
    "trust": lambda _: TrustStore(parsed(ROOT, ROOT.intermediate()), verified=VerifiedCache()),
}


@pytest.mark.parametrize("kind", ROWS)
def test_rows_weigh_what_they_take(kind: str) -> None:
    """With their keys."""
    whole = SharedCache()
    cache = RowCache(whole)
    make = ROWS[kind]
    make(0)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(200):
        cache.put(1, ("key", 1, f"key{number}"), 1, make(number))
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert taken <= whole.weight
