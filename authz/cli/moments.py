"""Moments as an operator types them: ISO 8601, the name of a day, or a span from now on or back. Times are UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import typer

from authz.clock import SystemClock

_SPAN: Final = re.compile(r"([+-]?)([0-9]{1,9})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DAYS: Final = {"yesterday": -1, "today": 0, "tomorrow": 1}


def moment(text: str) -> datetime:
    """For Typer's `parser`: a moment; a span has a sign, as `+90d` and `-2h` do."""
    return read_moment(text, SystemClock().now())


def past_moment(text: str) -> datetime:
    """For Typer's `parser`, where only what was before now makes sense: `2h` is two hours ago."""
    return read_moment(text, SystemClock().now(), unsigned="-")


def read_moment(text: str, now: datetime, *, unsigned: str = "") -> datetime:
    """The moment that `text` names, seen from `now`; a span without a sign has `unsigned`. Raises `BadParameter`."""
    try:
        if text == "now":
            return now
        if text in _DAYS:
            midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
            return midnight + timedelta(days=_DAYS[text])
        span = _SPAN.fullmatch(text)
        if span is None:
            return _iso(text)
        sign, number, unit = span.groups()
        sign = sign or unsigned
        if not sign:
            raise typer.BadParameter(f"{text} is no moment: write +{text} for later, -{text} for earlier")
        return now + timedelta(**{_UNITS[unit]: int(f"{sign}{number}")})
    except (ValueError, OverflowError):
        forms = "2026-12-31T23:59:59Z, yesterday, +90d or -2h"
        raise typer.BadParameter(f"{text} is not a moment such as {forms}") from None


def _iso(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
