"""From a decision to the answer a proxy acts on: 200 with every identity header, or a problem without a reason.

Nothing here knows HTTP libraries: `authz.web.server.response_of` is the aiohttp side. Only exactly 200 allows. An
allowed answer has all identity headers, empty where there is no value, so that a client's own copy is always replaced.
The reason of a refusal is for the operator: the client gets the public code and the decision id.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import orjson

from authz.decision import Allow, Decision
from authz.reasons import Reason
from authz.text import header_value

COMPLETED_BY: Final = "x-authz-completed-by"
"""Where the CAs of the path came from, for the proxy's own log: no application decides by it."""

_OF_ROWS: Final = ("x-authz-organization", "x-authz-user", "x-authz-certificate")
_OF_CHECK: Final = ("x-authz-binding", "x-authz-decision-id", COMPLETED_BY)

IDENTITY_HEADERS: Final = (*_OF_ROWS, *_OF_CHECK[:-1])
"""What an allowed request carries to the application."""

PUBLIC_CODE: Final = "MUTUAL_AUTHENTICATION_FAILED"
"""The code of every refusal, whatever its reason: the model's own."""

UNAVAILABLE_CODE: Final = "AUTHORIZATION_UNAVAILABLE"
"""The code of an answer that was not decided."""

_TITLES: Final = {401: "Unauthorized", 403: "Forbidden", 503: "Service Unavailable"}


class Answer(NamedTuple):
    """An HTTP status, headers with names in lower case, and a body."""

    status: int
    headers: dict[str, str]
    body: bytes = b""


def answer_to(decision: Decision, decision_id: str) -> Answer:
    """The answer to a proxy."""
    if not isinstance(decision, Allow):
        return refusal(decision.reason, decision_id)
    values = (*_values_of_rows(decision), *_values_of_check(decision, decision_id))
    return Answer(200, dict(zip((*_OF_ROWS, *_OF_CHECK), values, strict=True)))


def lines_of_rows(decision: Allow) -> str:
    """The first header lines of an allowed answer: they are the same as long as rows and leaf are."""
    return _LINES_OF_ROWS % _values_of_rows(decision)


def lines_of_check(decision: Allow, decision_id: str) -> str:
    """The other header lines of an allowed answer."""
    return _LINES_OF_CHECK % _values_of_check(decision, decision_id)


def header_lines(headers: Iterable[tuple[str, str]]) -> str:
    """Headers as they are sent."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers])


_LINES_OF_ROWS: Final = header_lines((name, "%s") for name in _OF_ROWS)
_LINES_OF_CHECK: Final = header_lines((name, "%s") for name in _OF_CHECK)


def _values_of_rows(decision: Allow) -> tuple[str, str, str]:
    organization, user, certificate, _, _ = decision
    return header_value(organization.name), header_value(user.name), "" if certificate is None else certificate.hex()


def _values_of_check(decision: Allow, decision_id: str) -> tuple[str, str, str]:
    _, _, _, binding, evidence = decision
    return "" if binding is None else str(binding), decision_id, evidence.completed_by


def refusal(reason: Reason, decision_id: str) -> Answer:
    """The answer that refuses, as RFC 9457 problem details."""
    status = reason.status
    problem = {
        "type": "about:blank",
        "title": _TITLES[status],
        "status": status,
        "code": UNAVAILABLE_CODE if status == 503 else PUBLIC_CODE,
        "decision_id": decision_id,
    }
    headers = {
        "content-type": "application/problem+json",
        "x-authz-decision-id": decision_id,
        "cache-control": "no-store",
    }
    if status == 401:
        # RFC 9110 section 15.5.2 asks for a challenge.
        headers["www-authenticate"] = "Bearer"
    return Answer(status, headers, orjson.dumps(problem))
