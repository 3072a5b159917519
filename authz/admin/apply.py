"""Takes the steps of a plan: one transaction for up to 20,000 of them, else batches, each whole and each audited.

Everything but the statements and the hashes of the audit log is made ready before the lock is taken. If the directory
changed since it was compared, in something that a batch touches, it is compared again; so a batch does what the plan
said, or nothing.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from hashlib import sha256
from itertools import groupby, islice
from typing import Any, Final

import orjson
import sqlalchemy as sa

from authz.admin.audited_store import AuditedStore, Change
from authz.admin.documents import Kind, RegistrationName, StoredLeaf, moment, retired_content
from authz.admin.organizations import OrganizationChange, PathChange, TokenChange
from authz.admin.plan import Action, Plan, Step, name_of
from authz.directory import crls, organizations, schema
from authz.directory.audit import Audited, draft
from authz.directory.authorities import ANCHORS, INTERMEDIATES
from authz.directory.bulk import (
    ADD_REGISTRATIONS,
    ADD_USERS,
    CHANGE_REGISTRATIONS,
    CHANGE_USERS,
    REMOVE_USERS,
    RETIRE_REGISTRATIONS,
    BulkStatement,
    bulk,
)
from authz.directory.keys import ChangedKey, CrlKey, RegistrationsByKey, RegistrationsKey, UserKey
from authz.directory.leaf_columns import READ
from authz.directory.row_log import State, changes, read_state
from authz.errors import Problem, StoreError
from authz.model import Organization
from authz.pki import Certificate, Crl

ONE_TRANSACTION: Final = 20_000
"""Steps that are one transaction."""

BATCH: Final = 5_000
"""Steps that a transaction has at most where there are more."""

FIRST_BATCH: Final = 1_000
"""Steps of the first batch: how fast the machine takes them is not known yet."""

LOCK_SECONDS: Final = 0.5
"""How long the lock is to be held for a batch: the next has fewer steps if one took longer, on a slow disk."""

BETWEEN_BATCHES: Final = 0.15
"""Seconds in which other writers have their turn: those that wait for SQLite look ten times a second."""

TRIES: Final = 10
"""How often the directory is compared again because something else changed what is to be changed."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done: the id of the apply's entries in the audit log, and how many steps each action had."""

    apply_id: str
    counts: Counter[Action]


class ChangedMeanwhileError(StoreError):
    """Something else changed what a batch is to change: nothing of the batch was done."""

    def __init__(self) -> None:
        super().__init__("something else changed what is to be changed", kind=Problem.DIRECTORY_CHANGED)


def compare(
    store: AuditedStore,
    plan: Plan,
    now: datetime,
    progress: Callable[[int], None] = lambda _: None,
    *,
    prune: bool = False,
) -> State:
    """Compare the plan with one state of the directory, which is returned. Raises `StoreError`."""
    with store.reading() as connection:
        state = read_state(connection)
        plan.compare(connection, now, progress, prune=prune)
    return state


def apply(
    store: AuditedStore,
    plan: Plan,
    state: State,
    now: datetime,
    *,
    prune: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Applied:
    """Take the steps of a plan that was compared with `state`; `progress` is called with how many were taken.

    Raises `StoreError`; what was stored until then stays, and another apply goes on from there.
    """
    applied = Applied(secrets.token_hex(8), Counter())
    store.apply_id = applied.apply_id
    for _ in range(TRIES):
        try:
            for taken in take(store, plan.steps(prune=prune), plan.total(prune=prune), state, now):
                applied.counts.update(taken)
                progress(applied.counts.total())
        except ChangedMeanwhileError:
            state = compare(store, plan, now, prune=prune)
            if plan.errors:
                raise plan.errors[0] from None
        else:
            return applied
    raise StoreError("others keep changing what is to be changed", hint="try again when they have ended")


def take(
    store: AuditedStore, steps: Iterator[Step], total: int, state: State, now: datetime
) -> Iterator[Counter[Action]]:
    """Take steps, batch after batch; yields how many of each action a batch had.

    Raises `StoreError`, and `ChangedMeanwhileError` if what a batch touches is not as it was at `state`.
    """
    size = total if total <= ONE_TRANSACTION else min(FIRST_BATCH, BATCH)
    while batch := list(islice(steps, size)):
        prepared = _Prepared(store, batch, now)
        with store.change() as change:
            begin = time.monotonic()
            _check_unchanged(change, state, prepared)
            prepared.write(change)
            state = read_state(change.connection)
        seconds = time.monotonic() - begin
        yield Counter(step.action for step in batch)
        if total > ONE_TRANSACTION:
            size = next_size(size, seconds)
            time.sleep(BETWEEN_BATCHES)


def next_size(size: int, seconds: float) -> int:
    """How many steps the next batch has, if one of that size has held the lock for so many seconds."""
    fitting = size * LOCK_SECONDS / max(seconds, LOCK_SECONDS / 2)
    return max(1, min(BATCH, int(fitting)))


def _check_unchanged(change: Change, known: State, prepared: _Prepared) -> None:
    """Raise `ChangedMeanwhileError` if what the batch touches is not as it was compared."""
    state = read_state(change.connection)
    if state == known:
        return
    changed = changes(change.connection, known, state)
    if changed is None or any(map(prepared.touches(change.connection), changed)):
        raise ChangedMeanwhileError


class _Prepared:
    """A batch, made ready outside of the transaction: the rows of its statements, and its entries."""

    def __init__(self, store: AuditedStore, steps: Sequence[Step], now: datetime) -> None:
        self._steps = steps
        self._groups = [
            (action, kind, list(group)) for (action, kind), group in groupby(steps, lambda s: (s.action, s.wanted.kind))
        ]
        self._written = [_written(store.dialect, *group, now) for group in self._groups]
        self._now = now
        author = store.author()
        self._drafts = [draft(author, _audited(step, now), store.dialect) for step in steps]

    def touches(self, connection: sa.Connection) -> Callable[[ChangedKey], bool]:
        """Whether a change that something else made matters here: of its users, leaves and CRLs; of all else."""
        named = schema.organizations.c.name.in_({step.wanted.organization for step in self._steps})
        query = sa.select(schema.organizations.c.name, schema.organizations.c.id).where(named)
        ids = {row.name: row.id for row in connection.execute(query)}
        users_here = {(ids.get(step.wanted.organization), step.wanted.user) for step in self._steps}
        registered = {
            (ids.get(step.wanted.organization), RegistrationName.of(step.wanted.name).key)
            for step in self._steps
            if step.wanted.kind is Kind.CERTIFICATE
        }

        def touches(key: ChangedKey) -> bool:
            match key:
                case UserKey():
                    return (key.organization, key.name) in users_here
                case RegistrationsKey():
                    return (key.organization, ("certificate", key.sha256)) in registered
                case RegistrationsByKey():
                    return (key.organization, (key.kind, key.value)) in registered
                case CrlKey():
                    return any(step.wanted.kind is Kind.CRL for step in self._steps)
            return True

        return touches

    def write(self, change: Change) -> None:
        """Everything of the batch, with its entries. Raises `StoreError`, with the place of what is refused."""
        for (_, kind, steps), written in zip(self._groups, self._written, strict=True):
            if written is not None:
                statement, values = written
                statement.execute(change.connection, values)
                continue
            write = _ONE_BY_ONE[kind](change.connection, self._now)
            for step in steps:
                _placed(step, partial(write, step))
        change.drafts += self._drafts


def _placed(step: Step, write: Callable[[], object]) -> None:
    try:
        write()
    except StoreError as error:
        where = "" if step.place is None else f"{step.place}: "
        raise StoreError(f"{where}{error}", hint=error.hint, kind=error.kind, **error.about) from error


def _written(
    dialect: sa.Dialect, action: Action, kind: Kind, steps: Iterable[Step], now: datetime
) -> tuple[BulkStatement, list[Any]] | None:
    """The statement of the steps of one kind and action, and its values; None for what is written one by one."""
    if kind in _ONE_BY_ONE:
        return None
    statement = bulk(_STATEMENTS[kind, action], dialect)
    if action is Action.REMOVE:
        # What was registered is remembered as retired: no other registration may admit that leaf.
        return statement, statement.values({"row": step.row, "retired_at": now} for step in steps)
    made = _user_row if kind is Kind.USER else _registration_row
    return statement, statement.values(made(step, now) for step in steps)


_STATEMENTS: Final = {
    (Kind.USER, Action.ADD): ADD_USERS,
    (Kind.USER, Action.CHANGE): CHANGE_USERS,
    (Kind.USER, Action.REMOVE): REMOVE_USERS,
    (Kind.CERTIFICATE, Action.ADD): ADD_REGISTRATIONS,
    (Kind.CERTIFICATE, Action.CHANGE): CHANGE_REGISTRATIONS,
    (Kind.CERTIFICATE, Action.REMOVE): RETIRE_REGISTRATIONS,
}


def _user_row(step: Step, now: datetime) -> dict[str, Any]:  # noqa: ARG001 - as `_registration_row`
    identity = {"row": step.row, "organization": step.wanted.organization, "name": step.wanted.user}
    return {**identity, **orjson.loads(step.wanted.content)}


def _registration_row(step: Step, now: datetime) -> dict[str, Any]:
    content = orjson.loads(step.wanted.content)
    leaf, chain, read = StoredLeaf.of(step.wanted.stored)
    name = RegistrationName.of(step.wanted.name)
    return {
        **dict(zip(READ, read, strict=True)),
        "row": step.row,
        "organization": step.wanted.organization,
        "user_name": step.wanted.user,
        "kind": name.kind,
        "identity": name.identity,
        "anchor_sha256": name.anchor,
        "sha256": sha256(leaf).digest() if leaf else None,
        "der": leaf or None,
        "chain": chain if leaf else None,
        "chain_sha256": sha256(chain).digest() if chain else None,
        "label": content["label"],
        "valid_from": moment(content["from"]),
        "valid_until": moment(content["until"]),
        "retired_at": moment(content["retired"]),
        "created_at": now,
    }


def _audited(step: Step, now: datetime) -> Audited:
    """The entry of a step; a certificate that is not written any more is retired."""
    wanted, after = step.wanted, step.wanted.content or None
    action = step.action.name.lower()
    if step.action is Action.REMOVE and wanted.kind is Kind.CERTIFICATE:
        action, after = "retire", retired_content(step.before or b"", now)
    return Audited(action, name_of(wanted), wanted.organization or None, step.before, after)


# -- organizations, anchors, intermediates and CRLs: few, and each with checks of its own ------------


def _write_organization(connection: sa.Connection, step: Step) -> None:
    name = step.wanted.organization
    if step.action is Action.REMOVE:
        organizations.remove_organization(connection, name)
    elif step.action is Action.ADD:
        organizations.add_organization(connection, organization_of(step.wanted.content))
    else:
        wanted = replace(organization_of(step.wanted.content), id=step.row or 0)
        organizations.set_organization(connection, wanted)


def organization_of(content: bytes) -> Organization:
    """The organization that a document describes, with the id 0."""
    value = orjson.loads(content)
    token, path = TokenChange(**value["token"]), PathChange(**value["path"])
    change = OrganizationChange(
        value["hosts"],
        value["active"],
        value["binding_scope"],
        value["enforcement"],
        token,
        path,
        value["binding_kinds"],
    )
    return change.of(Organization(0, value["name"], ()))


def _write_authority(connection: sa.Connection, step: Step) -> None:
    authorities = ANCHORS if step.wanted.kind is Kind.ANCHOR else INTERMEDIATES
    owner = step.wanted.organization or None
    if step.action is Action.REMOVE:
        authorities.remove(connection, owner, bytes.fromhex(step.wanted.name))
    else:
        authorities.add(connection, owner, [Certificate.parse(step.wanted.stored)])


def _crl_writer(connection: sa.Connection, now: datetime) -> Callable[[Step], object]:
    # The CAs of the same documents are among them.
    known = crls.known_cas(connection)

    def write(step: Step) -> None:
        if step.action is Action.REMOVE:
            crls.remove_crl(connection, bytes.fromhex(step.wanted.name))
        else:
            crls.add_crl(connection, Crl(step.wanted.stored), known, now)

    return write


_ONE_BY_ONE: Final[dict[Kind, Callable[[sa.Connection, datetime], Callable[[Step], object]]]] = {
    Kind.ORGANIZATION: lambda connection, _: partial(_write_organization, connection),
    Kind.ANCHOR: lambda connection, _: partial(_write_authority, connection),
    Kind.INTERMEDIATE: lambda connection, _: partial(_write_authority, connection),
    Kind.CRL: _crl_writer,
}
