"""When a source is asked next: bounds that always hold, and the ordinary days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from authz.crls.schedule import OVERDUE_FLOORS, Schedule
from authz.errors import ConfigError

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
PLAIN = Schedule(floor=MINUTE, ceiling=HOUR, ahead=10 * MINUTE, jitter=0.0)
JITTERY = Schedule(floor=MINUTE, ceiling=HOUR, ahead=10 * MINUTE, jitter=0.2)

moments = st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
nows = st.datetimes(min_value=datetime(1980, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - likewise
chances = st.floats(0, 1, exclude_max=True)
spans = st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=30))
schedules = st.builds(
    lambda floor, more, ahead, jitter: Schedule(floor, floor + more, ahead, jitter),
    spans,
    spans,
    st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=400)),
    st.floats(0, 0.99),
)
BEAT = timedelta(microseconds=2)
"""What rounding may cost."""


@given(schedules, nows, st.none() | moments, st.none() | moments, st.none() | moments, st.integers(0, 10**9), chances)
def test_next_fetch_is_between_now_and_the_ceiling(
    schedule: Schedule,
    now: datetime,
    fetched: datetime | None,
    this: datetime | None,
    following: datetime | None,
    failures: int,
    chance: float,
) -> None:
    """Whatever the clocks and the CRL say."""
    due = schedule.next_fetch(now, fetched, this, following, failures, chance)
    assert now <= due <= now + schedule.ceiling + BEAT


@given(schedules, nows, spans, st.none() | moments, st.none() | moments, st.integers(0, 100), chances)
def test_source_is_never_asked_more_often_than_the_floor(
    schedule: Schedule,
    fetched: datetime,
    since: timedelta,
    this: datetime | None,
    following: datetime | None,
    failures: int,
    chance: float,
) -> None:
    """As long as the clock goes forward."""
    due = schedule.next_fetch(fetched + since, fetched, this, following, failures, chance)
    assert due >= fetched + schedule.floor - BEAT


@given(schedules, nows, st.timedeltas(timedelta(0), timedelta(days=3650)), st.integers(0, 100), chances)
def test_source_is_asked_before_the_crl_expires(
    schedule: Schedule, fetched: datetime, life: timedelta, failures: int, chance: float
) -> None:
    """Failing or not, wherever the floor leaves room for it."""
    assume(life >= schedule.floor * (1 + schedule.jitter) * 2)
    due = schedule.next_fetch(fetched, fetched, fetched - DAY, fetched + life, failures, chance)
    assert due <= fetched + life


@given(schedules, nows, st.none() | moments, st.integers(1, 100), chances)
def test_back_off_does_not_shrink(
    schedule: Schedule, fetched: datetime, following: datetime | None, failures: int, chance: float
) -> None:
    """One failure more never means asking sooner."""
    once, again = (schedule.next_fetch(fetched, fetched, None, following, n, chance) for n in (failures, failures + 1))
    assert once <= again


@given(schedules, nows, moments, st.integers(0, 100))
def test_chance_moves_the_fetch_by_the_jitter_at_most(
    schedule: Schedule, fetched: datetime, following: datetime, failures: int
) -> None:
    """It is spread over a share of the interval."""
    first, last = (schedule.next_fetch(fetched, fetched, None, following, failures, c) for c in (0.0, 0.999999))
    assert timedelta(0) <= last - first <= (last - fetched) * schedule.jitter + 10 * BEAT + schedule.ceiling * 1e-5


def due(
    schedule: Schedule = PLAIN, *, life: timedelta | None = 7 * DAY, failures: int = 0, chance: float = 0.5
) -> timedelta:
    """How long after a fetch at NOW of a CRL begun a day ago, expiring in `life`, the next one is due."""
    following = None if life is None else NOW + life
    return schedule.next_fetch(NOW, NOW, NOW - DAY, following, failures, chance) - NOW


def test_source_never_asked_is_asked_now() -> None:
    """At the start."""
    assert PLAIN.next_fetch(NOW, None, None, None, 0, 0.5) == NOW


def test_long_lived_crl_is_asked_for_at_the_ceiling() -> None:
    """A revocation is published long before nextUpdate; and year 9999 is no reason never to ask."""
    assert due() == HOUR
    assert PLAIN.next_fetch(NOW, NOW, NOW, datetime.max.replace(tzinfo=UTC), 0, 0.5) == NOW + HOUR


def test_crl_is_asked_for_ahead_of_next_update() -> None:
    """By the time the operator set."""
    assert due(life=40 * MINUTE) == 30 * MINUTE


def test_crl_of_a_short_life_is_asked_for_at_half_of_it() -> None:
    """Else it would be asked for all the time."""
    assert PLAIN.next_fetch(NOW, NOW, NOW, NOW + 6 * MINUTE, 0, 0.5) == NOW + 3 * MINUTE


def test_crl_whose_begin_is_not_known_is_asked_for_ahead() -> None:
    """By the full time."""
    assert PLAIN.next_fetch(NOW, NOW, None, NOW + 12 * MINUTE, 0, 0.5) == NOW + 2 * MINUTE


def test_crl_that_has_expired_is_asked_for_at_the_floor() -> None:
    """Its server answers, with nothing newer yet."""
    assert due(life=-DAY) == MINUTE


def test_crl_that_ends_before_it_begins_is_asked_for_at_the_floor() -> None:
    """Nonsense of the issuer's."""
    assert PLAIN.next_fetch(NOW, NOW, NOW + DAY, NOW - DAY, 0, 0.5) == NOW + MINUTE


def test_crl_without_next_update_is_asked_for_at_the_ceiling() -> None:
    """Nothing says when it ends."""
    assert due(life=None) == HOUR


def test_failing_source_is_asked_ever_more_rarely() -> None:
    """Doubling from the floor to the ceiling, while the CRL held is good for long."""
    assert [due(failures=n) // MINUTE for n in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_failing_source_is_asked_more_often_as_next_update_comes_near() -> None:
    """Half of what is left each time, down to the floor."""
    assert due(failures=20, life=40 * MINUTE) == 20 * MINUTE
    assert due(failures=20, life=10 * MINUTE) == 5 * MINUTE
    assert due(failures=20, life=MINUTE) == MINUTE


def test_failing_source_of_an_expired_crl_is_asked_every_few_floors() -> None:
    """People are locked out: an hour is too long to notice that the server is back."""
    assert due(failures=20, life=-DAY) == OVERDUE_FLOORS * MINUTE
    assert due(failures=1, life=-DAY) == MINUTE


def test_failing_source_of_nothing_held_backs_off_to_the_ceiling() -> None:
    """A dead address in somebody's certificate."""
    assert due(failures=20, life=None) == HOUR


def test_jitter_makes_the_wait_shorter() -> None:
    """By up to its share."""
    assert due(JITTERY, chance=0.0) == 48 * MINUTE
    assert due(JITTERY, chance=0.5) == 54 * MINUTE
    assert due(JITTERY, chance=1.0) == HOUR


def test_jitter_at_the_floor_makes_the_wait_longer() -> None:
    """Sources that started together come apart, and none is asked too often."""
    assert due(JITTERY, life=-DAY, chance=0.0) == MINUTE
    assert due(JITTERY, life=-DAY, chance=1.0) == 1.2 * MINUTE


def test_clock_gone_back_asks_now() -> None:
    """The time of the last fetch lies ahead: waiting for it could be for ever."""
    assert PLAIN.next_fetch(NOW, NOW + 365 * DAY, NOW, NOW + DAY, 3, 0.5) == NOW


def test_clock_gone_forward_asks_now() -> None:
    """Everything is overdue, and the due time is not in the past."""
    assert PLAIN.next_fetch(NOW + 365 * DAY, NOW, NOW, NOW + DAY, 0, 0.5) == NOW + 365 * DAY


def test_ceiling_below_the_floors_spread_bounds_it() -> None:
    """A ceiling equal to the floor: a fixed interval."""
    fixed = Schedule(MINUTE, MINUTE, MINUTE, 0.5)
    assert {due(fixed, chance=chance) for chance in (0.0, 0.5, 0.9)} == {MINUTE}


@pytest.mark.parametrize(
    ("floor", "ceiling", "ahead", "jitter"),
    [
        (timedelta(0), HOUR, HOUR, 0.1),
        (-MINUTE, HOUR, HOUR, 0.1),
        (HOUR, MINUTE, HOUR, 0.1),
        (MINUTE, HOUR, -MINUTE, 0.1),
        (MINUTE, HOUR, MINUTE, 1.0),
        (MINUTE, HOUR, MINUTE, -0.1),
        (MINUTE, HOUR, MINUTE, float("nan")),
    ],
)
def test_schedule_that_makes_no_sense_is_an_error_of_the_operator(
    floor: timedelta, ceiling: timedelta, ahead: timedelta, jitter: float
) -> None:
    """Reported at the start."""
    with pytest.raises(ConfigError) as error:
        Schedule(floor, ceiling, ahead, jitter)
    assert error.value.hint
