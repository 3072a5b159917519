"""What outlives a CRL that is held no more."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from support.certificates import NOW
from support.crl_world import CA, crl, spki

from authz.crls.acceptance import SignedCrl
from authz.crls.failures import FailureKind, FetchFailed
from authz.crls.tombstones import FORGET_AFTER, Tombstone, Tombstones
from authz.pki import Certificate, Crl

KEY = Certificate.parse(CA.der).spki_der
ACME, EVIL = 1, 2


def held(number: int, hours: float) -> SignedCrl:
    """A CRL."""
    return SignedCrl(Crl(crl(number=number, hours=hours)), spki(CA))


HELD = held(5, 5)
STONE = Tombstone.of(HELD, KEY)


def buried(*stones: Tombstone, by: int = ACME) -> Tombstones:
    """These, of one organization."""
    made = Tombstones()
    for one in stones:
        made.add(one, [by])
    return made


@pytest.mark.parametrize(
    ("new", "kind"),
    [
        (HELD, None), (held(6, 4), None), (held(5, 4), None), (held(4, 6), FailureKind.OLDER),
        (held(5, 6), FailureKind.OLDER), (held(4, 4), FailureKind.DISAGREES), (held(6, 6), FailureKind.DISAGREES),
    ],
    ids=["the same", "newer", "later", "older", "earlier", "lower but later", "higher but earlier"],
)  # fmt: skip
def test_crl_is_ordered_as_against_one_that_is_held(new: SignedCrl, kind: FailureKind | None) -> None:
    """Neither number nor date goes back."""
    again = Tombstones.from_bytes(buried(STONE).to_bytes())
    for stones in (buried(STONE), again):
        if kind is None:
            stones.check(new, KEY)
            continue
        with pytest.raises(FetchFailed) as caught:
            stones.check(new, KEY)
        assert caught.value.kind is kind


@pytest.mark.parametrize(
    ("new", "until", "accepted"),
    [
        (held(1, 4), 5, True), (held(1, 4), 5.5, False), (held(1, 5), 5, False), (held(1, 6), 5, False),
        (held(9, 6), 5, False),
    ],
    ids=["later", "began since", "of the same date", "earlier", "higher but earlier"],
)  # fmt: skip
def test_number_of_a_tombstone_does_not_count_where_the_ca_counts_anew(
    new: SignedCrl, until: float, accepted: bool
) -> None:
    """Its date does; `until` is so many hours ago."""
    moment = NOW - timedelta(hours=until)
    if accepted:
        buried(STONE).check(new, KEY, moment)
        return
    with pytest.raises(FetchFailed):
        buried(STONE).check(new, KEY, moment)


@pytest.mark.parametrize("until", [None, NOW])
def test_crl_from_before_the_ca_counted_anew_does_not_come_again(until: datetime | None) -> None:
    """Although it was held itself, when what came after it is held no more."""
    anew = held(1, 4)
    stones = buried(STONE, Tombstone.of(anew, KEY))
    stones.check(anew, KEY, until)
    with pytest.raises(FetchFailed) as caught:
        stones.check(HELD, KEY, until)
    assert caught.value.kind is FailureKind.OLDER


def test_either_of_two_of_one_date_may_come_again() -> None:
    """Neither is the newer one."""
    twin = SignedCrl(Crl(crl(number=5, hours=5, next_update=NOW + timedelta(days=9))), spki(CA))
    stones = buried(STONE, Tombstone.of(twin, KEY))
    stones.check(twin, KEY)
    stones.check(HELD, KEY)


def test_another_key_scope_or_issuer_is_another_place() -> None:
    """As for copies."""
    buried(replace(STONE, place="0" * 64)).check(held(1, 9), KEY)
    buried(STONE).check(held(1, 9), b"another key")


def test_tombstone_that_is_superseded_goes() -> None:
    """One is enough, unless two are neither newer nor older."""
    newer = Tombstone.of(held(6, 4), KEY)
    assert len(buried(STONE, newer)) == len(buried(STONE, STONE)) == 1
    assert len(buried(STONE, Tombstone.of(held(6, 6), KEY))) == 2


def test_tombstone_is_forgotten_when_its_copy_would_be() -> None:
    """One that ends with the last moment that can be represented, never."""
    stones = buried(STONE, replace(STONE, place="ever", expires=datetime.max.replace(tzinfo=UTC)))
    stones.forget(STONE.expires + FORGET_AFTER)
    assert len(stones) == 2
    stones.forget(STONE.expires + FORGET_AFTER + timedelta(seconds=1))
    assert len(stones) == 1


def test_organization_that_buries_thousands_crowds_out_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it shares with another stays, and of its own what counts longest."""
    monkeypatch.setattr("authz.crls.tombstones.MAX_TOMBSTONES", 9)
    stones = buried(*(replace(STONE, place=f"{n}", expires=NOW + timedelta(days=99 + n)) for n in range(20)), by=EVIL)
    stones.add(replace(STONE, place="shared"), [EVIL, ACME])
    stones.add(replace(STONE, place="acme"), [ACME])
    stones.trim()
    assert stones._all.keys() == {"shared", "acme", *(f"{n}" for n in range(13, 20))}
    stones.trim()
    assert len(stones) == 9


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"{}", b"[1]", b"[" * 100_000, b'[{"place": 1}]', b'[null, {"by": []}]']
)
def test_anything_else_is_as_nothing(data: bytes) -> None:
    """What was kept is trusted for no more than it says."""
    assert len(Tombstones.from_bytes(data)) == 0


def test_what_can_be_read_beside_what_cannot_counts() -> None:
    """A moment without a time zone is compared with nothing."""
    assert Tombstone.from_json(STONE.to_json()) == STONE
    assert Tombstone.from_json(STONE.to_json() | {"expires": "2026-06-01"}) is None
    assert Tombstone.from_json(STONE.to_json() | {"sha256": 7}) is None
    assert Tombstone.from_json(None) is None
    assert Tombstone.from_json(replace(STONE, number=None).to_json()) == replace(STONE, number=None)
