"""How the audit log, a plan and a difference describe what the directory holds: plain values with stable keys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from authz.directory.crls import StoredCrl
from authz.directory.registrations import StoredRegistration
from authz.model import Organization, PathSettings, TokenSettings, User

Described = dict[str, Any]


def described_organization(organization: Organization) -> Described:
    """Everything of an organization but its id: settings that are the default are left out."""
    return {
        "name": organization.name,
        "hosts": list(organization.hosts),
        "active": organization.active,
        "binding_scope": str(organization.binding_scope),
        "binding_kinds": list(map(str, organization.binding_kinds)),
        "enforcement": str(organization.default_enforcement),
        "token": _changed(organization.token, TokenSettings()),
        "path": _changed(organization.path, PathSettings()),
    }


def _changed(settings: TokenSettings | PathSettings, default: TokenSettings | PathSettings) -> Described:
    values = {item.name: getattr(settings, item.name) for item in fields(settings)}
    changed = {name: value for name, value in values.items() if value != getattr(default, name)}
    return {name: list(map(str, value)) if isinstance(value, tuple) else value for name, value in changed.items()}


def described_user(user: User, registrations: Iterable[StoredRegistration] = ()) -> Described:
    """A user, with registrations that go with the user."""
    described = {"name": user.name, "enforcement": str(user.enforcement), "active": user.active}
    listed = [described_registration(stored) for stored in registrations]
    return {**described, "registrations": listed} if listed else described


def described_registration(stored: StoredRegistration) -> Described:
    """A registration: whose, what it names, and from when until when."""
    registration = stored.registration
    names = {name: getattr(registration, name) for name in ("sha256", "spki_sha256", "identity", "anchor_sha256")}
    return {
        "id": registration.id,
        "user": stored.user,
        "kind": str(registration.kind),
        **{name: value.hex() if isinstance(value, bytes) else value for name, value in names.items() if value},
        "label": registration.label,
        "from": rfc3339(registration.valid_from),
        "until": rfc3339(registration.valid_until),
        "retired": rfc3339(registration.retired_at),
    }


def described_ca(sha256: bytes, subject: str | None) -> Described:
    """An anchor or intermediate; one that cannot be read any more has no subject."""
    return {"sha256": sha256.hex()} | ({} if subject is None else {"subject": subject})


def described_crl(stored: StoredCrl) -> Described:
    """A CRL that was added."""
    crl = stored.crl
    number = None if crl.number is None else str(crl.number)
    return {"sha256": crl.sha256.hex(), "issuer": crl.issuer.text, "number": number, "signer": stored.signer.hex()}


def rfc3339(moment: datetime | None) -> str | None:
    """A moment in UTC, to the microsecond where it has any (RFC 3339)."""
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
