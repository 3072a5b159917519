"""Moments as an operator types them: one parser for every option."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import typer
from hypothesis import example, given
from hypothesis import strategies as st

from authz.admin.documents import moment as document_moment
from authz.cli.moments import moment, past_moment, read_moment

NOW = datetime(2026, 11, 29, 4, 30, 15, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2026-12-31T23:00", "2026-12-31T23:00:00Z", "2027-01-01T01:00+02:00"])
def test_moment_without_an_offset_is_utc(text: str) -> None:
    """Another offset counts."""
    assert moment(text) == datetime(2026, 12, 31, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("now", NOW),
        ("today", datetime(2026, 11, 29, tzinfo=UTC)),
        ("yesterday", datetime(2026, 11, 28, tzinfo=UTC)),
        ("tomorrow", datetime(2026, 11, 30, tzinfo=UTC)),
        ("+90d", NOW + timedelta(days=90)),
        ("-2h", NOW - timedelta(hours=2)),
        ("+30m", NOW + timedelta(minutes=30)),
        ("+0s", NOW),
        ("-3w", NOW - timedelta(weeks=3)),
        ("2026-12-31", datetime(2026, 12, 31, tzinfo=UTC)),
    ],
)
def test_moment_is_seen_from_now(text: str, seen: datetime) -> None:
    """Days begin at midnight in UTC, and a span is counted to the second."""
    assert read_moment(text, NOW) == seen


def test_span_without_a_sign_is_ago_only_where_an_option_looks_back() -> None:
    """Elsewhere the message shows both ways to write it: a retirement two hours ago is not one in two hours."""
    assert read_moment("2h", NOW, unsigned="-") == NOW - timedelta(hours=2)
    assert past_moment("2h") < past_moment("now")
    with pytest.raises(typer.BadParameter, match=r"write \+2h for later, -2h for earlier"):
        moment("2h")


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "someday", "2026-13-01", "1767225600", "23:00", "+", "d", "+d", "+1y", "+1 d", "1d2h", "++1d", "+-1d",
        "+1.5h", "+1e3d", "+9999999999d", "+999999999w", "-999999999w", "+\u0661d", "+1d\n", "Yesterday", "tomorrow ",
        "0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00", "2026-12-31T23:59:60Z", "2026-02-29", "\0",
    ],
)  # fmt: skip
def test_moment_that_cannot_be_read_is_wrong_usage(text: str) -> None:
    """The message shows the forms."""
    with pytest.raises(typer.BadParameter, match="2026-12-31T23:59:59Z"):
        moment(text)


@given(st.one_of(st.text(), st.from_regex(r"[+-]?[0-9]{1,12}[smhdw]?"), st.datetimes().map(str)))
@example("0001-01-01T00:00:00+23:59")
def test_any_text_is_a_moment_in_utc_or_wrong_usage(text: str) -> None:
    """No other error, and no moment without a zone."""
    try:
        seen = read_moment(text, NOW)
    except typer.BadParameter:
        return
    assert seen.utcoffset() == timedelta(0)


@pytest.mark.parametrize("text", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00"])
def test_moment_of_a_document_that_no_calendar_holds_in_utc_is_refused(text: str) -> None:
    """As the command refuses it: with a sentence."""
    with pytest.raises(ValueError, match="is not a moment"):
        document_moment(text)
