"""`authz expiry`: what ends when, whose it is, and who stops by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from importlib import import_module
from typing import Annotated, Any, Final

import typer

from authz.admin.expiry import Ending, endings, stopping
from authz.cli.options import AsJson, expect_many_rows, open_store, settings_of
from authz.cli.output import Row, emit, say
from authz.clock import SystemClock
from authz.model import Expiring


class By(StrEnum):
    """What a line is about."""

    CERTIFICATE = "certificate"
    USER = "user"
    ANCHOR = "anchor"
    ORGANIZATION = "organization"


def expiry(
    context: typer.Context,
    days: Annotated[int, typer.Option("--days", min=0, max=36_500, help="Only what ends within so many days.")] = 30,
    by: Annotated[
        By,
        typer.Option("--by", help="A line for each thing that ends; each user who stops; or the sums of the others."),
    ] = By.CERTIFICATE,
    as_json: AsJson = False,
) -> None:
    """What ends when, whose it is, how many users stop by it, and what is there to replace it.

    CAs and CRLs come first, then by organization what belongs to single users. A CA that only clients have has no date.
    """
    expect_many_rows()
    now = SystemClock().now()
    until = now + timedelta(days=days)
    counted = _Counted()
    with open_store(context) as store, store.reading() as connection:
        asked = partial(endings, anchors=by is By.ANCHOR)
        ends = (stopping if by is By.USER else asked)(connection, now, until)
        emit(_ROWS[by](counted.through(_all(context, ends, now, until))), as_json=as_json)
    what = "ends by which a user stops" if by is By.USER else "end"
    say(f"{counted.lines} {what} within {days} days; users who stop by an end of their own: {counted.stops}")


_OWN: Final = {Expiring.REGISTRATION, Expiring.PRESENTED}
"""What belongs to a single user."""


class _Counted:
    """Counts the lines as they pass, and the users who stop by an end of their own."""

    def __init__(self) -> None:
        self.lines = self.stops = 0
        self._last: tuple[object, ...] = ()

    def through(self, lines: Iterator[Ending]) -> Iterator[Ending]:
        """The same."""
        for ending in lines:
            self.lines += ending.at is not None
            self.stops += self.new(ending)
            yield ending

    def new(self, ending: Ending) -> int:
        """1 for a user who stops by it, unless the line before was of the same user and moment."""
        if not (ending.kind in _OWN and ending.stops):
            return 0
        last, self._last = self._last, (ending.organization, ending.user, ending.at)
        return int(last != self._last)


def _all(context: typer.Context, lines: Iterator[Ending], now: datetime, until: datetime) -> Iterator[Ending]:
    """With the certificates of the service's own TLS, which its settings name."""
    settings = settings_of(context)
    files: Any = import_module("authz.app.directory_reports")
    for path, own in files.own_tls_files(settings):
        for end in files.tls_ends(path):
            if now <= end <= until:
                whose = "of the service" if own else "of a CA of its clients"
                yield Ending(end, Expiring.OWN_TLS, f"certificate {whose} in {path}", "", "", 0, 0)
    yield from lines


def _certificate_rows(lines: Iterator[Ending]) -> Iterator[Row]:
    columns = "at", "kind", "what", "organization", "user", "below", "stops", "replacement"
    for ending in lines:
        yield dict(zip(columns, ending, strict=False))


def _user_rows(lines: Iterator[Ending]) -> Iterator[Row]:
    for ending in lines:
        if ending.user and ending.stops:
            yield {name: getattr(ending, name) for name in ("at", "organization", "user", "kind", "what")}


def _sums(column: str, keys: Callable[[Ending], list[str]]) -> Callable[[Iterator[Ending]], Iterator[Row]]:
    """A row for each key: how much ends, what first, and how many users stop by an end of their own."""

    def rows(lines: Iterator[Ending]) -> Iterator[Row]:
        sums: dict[str, dict[str, Any]] = {}
        counted = _Counted()
        for ending in lines:
            stops = counted.new(ending)
            for key in keys(ending):
                row = sums.setdefault(
                    key, {column: key, "first": ending.at, "what": ending.what, "ends": 0, "stops": 0}
                )
                if ending.at is not None and (row["first"] is None or ending.at < row["first"]):
                    row |= {"first": ending.at, "what": ending.what}
                row["ends"] += 1
                row["stops"] += stops
        yield from (sums[key] for key in sorted(sums))

    return rows


_ROWS: dict[By, Callable[[Iterator[Ending]], Iterator[Row]]] = {
    By.CERTIFICATE: _certificate_rows,
    By.USER: _user_rows,
    By.ANCHOR: _sums("anchor", lambda ending: [anchor.hex() for anchor in ending.anchors] or [""]),
    By.ORGANIZATION: _sums("organization", lambda ending: [ending.organization]),
}
