"""`authz user set --all` and `--from`: what is demanded of many users at once, and who would be denied by it."""

from __future__ import annotations

import secrets
from collections import Counter
from pathlib import Path
from shlex import quote
from typing import Final

import typer

from authz.admin.apply import take
from authz.admin.audited_store import AuditedStore
from authz.admin.enforcement import count_changed, enforcement_steps
from authz.admin.plan import Action
from authz.admin.refusals import refusals
from authz.cli.output import emit, emit_one, hint, say
from authz.clock import SystemClock
from authz.directory.row_log import read_state
from authz.errors import ConfigError
from authz.model import Enforcement

MAX_NAMES: Final = 16 * 1024 * 1024
"""Bytes of a file with names: a million of them."""


def read_names(path: Path) -> list[str]:
    """The names in a file, one a line. Raises `ConfigError`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_NAMES + 1)
        text = data.decode("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"cannot read {path}: {reason}", hint="give a file with a name on each line") from error
    names = [name for name in text.split("\n") if name]
    if len(data) > MAX_NAMES or not names:
        raise ConfigError(f"{path} is empty, or too large", hint="give a file with a name on each line")
    return list(dict.fromkeys(name.removesuffix("\r") for name in names))


def set_enforcement(
    store: AuditedStore,
    organization: str,
    names: list[str] | None,
    enforcement: Enforcement,
    *,
    anyway: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Change the enforcement of many users.

    First those who would be denied by it are listed; if there are any, nothing is changed without `anyway`.
    """
    now = SystemClock().now()
    with store.reading() as connection:
        state = read_state(connection)
        total = count_changed(connection, organization, names, enforcement)
        steps = enforcement_steps(connection, organization, names, enforcement)
        denied = [refusal._asdict() for refusal in refusals(connection, steps, now)]
        if denied and not as_json:
            emit(denied, as_json=False)
        if dry_run or (denied and not anyway):
            would = {"changed": 0, "would_change": total, "denied": denied if as_json else len(denied)}
            emit_one(would, as_json=as_json)
            if denied and not dry_run:
                say("nothing was changed: these users were seen with what would be denied")
                observed = f"authz decisions list --organization {quote(organization)} --outcome observed"
                hint(f"look at each: {observed}; --anyway changes all")
                raise typer.Exit(1)
            return
        taken: Counter[Action] = Counter()
        store.apply_id = secrets.token_hex(8)
        steps = enforcement_steps(connection, organization, names, enforcement)
        for batch in take(store, steps, total, state, now):
            taken.update(batch)
    emit_one({"changed": taken.total(), "denied": denied if as_json else len(denied)}, as_json=as_json)
