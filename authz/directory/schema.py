"""The tables of the directory. Every change of them bumps a revision, by triggers that the migrations make.

`directory_state` has one row: `revision` rises with every change; `organizations_revision`,
`trust_revision` (anchors and intermediates) and `crls_revision` hold its value at the last
change of that kind. Triggers and not code, so that no writer can forget one.

A number alone names no state: a restored copy, or a standby that was promoted, uses it again. So `lineage` is 16
random bytes, others with each change. `directory_changes` has what changed with each revision, the newest last (see
`authz.directory.row_log`). An organization's `revision` and `trust_revision` are read by services of versions before.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import TYPE_CHECKING

import sqlalchemy as sa

from authz.model import BindingScope, CrlSourceKind, Enforcement, Outcome, PathSettings, RegistrationKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.engine import Dialect

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """A moment as its column has it: since 1970, in UTC. Raises `TypeError` for a naive one."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(value: int) -> datetime:
    """What `microseconds` was given, in UTC."""
    return _EPOCH + timedelta(microseconds=value)


class Moment(sa.types.TypeDecorator[datetime]):
    """An aware moment, kept as microseconds since 1970 in UTC."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """To the database. Raises `TypeError` for a naive moment."""
        return None if value is None else microseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """From the database."""
        return None if value is None else moment_of(value)


metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _one_of(column: str, values: Iterable[str]) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=column)


_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""Of rows and revisions: SQLite gives keys to `INTEGER` columns alone, and PostgreSQL's have 32 bits."""


def _organization(*, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(
        "organization_id", _NUMBER, sa.ForeignKey("organizations.id", ondelete="CASCADE"), nullable=nullable
    )


def _texts(*names: str, nullable: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String, nullable=nullable) for name in names]


def _bytes(*names: str, nullable: bool = False) -> list[sa.Column[bytes]]:
    return [sa.Column(name, sa.LargeBinary, nullable=nullable) for name in names]


def _revision(name: str = "revision") -> sa.Column[int]:
    return sa.Column(name, _NUMBER, nullable=False, server_default="0")


directory_state = sa.Table(
    "directory_state",
    metadata,
    sa.Column("id", _NUMBER, sa.CheckConstraint("id = 1", name="one_row"), primary_key=True),
    _revision(),
    _revision("organizations_revision"),
    _revision("trust_revision"),
    _revision("crls_revision"),
    sa.Column("lineage", sa.LargeBinary, nullable=False, server_default=sa.text("x''")),
    # `authz db upgrade` has yet to read the leaves of registrations behind this id; NULL if it has read all.
    sa.Column("unread_after", _NUMBER),
)

directory_changes = sa.Table(
    "directory_changes",
    metadata,
    sa.Column("id", _NUMBER, primary_key=True),
    sa.Column("revision", _NUMBER, nullable=False, index=True),
    sa.Column("lineage", sa.LargeBinary, nullable=False),
    sa.Column("at", Moment, nullable=False),
    # No foreign key: what is logged of an organization stays when it goes.
    sa.Column("organization_id", _NUMBER),
    sa.Column("kind", sa.String),
    sa.Column("key", sa.LargeBinary),
)

BINDING_KINDS = [" ".join(kinds) for count in (1, 2, 3) for kinds in combinations(RegistrationKind, count)]
"""Every set of kinds of registrations that an organization may allow, each in one spelling."""

_POLICY_FLAGS = "explicit_policy", "inhibit_mapping", "inhibit_any_policy"

organizations = sa.Table(
    "organizations",
    metadata,
    sa.Column("id", _NUMBER, primary_key=True),
    sa.Column("name", sa.String, nullable=False, unique=True),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("binding_scope", sa.String, _one_of("binding_scope", BindingScope), nullable=False),
    sa.Column("default_enforcement", sa.String, _one_of("default_enforcement", Enforcement), nullable=False),
    *_texts("token_user_claim"),
    *_texts("token_issuer", "token_audience", "token_organization_claim", "token_keys", "token_type", nullable=True),
    sa.Column("token_audience_claim", sa.String, nullable=False, server_default="aud"),
    sa.Column("path_algorithms", sa.String, nullable=False, server_default="default"),
    sa.Column("path_min_rsa_bits", sa.Integer, nullable=False, server_default="2048"),
    sa.Column("path_policies", sa.String, nullable=False, server_default=""),
    *(sa.Column(f"path_{name}", sa.Boolean, nullable=False, server_default=sa.false()) for name in _POLICY_FLAGS),
    sa.Column("path_purpose", sa.String, nullable=False, server_default=PathSettings().purpose),
    sa.Column(
        "binding_kinds",
        sa.String,
        _one_of("binding_kinds", BINDING_KINDS),
        nullable=False,
        server_default=RegistrationKind.CERTIFICATE,
    ),
    _revision(),
    _revision("trust_revision"),
    sa.Index("ix_organizations_tokens", "token_issuer", "token_organization_claim", "token_audience"),
    sqlite_autoincrement=True,
)

hosts = sa.Table(
    "hosts",
    metadata,
    sa.Column("host", sa.String, primary_key=True),
    _organization(),
    sa.Index(None, "organization_id"),
)


def _certificates(name: str) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        sa.Column("id", _NUMBER, primary_key=True),
        _organization(nullable=True),
        sa.Column("sha256", sa.LargeBinary, nullable=False),
        sa.Column("der", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("organization_id", "sha256"),
        sa.Index(None, "organization_id", "id"),
        sqlite_autoincrement=True,
    )


anchors = _certificates("anchors")
intermediates = _certificates("intermediates")

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", _NUMBER, primary_key=True),
    _organization(),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("enforcement", sa.String, _one_of("enforcement", Enforcement), nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.UniqueConstraint("organization_id", "name"),
    sqlite_autoincrement=True,
)

_REGISTERED = """CASE kind
    WHEN 'certificate' THEN sha256 IS NOT NULL AND der IS NOT NULL AND chain IS NOT NULL
    WHEN 'key' THEN spki_sha256 IS NOT NULL
    ELSE identity IS NOT NULL AND anchor_sha256 IS NOT NULL END"""

registrations = sa.Table(
    "registrations",
    metadata,
    sa.Column("id", _NUMBER, primary_key=True),
    _organization(),
    sa.Column("user_id", _NUMBER, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("kind", sa.String, _one_of("kind", RegistrationKind), nullable=False, server_default="certificate"),
    sa.Column("label", sa.String, sa.CheckConstraint("length(label) <= 64", name="label"), nullable=False),
    *(sa.Column(name, Moment) for name in ("valid_from", "valid_until", "retired_at")),
    sa.Column("created_at", Moment, nullable=False),
    # What is registered: a certificate (`sha256`), a key (`spki_sha256`), or a typed name ("dns:client.example") below
    # an anchor. A certificate has its key here as well, and `tbs_sha256`: its signed part in another DER is no other
    # certificate.
    *_texts("identity", nullable=True),
    *_bytes("sha256", "tbs_sha256", "spki_sha256", "anchor_sha256", nullable=True),
    # By which the different chains are found; NULL if `chain` is empty.
    *_bytes("chain_sha256", nullable=True),
    # Of a certificate, see `authz.directory.leaf_columns`; NULL if it cannot be read.
    *_bytes("authority_key_id", nullable=True),
    *(sa.Column(name, Moment) for name in ("not_before", "not_after")),
    *_bytes("serial", "issuer", "der", "chain", nullable=True),
    sa.CheckConstraint(_REGISTERED, name="what"),
    sa.Index(None, "organization_id", "id"),
    sa.Index(None, "organization_id", "sha256"),
    sa.Index(None, "sha256"),
    sa.Index(None, "organization_id", "tbs_sha256"),
    sa.Index(None, "organization_id", "spki_sha256"),
    sa.Index(None, "organization_id", "identity", sqlite_where=sa.text("identity IS NOT NULL")),
    # What ends is read from this alone.
    sa.Index(
        "ix_registrations_organization_id_not_after",
        *("organization_id", "not_after", "user_id", "sha256", "kind", "valid_until", "retired_at"),
    ),
    sa.Index(None, "organization_id", "valid_until", sqlite_where=sa.text("valid_until IS NOT NULL")),
    sa.Index(None, "organization_id", "retired_at", sqlite_where=sa.text("retired_at IS NOT NULL")),
    sa.Index(None, "issuer", "serial"),
    sa.Index(None, "chain_sha256", sqlite_where=sa.text("chain_sha256 IS NOT NULL")),
    sa.Index(
        "uq_registrations_key", "organization_id", "spki_sha256", "user_id",
        unique=True, sqlite_where=sa.text("kind = 'key' AND retired_at IS NULL"),
    ),
    sa.Index(
        "uq_registrations_identity", "organization_id", "anchor_sha256", "identity",
        unique=True, sqlite_where=sa.text("kind = 'identity' AND retired_at IS NULL"),
    ),
    sqlite_autoincrement=True,
)  # fmt: skip

last_seen = sa.Table(
    "last_seen",
    metadata,
    _organization(),
    sa.Column("user_id", _NUMBER, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("sha256", sa.LargeBinary, primary_key=True, index=True),
    *(sa.Column(name, Moment, nullable=False) for name in ("first_seen", "last_seen", "not_after")),
    # `path` is the SHA-256 of each CA's certificate, one behind the other, from the leaf's issuer to the anchor.
    *_bytes("issuer", "spki_sha256", "anchor_sha256", "path"),
    *_texts("listener"),
    # The kind of the registration that matched; or the reason for which `required` would refuse it, and how often.
    *(sa.Column(name, sa.String, nullable=False, server_default="") for name in ("matched", "refused_by")),
    sa.Column("refusals", sa.Integer, nullable=False, server_default="0"),
    # Whether the client sent other certificates with it.
    sa.Column("with_others", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index(None, "organization_id", "last_seen"),
    sa.Index(None, "path", "user_id"),
    sa.Index(None, "organization_id", "not_after"),
)

seen_cas = sa.Table(
    "seen_cas",
    metadata,
    _organization(),
    *_bytes("sha256", "der"),
    sa.Column("last_seen", Moment, nullable=False),
    sa.PrimaryKeyConstraint("organization_id", "sha256"),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", _NUMBER, primary_key=True),
    sa.Column("at", Moment, nullable=False, index=True),
    *_texts("actor", "via", "action", "object"),
    # By name and without a foreign key: what was done to an organization stays when it goes.
    sa.Column("organization", sa.String, index=True),
    *_texts("before", "after", "apply_id", nullable=True),
    *(sa.Column(name, _NUMBER, nullable=False) for name in ("revision_before", "revision_after")),
    *_bytes("previous", "hash"),
    sqlite_autoincrement=True,
)

crls = sa.Table(
    "crls",
    metadata,
    sa.Column("id", _NUMBER, primary_key=True),
    sa.Column("sha256", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("signer", sa.LargeBinary, nullable=False, index=True),
    sa.Column("der", sa.LargeBinary, nullable=False),
    sa.Column("added_at", Moment, nullable=False),
    # The SubjectPublicKeyInfo whose SHA-256 is `signer`; nothing for CRLs that an earlier version added.
    sa.Column("signer_key", sa.LargeBinary),
    sa.Column("issuer", sa.LargeBinary, index=True),
    sqlite_autoincrement=True,
)


def _replica() -> sa.Column[int]:
    """The service that wrote the row: several share a directory of PostgreSQL, and of SQLite there is one, 0."""
    return sa.Column("replica", sa.Integer, primary_key=True, autoincrement=False, server_default="0")


crl_sources = sa.Table(
    "crl_sources",
    metadata,
    _replica(),
    sa.Column("location", sa.String, primary_key=True),
    sa.Column("kind", sa.String, _one_of("kind", CrlSourceKind), nullable=False),
    *(sa.Column(name, Moment) for name in ("tried_at", "accepted_at", "next_at")),
    sa.Column("failures", sa.Integer, nullable=False),
    *_texts("outcome", "detail"),
    sa.Column("asked_at", Moment),
)

renumbered_sources = sa.Table(
    "renumbered_sources",
    metadata,
    sa.Column("location", sa.String, primary_key=True),
    # The numbers of CRLs that begin no later do not count for what the source gives.
    sa.Column("until", Moment, nullable=False),
)

fetched_crls = sa.Table(
    "fetched_crls",
    metadata,
    _replica(),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("location", sa.String, nullable=False),
    sa.Column("sha256", sa.LargeBinary, nullable=False),
    sa.Column("signer", sa.LargeBinary, nullable=False),
    sa.Column("issuer", sa.String, nullable=False),
    sa.Column("number", sa.String),
    sa.Column("delta", sa.Boolean, nullable=False),
    sa.Column("entries", sa.Integer, nullable=False),
    sa.Column("this_update", Moment, nullable=False),
    sa.Column("next_update", Moment),
    sa.Column("fetched_at", Moment, nullable=False),
)

presentations = sa.Table(
    "presentations",
    metadata,
    sa.Column("id", _NUMBER, primary_key=True),
    sa.Column("sha256", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("headers", sa.LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("id", _NUMBER, primary_key=True),
    sa.Column("decision_id", sa.String, nullable=False, unique=True),
    sa.Column("at", Moment, nullable=False, index=True),
    sa.Column("listener", sa.String, nullable=False),
    sa.Column("outcome", sa.String, _one_of("outcome", Outcome), nullable=False),
    *_texts("reason", "detail", "host", "method", "target", "organization", "user_name"),
    sa.Column("confirmation", sa.LargeBinary),
    sa.Column("certificate", sa.LargeBinary),
    sa.Column("subject", sa.String, nullable=False),
    sa.Column("presentation_id", _NUMBER, sa.ForeignKey("presentations.id"), index=True),
    # No foreign key: what was queued of an organization that goes must not fail what is written with it.
    sa.Column("organization_id", _NUMBER),
    sa.Column("proven", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("account", sa.String, nullable=False, server_default=""),
    sa.Column("weight", sa.Integer, nullable=False, server_default="1"),
    sa.Column("repeats", sa.Integer, nullable=False, server_default="1"),
    sa.Column("first_at", Moment),
    sa.Column("kind", sa.String, unique=True),
    sa.Index(None, "organization_id", "at"),
    sa.Index(None, "user_name", "at"),
    sa.Index(None, "proven", "organization_id", "account", "id", "weight"),
    sqlite_autoincrement=True,
)
