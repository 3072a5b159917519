"""What is demanded of many users at once: which of them change, as steps that are taken as those of an apply are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from authz.admin.documents import Kind, Wanted, user_content
from authz.admin.held import STREAMED
from authz.admin.plan import Action, Step
from authz.directory.organizations import require_organization
from authz.directory.schema import users
from authz.directory.users import require_user
from authz.model import Enforcement

NAMES_AT_ONCE = 500
"""Names of one query: a driver binds 999 values at least."""


def count_changed(
    connection: sa.Connection, organization: str, names: Sequence[str] | None, enforcement: Enforcement
) -> int:
    """How many of the users, for None all of an organization, have another enforcement.

    Raises `StoreError` for a name that is no user's.
    """
    if names is None:
        owner = require_organization(connection, organization)
        query = sa.select(sa.func.count()).where(users.c.organization_id == owner.id)
        return int(connection.execute(query.where(users.c.enforcement != enforcement)).scalar_one())
    present = (require_user(connection, organization, name) for name in names)
    return sum(row.enforcement != enforcement for row in present)


def enforcement_steps(
    connection: sa.Connection, organization: str, names: Sequence[str] | None, enforcement: Enforcement
) -> Iterator[Step]:
    """The steps that give them that enforcement, by name. Raises `StoreError`."""
    owner = require_organization(connection, organization)
    query = sa.select(users).where(users.c.organization_id == owner.id, users.c.enforcement != enforcement)
    parts = [None] if names is None else [names[at : at + NAMES_AT_ONCE] for at in range(0, len(names), NAMES_AT_ONCE)]
    for part in parts:
        wanted = query if part is None else query.where(users.c.name.in_(part))
        for row in connection.execute(wanted.order_by(users.c.name).execution_options(**STREAMED)):
            before = user_content(row.enforcement, active=row.active)
            after = user_content(str(enforcement), active=row.active)
            yield Step(Action.CHANGE, Wanted(Kind.USER, organization, row.name, "", after), before, row.id, None)
