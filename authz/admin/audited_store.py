"""The directory in an actor's name: a change and its entries in the audit log are one transaction.

Every function of `authz.admin` that changes something takes an `AuditedStore`: it has the actor, and the revision that
the actor saw, if the change is to hold only for that one.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from authz.clock import SystemClock
from authz.directory import Store
from authz.directory.audit import Audited, Author, Draft, Value, append, draft, revision_for_change
from authz.errors import Problem, StoreError

NOW: Final = SystemClock().now

COMMAND: Final = "command"
"""Through what a local user changes something."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something, and through what."""

    name: str
    via: str = COMMAND


def local_actor(via: str = COMMAND) -> Actor:
    """The user of this process: `local:1000 alice`, or `local:1000` for a user without a name."""
    uid = os.getuid()
    try:
        return Actor(f"local:{uid} {pwd.getpwuid(uid).pw_name}", via)
    except KeyError:
        return Actor(f"local:{uid}", via)


@dataclass(slots=True)
class Change:
    """A transaction, and what is to be recorded of it."""

    connection: sa.Connection
    revision: int
    author: Author
    drafts: list[Draft] = field(default_factory=list)

    def record(
        self, action: str, thing: str, organization: str | None = None, *, before: Value = None, after: Value = None
    ) -> None:
        """Record that something was done to a thing, such as `user alice`, of an organization or of none."""
        change = Audited(action, thing, organization, before, after)
        self.drafts.append(draft(self.author, change, self.connection.dialect))


class AuditedStore(Store):
    """The directory at `url` for an actor.

    If `expected` is given, a change is refused with `Problem.DIRECTORY_CHANGED` unless the directory has that
    revision; after a change of one's own it is the new one.
    """

    def __init__(
        self,
        url: str,
        actor: Actor | None = None,
        *,
        expected: int | None = None,
        now: Callable[[], datetime] = NOW,
    ) -> None:
        super().__init__(url)
        self.actor = actor or local_actor()
        self.expected = expected
        self.apply_id: str | None = None
        self._now = now

    def author(self) -> Author:
        """The actor at this moment, for entries."""
        return Author(self.actor.name, self.actor.via, self._now(), self.apply_id)

    @property
    def dialect(self) -> sa.Dialect:
        """That of the database, for statements that are compiled before a transaction."""
        return self._engine.dialect

    @contextmanager
    def change(self) -> Iterator[Change]:
        """A transaction whose changes are stored with what was recorded of them, or not at all. Raises `StoreError`."""
        with self.transaction() as connection:
            change = Change(connection, revision_for_change(connection), self.author())
            if self.expected not in {None, change.revision}:
                message = f"the directory is at revision {change.revision}, no longer at {self.expected}"
                raise StoreError(message, kind=Problem.DIRECTORY_CHANGED)
            yield change
            append(connection, change.drafts, change.revision, change.author)
            after = revision_for_change(connection)
        if self.expected is not None:
            self.expected = after
