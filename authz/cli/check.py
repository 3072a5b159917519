"""`authz check`: decides offline, by the very function the service decides with, and shows every gate."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from authz.cli.options import AsJson, moment, settings_of
from authz.cli.output import Row, emit, hint, say
from authz.cli.pem_file import read_certificates, split_leaf
from authz.clock import SystemClock
from authz.decision import Decision, Deny, Evidence, evaluate
from authz.directory import DirectoryReader
from authz.directory.migrate import migrate
from authz.errors import NotLoaded
from authz.headers import present
from authz.model import CheckRequest, Identity, Organization
from authz.pki import Certificate, VerifiedPath
from authz.reasons import Gate
from authz.view import Door


@dataclass(frozen=True, slots=True)
class _Said:
    """The identity source of an offline check: the operator says who."""

    user: str

    def identify(self, check: CheckRequest, organization: Organization, now: datetime) -> Identity:  # noqa: ARG002
        return Identity(self.user)


def check(
    context: typer.Context,
    host: Annotated[str, typer.Argument(metavar="HOST", help="The Host the request is for.")],
    user: Annotated[str, typer.Argument(metavar="USER", help="Who the token says it is.")],
    cert: Annotated[Path | None, typer.Option("--cert", help="The chain the client shows; none if absent.")] = None,
    at: Annotated[datetime | None, typer.Option("--at", parser=moment, metavar="TIME", help="Now if absent.")] = None,
    as_json: AsJson = False,
) -> None:
    """Decide one request offline and show every gate. Exit code 0: allowed, 1: denied."""
    when = at or SystemClock().now()
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if cert is not None:
        leaf, chain = split_leaf(cert, read_certificates(cert))
        headers = ((b"x-forwarded-client-cert", present(leaf.der, [one.der for one in chain])),)
    request = CheckRequest("offline", host, headers)
    decision = asyncio.run(_decide(settings_of(context).database, request, user, when))
    emit(list(gates(decision)), as_json=as_json)
    if isinstance(decision, Deny):
        say(f"denied: {decision.reason.value}{': ' + decision.detail if decision.detail else ''}")
        hint(decision.reason.sentence)
        raise typer.Exit(1)
    say("allowed")


async def _decide(database: str, request: CheckRequest, user: str, at: datetime) -> Decision:
    migrate(database)
    reader = DirectoryReader(database, monotonic=SystemClock().monotonic, warn=say)
    await reader.start()
    try:
        while True:
            try:
                return evaluate(request, Door("offline", (_Said(user),)), reader.view(), at)
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
    return f"{decision.detail}; {_certificate(Certificate.parse(decision.certificate))}"


def _seen(evidence: Evidence) -> Iterator[tuple[Gate, str]]:
    if evidence.organization is not None:
        yield Gate.ORGANIZATION, evidence.organization.name
    if evidence.user is not None:
        yield Gate.USER, f"{evidence.user.name}, enforcement {evidence.user.enforcement}"
    if evidence.presented is not None:
        yield Gate.HEADER, f"a leaf and {len(evidence.presented.others)} other certificates"
    if evidence.path is not None:
        yield from _path(evidence.path, stored=evidence.stored_chain)
    if evidence.binding is not None:
        yield Gate.BINDING, _binding(evidence)


def _path(path: VerifiedPath, *, stored: bool) -> Iterator[tuple[Gate, str]]:
    for one, origin in zip(path.certificates, path.origins, strict=True):
        where = "stored with the registration" if stored and origin == "presented" else origin
        yield Gate.CERTIFICATE, f"{_certificate(one)}; {where}"
    for proof in path.revocation:
        for crl in proof.crls:
            dates = f"{crl.this_update:%Y-%m-%d %H:%M:%SZ} to {crl.next_update:%Y-%m-%d %H:%M:%SZ}"
            yield (
                Gate.REVOCATION,
                f"{proof.certificate.subject.text} is not in CRL {crl.number} of {crl.issuer.text}, {dates}",
            )


def _certificate(one: Certificate) -> str:
    dates = f"{one.not_before:%Y-%m-%d} to {one.not_after:%Y-%m-%d}"
    return f"{one.subject.text}; serial {one.serial:x}; {dates}; SHA-256 {one.sha256.hex()}"


def _binding(evidence: Evidence) -> str:
    binding = evidence.binding
    if binding is None or binding.registration is None:
        return str(binding)
    label = f" ({binding.registration.label})" if binding.registration.label else ""
    return f"registration {binding.registration.id}{label} is active"
