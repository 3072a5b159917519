"""Things as they are printed: the columns of a table, the keys of JSON."""

from __future__ import annotations

from datetime import datetime, timedelta

from authz.cli.output import Row
from authz.cli.replay import can_be_replayed
from authz.directory.authorities import StoredCertificate
from authz.directory.crls import StoredCrl
from authz.directory.last_seen_rows import SeenLeaf
from authz.directory.registrations import StoredRegistration
from authz.directory.rows import PATH_SETTINGS
from authz.model import CrlSourceState, FetchedCrl, Organization, RecordedDecision, User
from authz.reasons import Reason
from authz.text import key_id

SHARED = "(shared)"
"""Stands where the name of an organization would."""


def _pick(thing: object, *names: str) -> dict[str, object]:
    return {name: getattr(thing, name) for name in names}


def organization_row(organization: Organization) -> Row:
    """An organization."""
    return {**organization_summary(organization), **_pick(organization.path, *PATH_SETTINGS)}


def organization_summary(organization: Organization) -> Row:
    """An organization without the settings of its paths, for a line of a table."""
    return {
        **_pick(organization, "name", "hosts", "active", "binding_scope", "binding_kinds"),
        "enforcement": organization.default_enforcement,
        **_pick(organization.token, "issuer", "audience", "audience_claim", "user_claim", "organization_claim", "keys"),
        "token_type": organization.token.type,
    }


def user_row(organization: str, user: User) -> Row:
    """A user."""
    return {"organization": organization, "user": user.name, **_pick(user, "enforcement", "active")}


def authority_row(stored: StoredCertificate) -> Row:
    """An anchor or intermediate."""
    ca = stored.certificate
    names = {"organization": stored.organization or SHARED, "subject": ca.subject.text}
    return {**names, "key": key_id(ca.plain_spki_sha256), **_pick(ca, "not_after", "sha256")}


def listed_authority_row(stored: StoredCertificate) -> Row:
    """An anchor or intermediate in a list."""
    return {"id": stored.id, **authority_row(stored)}


def _subject(stored: StoredRegistration) -> str:
    if stored.leaf is not None:
        return stored.leaf.subject.text
    return "(cannot be read)" if stored.registration.der else ""


def registration_row(stored: StoredRegistration, now: datetime) -> Row:
    """A registered certificate."""
    registration = stored.registration
    return {
        "id": registration.id,
        **_pick(stored, "organization", "user"),
        "kind": registration.kind,
        "label": registration.label,
        "state": registration.state(now),
        "from": registration.valid_from,
        "until": registration.retired_at or registration.valid_until,
        "subject": _subject(stored),
        "not_after": None if stored.leaf is None else stored.leaf.not_after,
        "sha256": registration.sha256,
        "name": registration.identity,
        "anchor": registration.anchor_sha256,
    }


def seen_row(seen: SeenLeaf) -> Row:
    """A certificate that a user presented."""
    return {
        "last_seen": seen.last_seen,
        "first_seen": seen.first_seen,
        "listener": seen.listener,
        "matched": seen.matched,
        "refused_by": seen.refused_by,
        "refusals": seen.refusals,
        **_pick(seen, "not_after", "sha256"),
    }


def crl_row(stored: StoredCrl) -> Row:
    """A CRL that was added."""
    crl = stored.crl
    signer = {"issuer": crl.issuer.text, "signed_by": key_id(stored.signer)}
    number = {"number": crl.number, "entries": len(crl.index)}
    return {**signer, **number, **_pick(crl, "this_update", "next_update", "sha256")}


def listed_crl_row(stored: StoredCrl, now: datetime) -> Row:
    """A CRL that was added, in the list of all."""
    ages = _ages(stored.crl.this_update, stored.crl.next_update, now)
    problem = stored.crl.unusable and f"it has {stored.crl.unusable}: only what it lists counts"
    return {**crl_row(stored), "source": "added", **ages, "problem": problem}


def fetched_crl_row(fetched: FetchedCrl, source: CrlSourceState | None, now: datetime) -> Row:
    """A CRL from a source, in the list of all."""
    return {
        "issuer": fetched.issuer,
        "signed_by": key_id(fetched.signer),
        "number": None if fetched.number is None else int(fetched.number),
        **_pick(fetched, "entries", "this_update", "next_update", "sha256"),
        "source": fetched.location,
        **_ages(fetched.this_update, fetched.next_update, now),
        "problem": "" if source is None or not source.failures else f"{source.outcome}: {source.detail}",
    }


def crl_source_row(source: CrlSourceState) -> Row:
    """A source in the list of CRLs: what it gave last, or why it gave nothing."""
    nothing = dict.fromkeys(("issuer", "signed_by", "number", "entries", "this_update", "next_update", "sha256"))
    problem = f"{source.outcome}: {source.detail}" if source.failures else source.outcome or "not tried yet"
    return {**nothing, "source": source.location, "age": "", "left": "", "problem": problem}


def crl_details(stored: StoredCrl) -> Row:
    """What `show` has of an added CRL besides."""
    added = {"signed_by": stored.signer, "added": stored.added_at, "unusable": stored.crl.unusable}
    return {**_pick(stored.crl, "base_number", "indirect"), **added}


def fetched_details(fetched: FetchedCrl, source: CrlSourceState | None) -> Row:
    """What `show` has of a CRL from a source besides."""
    more = {"delta": fetched.delta, "signed_by": fetched.signer, "fetched": fetched.fetched_at}
    tries = source and {"tried": source.tried_at, "failures": source.failures, "next_try": source.next_at}
    return {**more, "kept_as": fetched.name, **(tries or {})}


def _ages(this_update: datetime, next_update: datetime | None, now: datetime) -> Row:
    left = "no nextUpdate"
    if next_update is not None:
        left = "expired" if next_update < now else _span(next_update - now)
    return {"age": _span(now - this_update), "left": left}


def _span(time: timedelta) -> str:
    """In the largest unit of which there are at least two."""
    minutes = int(time.total_seconds() // 60)
    for size, unit in ((24 * 60, "d"), (60, "h")):
        if minutes >= 2 * size:
            return f"{minutes // size} {unit}"
    return f"{minutes} min"


def decision_row(decision: RecordedDecision) -> Row:
    """A decision of the history, in a list."""
    names = ("at", "outcome", "reason", "organization", "user", "certificate", "repeats", "detail")
    return {"id": decision.decision_id, **_pick(decision, *names)}


def decision_details(decision: RecordedDecision) -> Row:
    """What `show` has of a decision besides."""
    sentences = {reason.value: reason.sentence for reason in Reason}
    return {
        "first_at": decision.first_at or decision.at,
        **_pick(decision, "organization_id", "subject"),
        "means": sentences.get(decision.reason, ""),
        **_pick(decision, "listener", "host", "method", "target"),
        "can_be_replayed": can_be_replayed(decision),
    }
