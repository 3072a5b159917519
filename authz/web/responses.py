"""From a decision to the answer a proxy acts on: 200 with every identity header, or a problem without a reason.

Only exactly 200 allows. The identity headers are always all there, empty where there is nothing to
say, so that a client's own copy is replaced whatever the case. Why somebody is refused is the
operator's to know: the client gets the public code and the decision id.
"""

from __future__ import annotations

import orjson
from aiohttp import web

from authz.decision import Allow, Decision
from authz.reasons import Reason
from authz.text import header_value

IDENTITY_HEADERS = (
    "x-authz-organization",
    "x-authz-user",
    "x-authz-certificate",
    "x-authz-binding",
    "x-authz-decision-id",
)
"""What an allowed request carries to the application."""

COMPLETED_BY = "x-authz-completed-by"
"""Where the CAs of the path came from, for the proxy's own log: no application decides by it."""

PUBLIC_CODE = "MUTUAL_AUTHENTICATION_FAILED"
"""The code of every refusal, whatever its reason: the model's own."""

UNAVAILABLE_CODE = "AUTHORIZATION_UNAVAILABLE"
"""The code of an answer that was not decided."""

_TITLES = {401: "Unauthorized", 403: "Forbidden", 503: "Service Unavailable"}


def respond(decision: Decision, decision_id: str) -> web.Response:
    """The answer to a proxy."""
    if not isinstance(decision, Allow):
        return refuse(decision.reason, decision_id)
    organization, user, certificate, binding, evidence = decision
    headers = {
        "x-authz-organization": header_value(organization.name),
        "x-authz-user": header_value(user.name),
        "x-authz-certificate": "" if certificate is None else certificate.hex(),
        "x-authz-binding": "" if binding is None else str(binding),
        "x-authz-decision-id": decision_id,
        COMPLETED_BY: evidence.completed_by,
    }
    return web.Response(headers=headers)


def refuse(reason: Reason, decision_id: str) -> web.Response:
    """The answer that refuses, as RFC 9457 problem details."""
    status = reason.status
    problem = {
        "type": "about:blank",
        "title": _TITLES[status],
        "status": status,
        "code": UNAVAILABLE_CODE if status == 503 else PUBLIC_CODE,
        "decision_id": decision_id,
    }
    headers = {"x-authz-decision-id": decision_id, "cache-control": "no-store"}
    if status == 401:
        # RFC 9110 section 15.5.2 asks for a challenge.
        headers["www-authenticate"] = "Bearer"
    return web.Response(
        status=status, headers=headers, body=orjson.dumps(problem), content_type="application/problem+json"
    )
