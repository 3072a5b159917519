"""`authz cert rotate`: renewed certificates, one or a folder of them."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import typer

from authz.admin.apply import take
from authz.admin.plan import Action
from authz.admin.rotation import Renewal, rotation
from authz.cli.advice import advice
from authz.cli.moments import read_moment
from authz.cli.options import open_store
from authz.cli.output import emit_one, fail, hint, say
from authz.cli.pem_file import read_certificates
from authz.clock import SystemClock
from authz.directory.row_log import read_state
from authz.errors import AdvisedError, ConfigError

SUFFIXES: Final = {".pem", ".crt", ".cer", ".der"}


def rotate(
    context: typer.Context,
    organization: str,
    user: str | None,
    file: Path | None,
    folder: Path | None,
    *,
    overlap: str,
    label: str | None,
    as_json: bool,
) -> None:
    """Register renewed certificates; the ones before them end after the overlap. All of them, or none."""
    if (folder is None) == (user is None or file is None):
        raise typer.BadParameter("give USER and FILE, or --from FOLDER")
    now = SystemClock().now()
    end = read_moment(overlap, now, unsigned="+")
    if end < now:
        raise typer.BadParameter(f"{overlap} is before now: what was good until then is not changed any more")
    files = _of_folder(folder) if folder is not None else [(str(user), Path(str(file)))]
    renewals, errors = _read(files)
    with open_store(context) as store:
        with store.reading() as connection:
            state = read_state(connection)
            rotated = rotation(connection, organization, renewals, end, now, label=label)
        errors += rotated.errors
        for error in errors:
            fail(str(error), advice(error))
        if errors:
            say(f"{len(errors)} errors: nothing was changed")
            raise typer.Exit(1)
        store.apply_id = secrets.token_hex(8)
        taken: Counter[Action] = Counter()
        for batch in take(store, iter(rotated.steps), len(rotated.steps), state, now):
            taken.update(batch)
    ends = end if taken[Action.CHANGE] else None
    emit_one({"registered": taken[Action.ADD], "ending": taken[Action.CHANGE], "end": ends}, as_json=as_json)
    if not taken:
        hint("each of them was registered already, and nothing is before it")


def _read(files: Iterable[tuple[str, Path]]) -> tuple[list[Renewal], list[AdvisedError]]:
    """The certificates for each user, and what is wrong with files."""
    read: dict[str, Renewal] = {}
    errors: list[AdvisedError] = []
    for user, file in files:
        try:
            if user in read:
                message = f"{read[user].source} and {file} are both for {user}"
                raise ConfigError(message, hint="leave one file for each user")
            read[user] = Renewal(user, read_certificates(file), str(file))
        except AdvisedError as error:
            errors.append(error)
    return list(read.values()), errors


def _of_folder(folder: Path) -> list[tuple[str, Path]]:
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and not path.name.startswith("."))
    except OSError as error:
        raise ConfigError(
            f"cannot read {folder}: {error.strerror}", hint="give a folder with a file for each user"
        ) from error
    if not files:
        raise ConfigError(f"{folder} has no certificates", hint="name each file by its user: alice.pem")
    return [(path.stem, path) for path in files]
