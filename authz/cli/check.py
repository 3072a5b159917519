"""`authz check`: decides offline, by the very function the service decides with, and shows every gate."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from authz.admin.registrations import split_leaf
from authz.app.crls import CrlSnapshot
from authz.app.listeners import listener_of
from authz.cli.moments import moment
from authz.cli.options import AsJson, open_store, settings_of
from authz.cli.output import Row, emit, emit_one, hint, say
from authz.cli.pem_file import read_certificates
from authz.cli.replay import headers_were_kept, obstacle_to_replay
from authz.clock import SystemClock
from authz.decision import Decision, Deny, Evidence, evaluate
from authz.directory import DirectoryReader
from authz.errors import ConfigError, NotLoaded, Refused, StoreError
from authz.headers import present
from authz.model import CheckRequest, HeaderRules, Identity, Organization, Outcome, RecordedDecision
from authz.pki import Certificate, VerifiedPath
from authz.reasons import Gate, Reason
from authz.view import Listener


@dataclass(frozen=True, slots=True)
class _Said:
    """The identity source of an offline check: the operator, or the history, says who; None when neither knows."""

    user: str | None
    confirmation: bytes | None = None

    def identify(self, check: CheckRequest, organization: Organization, now: datetime) -> Identity:  # noqa: ARG002
        if self.user is None:
            raise Refused(
                Reason.IDENTITY_MISSING, "the request was refused before its user was known; tokens are not kept"
            )
        return Identity(self.user, self.confirmation)


def check(
    context: typer.Context,
    host: Annotated[str | None, typer.Argument(metavar="HOST", help="The Host the request is for.")] = None,
    user: Annotated[str | None, typer.Argument(metavar="USER", help="Who the token says it is.")] = None,
    cert: Annotated[Path | None, typer.Option("--cert", help="The chain the client shows; none if absent.")] = None,
    at: Annotated[datetime | None, typer.Option("--at", parser=moment, metavar="TIME", help="Now if absent.")] = None,
    replay: Annotated[
        str | None, typer.Option("--replay", metavar="ID", help="Decide a request of the history again, instead.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decide one request offline and show every gate. Exit code 0: allowed, 1: denied."""
    when = at or SystemClock().now()
    if replay is not None:
        if host is not None or cert is not None:
            raise typer.BadParameter("--replay takes host, user and certificate from the history")
        _replay(context, replay, when, as_json=as_json)
        return
    if host is None or user is None:
        raise typer.BadParameter("give HOST and USER, or --replay ID")
    leaf, chain = (None, []) if cert is None else split_leaf(read_certificates(cert), cert)
    decision = decided_offline(context, host, user, leaf, [ca.der for ca in chain], when)
    emit(list(gates(decision)), as_json=as_json)
    _tell(context, decision)


def decided_offline(
    context: typer.Context, host: str, user: str, leaf: Certificate | None, chain: list[bytes], at: datetime
) -> Decision:
    """What the service decides of a user's request with a leaf and the CAs (DER) above it, or with no certificate."""
    headers = () if leaf is None else ((b"x-forwarded-client-cert", present(leaf.der, chain)),)
    return _decide(context, CheckRequest("offline", host, headers), Listener("offline", (_Said(user),)), at)


def _replay(context: typer.Context, beginning: str, when: datetime, *, as_json: bool) -> None:
    """Decide what the history holds again, and compare."""
    with open_store(context) as store:
        record = store.decision(beginning)
    decision = replayed(context, record, when)
    then, now = (str(record.outcome), record.reason), _outcome(decision)
    different = _different(then, now)
    if as_json:
        verdicts = {"then": {"at": record.at, **_verdict(then)}, "now": {"at": when, **_verdict(now)}}
        emit_one({**verdicts, "different": different, "gates": list(gates(decision))}, as_json=True)
    else:
        emit(list(gates(decision)), as_json=False)
    say(f"on {record.at:%Y-%m-%d %H:%M:%SZ}: {_words(then)}; now: {_words(now)}")
    say(_COMPARED[different])
    _tell(context, decision)


def replayed(context: typer.Context, record: RecordedDecision, at: datetime) -> Decision:
    """Decide what the history holds again: with the listener as it is configured now, at `at`.

    Raises `StoreError` for a request of which too little was kept, `ConfigError` if its listener is gone.
    """
    obstacle = obstacle_to_replay(record)
    if obstacle:
        raise StoreError(obstacle, hint="decide with what is known: authz check HOST USER --cert FILE")
    configured = next((setting for setting in settings_of(context).listener if setting.name == record.listener), None)
    if configured is None:
        raise ConfigError(
            f"there is no listener {record.listener} any more", hint="give the service's settings by --config"
        )
    listener = replace(listener_of(configured), identity=(_Said(record.user or None, record.confirmation),))
    if not headers_were_kept(record):
        # They passed their gate, and a gate behind it refused.
        listener = replace(listener, header=HeaderRules())
    request = CheckRequest(record.decision_id, record.host, record.headers or (), record.method, record.target)
    return _decide(context, request, listener, at)


_COMPARED = {
    True: "it would be decided differently now",
    False: "nothing is different",
    None: "whether it would be decided differently now is unknown: tokens are not kept",
}


_OF_TOKENS = {reason.value for reason in Reason if reason.gate is Gate.USER}


def _different(then: tuple[str, str], now: tuple[str, str]) -> bool | None:
    """Whether the two differ; None where the replay ended for want of the token that was refused then."""
    if then != now and then[1] in _OF_TOKENS and now[1] == Reason.IDENTITY_MISSING.value:
        return None
    return then != now


def _outcome(decision: Decision) -> tuple[str, str]:
    """How a decision stands in the history: outcome and reason."""
    if isinstance(decision, Deny):
        return str(Outcome.DENIED), decision.reason.value
    refusal = None if decision.binding is None else decision.binding.refusal
    return ("allowed", "") if refusal is None else (str(Outcome.OBSERVED), refusal.value)


def _verdict(outcome: tuple[str, str]) -> Row:
    return {"outcome": outcome[0], "reason": outcome[1]}


def _words(outcome: tuple[str, str]) -> str:
    return f"{outcome[0]} ({outcome[1]})" if outcome[1] else outcome[0]


def _tell(context: typer.Context, decision: Decision) -> None:
    binding = decision.evidence.binding
    registration = None if binding is None else binding.registration or binding.nearest
    if isinstance(decision, Deny):
        say(f"denied: {decision.reason.value}{': ' + decision.detail if decision.detail else ''}")
        if registration is not None:
            with open_store(context) as store:
                say(f"registration {registration.id} is of {store.registration(registration.id).user}")
        hint(decision.reason.sentence)
        raise typer.Exit(1)
    say("allowed")


def _decide(context: typer.Context, request: CheckRequest, listener: Listener, at: datetime) -> Decision:
    settings = settings_of(context)
    with open_store(context) as store:
        crls = CrlSnapshot(settings, store.crl_store())
        return asyncio.run(_decide_with(settings.database, crls, request, listener, at))


async def _decide_with(
    database: str, crls: CrlSnapshot, request: CheckRequest, listener: Listener, at: datetime
) -> Decision:
    reader = DirectoryReader(database, crls, monotonic=SystemClock().monotonic, warn=say)
    await reader.start()
    try:
        while True:
            try:
                return evaluate(request, listener, reader.view(), at)
            except NotLoaded as missing:
                await reader.load(missing.key)
    finally:
        await reader.close()


def gates(decision: Decision) -> Iterator[Row]:
    """A row for each gate that was reached: what it saw, and how it ended."""
    evidence = decision.evidence
    seen = list(_seen(evidence))
    refused = decision.reason.gate if isinstance(decision, Deny) else None
    for gate, what in seen:
        yield {"gate": gate, "outcome": "denied" if gate is refused else "passed", "saw": what}
    if isinstance(decision, Deny) and refused not in {gate for gate, _ in seen}:
        yield {"gate": refused, "outcome": "denied", "saw": _culprit(decision)}


def _culprit(decision: Deny) -> str:
    if decision.certificate is None:
        return decision.detail
    try:
        culprit = _certificate(Certificate.parse(decision.certificate))
    except Refused:
        culprit = f"SHA-256 {Certificate.fingerprint(decision.certificate).hex()}"
    return f"{decision.detail}; {culprit}"


def _seen(evidence: Evidence) -> Iterator[tuple[Gate, str]]:
    if evidence.organization is not None:
        yield Gate.ORGANIZATION, evidence.organization.name
    if evidence.user is not None:
        yield Gate.USER, f"{evidence.user.name}, enforcement {evidence.user.enforcement}"
    if evidence.presented is not None:
        yield Gate.HEADER, f"a leaf and {len(evidence.presented.intermediates)} other certificates"
    if evidence.path is not None:
        yield from _path(evidence.path, stored=evidence.stored_chain)
    if evidence.binding is not None:
        yield Gate.BINDING, _binding(evidence)


def _path(path: VerifiedPath, *, stored: bool) -> Iterator[tuple[Gate, str]]:
    for certificate, origin in zip(path.certificates, path.origins, strict=True):
        where = "stored with the registration" if stored and origin == "presented" else origin
        yield Gate.CERTIFICATE, f"{_certificate(certificate)}; {where}"
    for proof in path.revocation:
        for crl in proof.crls:
            dates = f"{crl.this_update:%Y-%m-%d %H:%M:%SZ} to {crl.next_update:%Y-%m-%d %H:%M:%SZ}"
            yield (
                Gate.REVOCATION,
                f"{proof.certificate.subject.text} is not in CRL {crl.number} of {crl.issuer.text}, {dates}",
            )


def _certificate(certificate: Certificate) -> str:
    dates = f"{certificate.not_before:%Y-%m-%d} to {certificate.not_after:%Y-%m-%d}"
    return f"{certificate.subject.text}; serial {certificate.serial:x}; {dates}; SHA-256 {certificate.sha256.hex()}"


def _binding(evidence: Evidence) -> str:
    binding = evidence.binding
    if binding is None or binding.registration is None:
        return "" if binding is None else f"{binding}: {binding.detail}"
    registration = binding.registration
    label = f" ({registration.label})" if registration.label else ""
    return f"registration {registration.id}{label} of kind {registration.kind} is active"
