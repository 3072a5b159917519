"""From a decision to the answer a proxy acts on: 200 with every identity header, or a problem without a reason.

Nothing here knows HTTP libraries: `authz.web.server.response_of` is the aiohttp side. Only exactly 200 allows. An
allowed answer has all identity headers, empty where there is no value, so that a client's own copy is always replaced.
The reason of a refusal is for the operator: the client gets the public code and the decision id.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import orjson

from authz.decision import Allow, Decision
from authz.reasons import Reason
from authz.text import header_value

IDENTITY_HEADERS: Final = (
    "x-authz-organization",
    "x-authz-user",
    "x-authz-certificate",
    "x-authz-binding",
    "x-authz-decision-id",
)
"""What an allowed request carries to the application."""

COMPLETED_BY: Final = "x-authz-completed-by"
"""Where the CAs of the path came from, for the proxy's own log: no application decides by it."""

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
    organization, user, certificate, binding, evidence = decision
    headers = {
        "x-authz-organization": header_value(organization.name),
        "x-authz-user": header_value(user.name),
        "x-authz-certificate": "" if certificate is None else certificate.hex(),
        "x-authz-binding": "" if binding is None else str(binding),
        "x-authz-decision-id": decision_id,
        COMPLETED_BY: evidence.completed_by,
    }
    return Answer(200, headers)


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
