"""`authz why`: what refuses a user, or refused a request, and the one thing to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from ssl import DER_cert_to_PEM_cert
from typing import Annotated, Any, Final

import typer

from authz.admin.why import (
    Denial,
    UserStatus,
    candidates,
    denial_now,
    is_in_directory,
    organization_of,
    presented_by,
    recorded_denial,
    renewable,
    status_of,
)
from authz.cli.check import decided_offline, gates, replayed
from authz.cli.options import AsJson, open_store
from authz.cli.output import Row, emit, emit_one, fail, hint, say
from authz.cli.proxy_log import why_handshakes
from authz.cli.remedies import Remedy, remedy_of, verdict
from authz.cli.replay import can_be_replayed
from authz.cli.rows import decision_details, decision_row, organization_summary, registration_row, user_row
from authz.clock import SystemClock
from authz.decision import Allow, Decision, Deny
from authz.directory.registrations import StoredRegistration
from authz.envoy_sds import replace_file
from authz.errors import ConfigError
from authz.model import Outcome, RecordedDecision, RegistrationKind
from authz.pki import Certificate
from authz.reasons import Reason

MAX_TRIED: Final = 5
"""Registered certificates that are tried, to find one by which the user would pass."""

What = Annotated[
    list[str] | None,
    typer.Argument(metavar="ORGANIZATION USER", help="Or a decision id alone, as answer and log show it."),
]
Save = Annotated[
    Path | None,
    typer.Option("--save", metavar="FILE", help="With a decision id: only write what was presented, in PEM."),
]
ProxyLog = Annotated[
    Path | None,
    typer.Option("--proxy-log", metavar="FILE", help="The handshakes that the proxy refused, by its access log."),
]


@dataclass
class _Answer:
    """What is printed: rows under a heading, and what to do."""

    sections: dict[str, list[Row]] = field(default_factory=dict)
    remedy: Remedy = field(default=Remedy(""))

    def emit(self, *, as_json: bool) -> None:
        """Print the sections that are not empty; as JSON all of them, in one document."""
        remedy = {"do": self.remedy.sentence, "command": self.remedy.command}
        if as_json:
            emit_one({**self.sections, **remedy}, as_json=True)
            return
        for heading, rows in self.sections.items():
            if rows:
                say(f"{heading.replace('_', ' ')}:")
                emit(rows, as_json=False)
        say(f"what to do: {self.remedy.sentence}")
        if self.remedy.command:
            hint(self.remedy.command)


def why(
    context: typer.Context,
    what: What = None,
    save: Save = None,
    proxy_log: ProxyLog = None,
    as_json: AsJson = False,
) -> None:
    """Why a user, or a request, is refused, and the one thing to do about it.

    Shows the user's state, registrations, what was presented last, the last refusals, and each gate as it is now.
    """
    what = what or []
    if proxy_log is not None and save is None and len(what) in {0, 2}:
        why_handshakes(context, proxy_log, what, as_json=as_json)
        return
    if proxy_log is not None or len(what) not in {1, 2} or (save is not None and len(what) != 1):
        raise typer.BadParameter("give ORGANIZATION USER, or a decision id (alone with --save)")
    now = SystemClock().now()
    if save is not None:
        _save(context, what[0], save, now, as_json=as_json)
        return
    answer = _of_user(context, what[0], what[1], now) if len(what) == 2 else _of_decision(context, what[0], now)
    answer.emit(as_json=as_json)


def _of_user(context: typer.Context, organization: str, user: str, now: datetime) -> _Answer:
    with open_store(context) as store, store.reading() as connection:
        status = status_of(connection, organization, user)
        # A list has no headers, by which the last one is decided again.
        last = store.decision(status.refusals[0].decision_id) if status.refusals else None
    if last is not None:
        denial, rows = _denial(context, last, status, now)
    else:
        denial, rows = _unrecorded(context, status, now)
    return _Answer({**_sections(status, now), "gates": rows}, verdict(status, denial, now))


def _unrecorded(context: typer.Context, status: UserStatus, now: datetime) -> tuple[Denial | None, list[Row]]:
    """What refuses the user with the best of the user's registered certificates, or without one."""
    registered = candidates(status, None, now)
    best = _usable(context, status, None, now) or next(iter(registered), None)
    decision = _with_registered(context, status, best, now)
    if decision is None or (best is None and renewable(status, now) is not None):
        # A certificate of a key or a name that is registered may be anywhere: without one nothing is decided.
        return None, []
    asked = Denial("", now, organization=status.organization.name, user=status.user.name)
    with open_store(context) as store, store.reading() as connection:
        denial = denial_now(connection, asked, decision, now)
    return _completed(context, denial, status, now), list(gates(decision))


def _of_decision(context: typer.Context, beginning: str, now: datetime) -> _Answer:
    with open_store(context) as store, store.reading() as connection:
        record = store.decision(beginning)
        known = is_in_directory(connection, record.organization, record.user)
        status = status_of(connection, record.organization, record.user) if known else None
    sections: dict[str, list[Row]] = {"decision": [{**decision_row(record), **decision_details(record)}]}
    denial, rows = _denial(context, record, status, now)
    answer = _Answer({**sections, **_sections(status, now), "gates": rows})
    answer.remedy = _settled(record, rows) if denial is None else remedy_of(denial)
    return answer


def _settled(record: RecordedDecision, rows: list[Row]) -> Remedy:
    if record.outcome is not Outcome.ALLOWED and not record.user:
        return Remedy(f"nothing more is known: {record.reason} refuses it no longer, and its token was not kept")
    return Remedy("nothing: it would be allowed now" if rows else "nothing: it was allowed")


def _denial(
    context: typer.Context, record: RecordedDecision, status: UserStatus | None, now: datetime
) -> tuple[Denial | None, list[Row]]:
    """What refuses a recorded request now, and its gates; as it was recorded where it cannot be decided again."""
    with open_store(context) as store, store.reading() as connection:
        asked = replace(recorded_denial(record), organization=organization_of(connection, record))
    recorded = None if record.outcome is Outcome.ALLOWED else asked
    if not can_be_replayed(record):
        return _completed(context, recorded, status, now), []
    try:
        decision = replayed(context, record, now)
    except ConfigError as error:
        fail(str(error), error.hint)
        return _completed(context, recorded, status, now), []
    if not record.user and isinstance(decision, Deny) and decision.reason is Reason.IDENTITY_MISSING:
        # It gets as far as its token now, which is not kept.
        return None, list(gates(decision))[:-1]
    with open_store(context) as store, store.reading() as connection:
        denial = denial_now(connection, asked, decision, now)
    denial = _completed(context, denial, status, now)
    if denial is not None and denial.leaf is not None:
        denial = replace(denial, save=f"authz why {record.decision_id} --save presented.pem")
    return denial, list(gates(decision))


def _completed(
    context: typer.Context, denial: Denial | None, status: UserStatus | None, now: datetime
) -> Denial | None:
    """With what organization and user have: which kind can be registered, and by which registration the user passes."""
    if denial is None or status is None:
        return denial
    kinds = status.organization.binding_kinds
    kind = RegistrationKind.CERTIFICATE if RegistrationKind.CERTIFICATE in kinds else kinds[0]
    return replace(denial, kind=kind, usable=_usable(context, status, denial.leaf, now) or renewable(status, now))


def _usable(
    context: typer.Context, status: UserStatus, leaf: Certificate | None, now: datetime
) -> StoredRegistration | None:
    """A registration by whose certificate, other than the leaf, the user would pass now."""
    for stored in candidates(status, leaf, now)[:MAX_TRIED]:
        decision = _with_registered(context, status, stored, now)
        if isinstance(decision, Allow) and (decision.binding is None or decision.binding.refusal is None):
            return stored
    return None


def _with_registered(
    context: typer.Context, status: UserStatus, stored: StoredRegistration | None, now: datetime
) -> Decision | None:
    """What the service decides of the user with that registered certificate; None for an organization without hosts."""
    if not status.organization.hosts:
        return None
    leaf, chain = (None, []) if stored is None else (stored.leaf, list(stored.registration.chain))
    return decided_offline(context, status.organization.hosts[0], status.user.name, leaf, chain, now)


def _sections(status: UserStatus | None, now: datetime) -> dict[str, list[Row]]:
    """What is known of the user; of one that the directory does not have, each is empty."""
    if status is None:
        return {name: [] for name in _OF_USERS}
    owner = {**organization_summary(status.organization)}
    return {
        "user": [{**user_row(status.organization.name, status.user), "organization_active": owner["active"]}],
        "registrations": [registration_row(stored, now) for stored in status.registrations],
        "last_presented": [leaf._asdict() for leaf in status.seen],
        "last_refusals": [_refusal_row(record) for record in status.refusals],
        "refused_without_a_user": [_refusal_row(record) for record in status.anonymous],
    }


_OF_USERS: Final = ("user", "registrations", "last_presented", "last_refusals", "refused_without_a_user")


def _refusal_row(record: RecordedDecision) -> Row:
    wanted = ("id", "at", "outcome", "reason", "certificate", "repeats", "detail")
    row: dict[str, Any] = dict(decision_row(record))
    return {**{name: row[name] for name in wanted}, "listener": record.listener}


def _save(context: typer.Context, beginning: str, file: Path, now: datetime, *, as_json: bool) -> None:
    """Write the leaf that was presented, and what came with it. Raises `ConfigError` if none is kept."""
    with open_store(context) as store:
        record = store.decision(beginning)
    certificates = list(_presented(context, record, now))
    if not certificates:
        raise ConfigError("no certificate of this request is kept", hint="ask the user for it")
    replace_file(file, "".join(map(DER_cert_to_PEM_cert, certificates)))
    emit_one({"file": str(file), "certificates": len(certificates), "user": record.user}, as_json=as_json)


def _presented(context: typer.Context, record: RecordedDecision, now: datetime) -> Iterator[bytes]:
    if can_be_replayed(record):
        yield from presented_by(replayed(context, record, now))
