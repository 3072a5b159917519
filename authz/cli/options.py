"""What every verb shares: the settings, the directory, and the names of what is changed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from authz.admin.audited_store import AuditedStore
from authz.app.variables import database_of_environment

if TYPE_CHECKING:
    from authz.app.config import Settings

GARBAGE: Final = 50_000
"""New objects after which Python looks for cycles where a verb reads rows by the million: they make none."""

MAX_ID: Final = 2**63 - 1
"""The largest id that a row can have."""

Anyway = Annotated[bool, typer.Option("--anyway", help="Do it in spite of what is warned of.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, max=MAX_ID, help="At most so many; if absent 100 in a table, and all as JSON."),
]
AfterId = Annotated[
    int | None, typer.Option("--after", min=0, max=MAX_ID, metavar="ID", help="Only those behind this one.")
]
AfterName = Annotated[str | None, typer.Option("--after", metavar="NAME", help="Only those behind this one.")]
OrganizationName = Annotated[str, typer.Argument(metavar="ORGANIZATION", help="The organization's name.")]
UserName = Annotated[str, typer.Argument(metavar="USER", help="The user's name, as it stands in the user's tokens.")]
InFile = Annotated[Path, typer.Argument(metavar="FILE", help="PEM or DER.")]


def sha256_text(text: str) -> str:
    """A SHA-256 in hexadecimal, or its beginning, without the colons that `openssl x509 -fingerprint` writes."""
    return text.replace(":", "")


def expect_many_rows() -> None:
    """Have Python look for cycles less often, until the verb ends."""
    gc.set_threshold(GARBAGE)


def settings_of(context: typer.Context) -> Settings:
    """The settings of this call. Raises `ConfigError`."""
    load: Callable[[Path | None], Settings] = import_module("authz.app.config").load_settings
    return load(context.obj)


def database_of(context: typer.Context) -> str:
    """The URL of the directory of this call; the settings are read only where they say more. Raises `ConfigError`."""
    url = database_of_environment() if context.obj is None else None
    return settings_of(context).database if url is None else url


@contextmanager
def open_store(context: typer.Context) -> Iterator[AuditedStore]:
    """The directory of this call, in the name of the user who calls. Raises `ConfigError` or `StoreError`."""
    store = AuditedStore(database_of(context))
    try:
        yield store
    finally:
        store.close()
