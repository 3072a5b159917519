"""`authz audit`: who changed what in the directory, and whether the log of it is whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from authz.admin.audit import CHECKPOINT_EVENT, Unrecorded, listed, parse_checkpoint, prune_audit, verify
from authz.cli.moments import moment
from authz.cli.options import MAX_ID, AsJson, Limit, open_store
from authz.cli.output import Row, emit_one, emit_page, fail, hint, say
from authz.directory.audit import AuditEntry, AuditFilter, get_entry
from authz.errors import ConfigError

app = typer.Typer(no_args_is_help=True)

_HINT = "give a file with the line of the service's log"

MAX_LINE = 64 * 1024
"""Characters of a line of the service's log that are read together."""

Before = Annotated[
    int | None, typer.Option("--after", min=1, max=MAX_ID, metavar="ID", help="Only those behind this one.")
]


@app.command("list", epilog="Example: authz audit list --organization acme --object 'user alice'")
def list_(
    context: typer.Context,
    organization: Annotated[str | None, typer.Option("--organization", help="Of one organization only.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="By one actor only, as list shows it.")] = None,
    thing: Annotated[
        str | None, typer.Option("--object", help="Of one thing only; its beginning is enough: 'user alice'.")
    ] = None,
    apply_id: Annotated[str | None, typer.Option("--apply", metavar="ID", help="Of one apply only.")] = None,
    since: Annotated[
        datetime | None, typer.Option("--since", parser=moment, metavar="TIME", help="Not before this moment.")
    ] = None,
    limit: Limit = None,
    after: Before = None,
    as_json: AsJson = False,
) -> None:
    """List changes, the newest first. Without a filter, what changed beside the log is listed, too."""
    wanted = AuditFilter(organization, actor, thing, apply_id, since, after)
    unrecorded: list[Unrecorded] = []

    def entries() -> Iterator[Row]:
        for entry in listed(connection, wanted):
            if isinstance(entry, Unrecorded):
                unrecorded.append(entry)
            else:
                yield _row(entry)

    with open_store(context) as store, store.reading() as connection:
        any_listed = emit_page(entries(), "id", limit, as_json=as_json)
    for gap in unrecorded:
        say(str(gap))
    if unrecorded:
        hint("something wrote to the database that is no part of authz: authz audit verify")
    elif not any_listed and after is None:
        hint("every change by a command is recorded here from the first one on")


def _row(entry: AuditEntry) -> Row:
    names = ("id", "at", "actor", "via", "action", "object", "organization")
    return {name: getattr(entry, name) for name in names}


@app.command("show", epilog="Example: authz audit show 42")
def show(
    context: typer.Context,
    number: Annotated[int, typer.Argument(metavar="ID", min=1, max=MAX_ID, help="The entry's id, as list shows it.")],
    as_json: AsJson = False,
) -> None:
    """Show one change: what was before, and what came after."""
    with open_store(context) as store, store.reading() as connection:
        entry = get_entry(connection, number)
    values = {name: None if text is None else json.loads(text) for name, text in _values(entry)}
    if not as_json:
        values = {name: "" if value is None else json.dumps(value) for name, value in values.items()}
    names = ("apply_id", "revision_before", "revision_after", "previous", "hash")
    emit_one({**_row(entry), **values, **{name: getattr(entry, name) for name in names}}, as_json=as_json)


def _values(entry: AuditEntry) -> tuple[tuple[str, str | None], ...]:
    return ("before", entry.before), ("after", entry.after)


@app.command("verify", epilog="Example: authz audit verify --checkpoint checkpoint.json (a line of the service's log)")
def verify_(
    context: typer.Context,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint",
            metavar="LINE",
            help="A line of the service's log with the event audit_checkpoint, a file that holds it, or ORIGIN SIZE "
            "HEAD: what was removed from the end since then is reported.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read the whole log. Exit code 1 if anything in it was changed, removed or reordered, or changed beside it."""
    expected = None if checkpoint is None else parse_checkpoint(_line(checkpoint))
    with open_store(context) as store:
        verified = verify(store, expected)
    head = verified.checkpoint
    state = {"origin": head.origin, "size": head.size, "head": head.head} if head else {}
    emit_one({"entries": verified.entries, **state, "sound": not verified.problems}, as_json=as_json)
    if verified.problems:
        for problem in islice(verified.problems, 20):
            say(problem)
        fail(f"the audit log has {len(verified.problems)} problems", "compare it with a backup")
        raise typer.Exit(1)
    if expected is None:
        hint("what was cut off its end shows only against a checkpoint that was kept elsewhere: --checkpoint LINE")


def _line(text: str) -> str:
    """The line itself; of the file that it names, which may be a log, the last checkpoint, or else the last line."""
    last, found, path = "", False, Path(text)
    try:
        if path.exists() and not (path.is_file() or path.is_fifo()):
            raise ConfigError(f"{text} is neither a file nor a pipe", hint=_HINT)
        with path.open(encoding="utf-8") as file:
            while line := file.readline(MAX_LINE):
                here = CHECKPOINT_EVENT in line
                if line.strip() and (here or not found):
                    last, found = line, found or here
    except (OSError, ValueError):
        return text
    if not last:
        raise ConfigError(f"{text} is empty", hint=_HINT)
    return last


@app.command("prune", epilog="Example: authz audit prune --before 2026-01-01 (keep a backup of it first)")
def prune(
    context: typer.Context,
    before: Annotated[
        datetime | None, typer.Option("--before", parser=moment, metavar="TIME", help="What is older goes.")
    ] = None,
    max_bytes: Annotated[
        int | None, typer.Option("--max-bytes", min=0, help="The oldest go until so many bytes are left, about.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove the oldest entries. That is recorded, with the hash of the last one, so that the rest still verifies."""
    if before is None and max_bytes is None:
        raise typer.BadParameter("give --before or --max-bytes")
    with open_store(context) as store:
        removed = prune_audit(store, before=before, max_bytes=max_bytes)
    emit_one({"removed": removed}, as_json=as_json)
