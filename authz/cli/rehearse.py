"""`authz rehearse`: whom an enforcement would refuse, before it is switched on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal

import typer

from authz.admin.rehearsal import Rehearsed, known_from, rehearse
from authz.cli.options import AsJson, OrganizationName, open_store, settings_of
from authz.cli.output import Row, emit, hint, say
from authz.clock import SystemClock

Wanted = Annotated[Literal["required"], typer.Option("--enforcement", help="The enforcement that is rehearsed.")]
Days = Annotated[int, typer.Option("--days", min=1, max=36_500, help="How far back is looked.")]


def rehearse_(
    context: typer.Context,
    organization: OrganizationName,
    enforcement: Wanted = "required",
    days: Days = 14,
    as_json: AsJson = False,
) -> None:
    """Whom required would refuse, why and how often, by what was recorded, and who was never seen.

    A row for each user whose enforcement is another one, and for each reason. Nothing is changed.
    """
    now, history = SystemClock().now(), settings_of(context).history
    since = now - timedelta(days=days)
    users: dict[Rehearsed, int] = Counter()
    with open_store(context) as store, store.reading() as connection:
        begun = known_from(connection, organization, since, now - timedelta(days=history.days))

        def rows() -> Iterator[Row]:
            last = None
            for user in rehearse(connection, organization, since, now):
                users[user.outcome] += user.user != last
                last = user.user
                yield user._asdict()

        emit(rows(), as_json=as_json)
    counts = "; ".join(f"{outcome}: {users[outcome]}" for outcome in Rehearsed)
    known = "nothing was recorded" if begun is None else f"recorded since {begun:%Y-%m-%d %H:%M:%SZ}"
    say(f"under {enforcement}: {counts} ({known})")
    if not history.rows:
        hint("nothing is recorded: history.rows is 0")
