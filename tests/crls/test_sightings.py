"""Who met what, and for how long that is so."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.certificates import NOW

from authz.crls.sightings import COARSE, MET_FOR, NO_ORGANIZATION, Sightings

ACME, EVIL = 1, 2
URL = "http://ca.test/"


def test_what_was_met_is_so_for_a_day() -> None:
    """By which organization, and by no other."""
    met = Sightings()
    met.note(ACME, [URL], NOW)
    assert met.lately(URL, {ACME, EVIL}, NOW + MET_FOR - timedelta(seconds=1))
    assert not met.lately(URL, {ACME, EVIL}, NOW + MET_FOR)
    assert not met.lately(URL, {EVIL}, NOW)
    assert not met.lately("http://other.test/", {ACME}, NOW)
    assert set(met.by(URL)) == {ACME}


def test_moment_hardly_later_is_not_worth_writing() -> None:
    """Paths come by the thousand, and each would be a write to disk."""
    met = Sightings()
    assert not met.changed
    for later, changed in ((timedelta(0), True), (COARSE / 2, False), (COARSE, True)):
        met.note(ACME, [URL], NOW + later)
        assert met.changed is changed
        met.to_bytes(NOW)
    met.note(EVIL, [URL], NOW + COARSE)
    assert met.changed


def test_other_names_and_organizations_are_forgotten() -> None:
    """Nothing of them is left."""
    met = Sightings()
    met.note(ACME, [URL, "gone"], NOW)
    met.note(EVIL, [URL, "theirs"], NOW)
    met.keep([URL, "theirs"], {ACME})
    assert set(met.by(URL)) == {ACME}
    assert not met.knows("gone")
    assert not met.knows("theirs")


def test_what_is_written_is_read_again_and_the_time_between_does_not_count() -> None:
    """A service that was down over the weekend met no path, and lets go of nothing for that."""
    met = Sightings()
    met.note(ACME, [URL], NOW)
    met.note(NO_ORGANIZATION, ["old"], NOW)
    data = met.to_bytes(NOW + timedelta(hours=20))
    monday = NOW + timedelta(days=9)
    again = Sightings.from_bytes(data, monday)
    assert (set(again.by(URL)), again.by("old"), again.knows("old")) == ({ACME}, set(), True)
    assert again.lately(URL, {ACME}, monday + timedelta(hours=3))
    assert not again.lately(URL, {ACME}, monday + timedelta(hours=4))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        b'{"at": "2026-06-01"}',
        b'{"at": 1, "met": {}}',
        b'{"at": "2026-06-01T00:00:00+00:00", "met": [1]}',
        b'{"at": "2026-06-01T00:00:00+00:00", "met": {"a": {"x": "2026-06-01T00:00:00+00:00"}}}',
        b'{"at": "0001-01-01T00:00:00+00:00", "met": {"a": {"1": "9999-06-01T00:00:00+00:00"}}}',
    ],
)
def test_anything_else_is_as_nothing(data: bytes) -> None:
    """What is held then has a day from now."""
    assert not Sightings.from_bytes(data, NOW).knows("a")
