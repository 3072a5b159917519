"""What every verb shares: the settings, the directory, and how moments are written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from authz.app.config import Settings, load_settings
from authz.directory import Store

MAX_ID: Final = 2**63 - 1
"""The largest id that a row can have."""

Anyway = Annotated[bool, typer.Option("--anyway", help="Do it in spite of what is warned of.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, help="At most so many; if absent 100 in a table, and all as JSON.")
]
AfterId = Annotated[
    int | None, typer.Option("--after", min=0, max=MAX_ID, metavar="ID", help="Only those behind this one.")
]
AfterName = Annotated[str | None, typer.Option("--after", metavar="NAME", help="Only those behind this one.")]
OrganizationName = Annotated[str, typer.Argument(metavar="ORGANIZATION", help="The organization's name.")]
UserName = Annotated[str, typer.Argument(metavar="USER", help="The user's name, as it stands in the user's tokens.")]
InFile = Annotated[Path, typer.Argument(metavar="FILE", help="PEM or DER.")]


def moment(text: str) -> datetime:
    """A moment as ISO 8601; without an offset it is UTC. For Typer's `parser`."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text} is not a moment such as 2026-12-31T23:59:59Z") from None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def settings_of(context: typer.Context) -> Settings:
    """The settings of this call. Raises `ConfigError`."""
    return load_settings(context.obj)


@contextmanager
def open_store(context: typer.Context) -> Iterator[Store]:
    """The directory of this call. Raises `ConfigError` or `StoreError`."""
    store = Store(settings_of(context).database)
    try:
        yield store
    finally:
        store.close()
