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
from authz.cli.options import AsJson, moment, open_store, settings_of
from authz.cli.output import emit, emit_one, hint, say
from authz.cli.pem_file import read_certificates
from authz.cli.rows import Row
from authz.clock import SystemClock
from authz.decision import Decision, Deny, Evidence, evaluate
from authz.directory import DirectoryReader
from authz.errors import ConfigError, NotLoaded, Refused, StoreError
from authz.headers import present
from authz.model import CheckRequest, Identity, Organization, Outcome
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
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if cert is not None:
        leaf, chain = split_leaf(read_certificates(cert), cert)
        headers = ((b"x-forwarded-client-cert", present(leaf.der, [ca.der for ca in chain])),)
    request = CheckRequest("offline", host, headers)
    listener = Listener("offline", (_Said(user),))
    decision = _decide(context, request, listener, when)
    emit(list(gates(decision)), as_json=as_json)
    _tell(decision)


def _replay(context: typer.Context, beginning: str, when: datetime, *, as_json: bool) -> None:
    """Decide what the history holds again: with the listener as it is configured now, at `when`."""
    settings = settings_of(context)
    with open_store(context) as store:
        record = store.decision(beginning)
    if record.headers is None:
        raise StoreError(
            "the certificate header of this request was too large to be kept",
            hint="ask for the client's chain, and decide with 'authz check HOST USER --cert FILE'",
        )
    configured = next((setting for setting in settings.listener if setting.name == record.listener), None)
    if configured is None:
        raise ConfigError(
            f"there is no listener {record.listener} any more", hint="give the service's settings by --config"
        )
    listener = replace(listener_of(configured), identity=(_Said(record.user or None, record.confirmation),))
    request = CheckRequest(record.decision_id, record.host, record.headers, record.method, record.target)
    decision = _decide(context, request, listener, when)
    then, now = (str(record.outcome), record.reason), _outcome(decision)
    different = _different(then, now)
    if as_json:
        verdicts = {"then": {"at": record.at, **_verdict(then)}, "now": {"at": when, **_verdict(now)}}
        emit_one({**verdicts, "different": different, "gates": list(gates(decision))}, as_json=True)
    else:
        emit(list(gates(decision)), as_json=False)
    say(f"on {record.at:%Y-%m-%d %H:%M:%SZ}: {_words(then)}; now: {_words(now)}")
    say(_COMPARED[different])
    _tell(decision)


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


def _tell(decision: Decision) -> None:
    if isinstance(decision, Deny):
        say(f"denied: {decision.reason.value}{': ' + decision.detail if decision.detail else ''}")
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
        yield {"gate": gate, "outcome": "refused" if gate is refused else "passed", "saw": what}
    if isinstance(decision, Deny) and refused not in {gate for gate, _ in seen}:
        yield {"gate": refused, "outcome": "refused", "saw": _culprit(decision)}


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
        return str(binding)
    label = f" ({binding.registration.label})" if binding.registration.label else ""
    return f"registration {binding.registration.id}{label} is active"
