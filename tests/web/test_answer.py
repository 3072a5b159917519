"""What a proxy is answered, without any HTTP library."""

from __future__ import annotations

import json

import pytest
from support.decision_world import ALICE, CA, decide, request

from authz.decision import Allow, Deny, Evidence
from authz.model import Enforcement, User
from authz.reasons import Reason
from authz.web.answer import COMPLETED_BY, IDENTITY_HEADERS, answer_to, refusal


def test_allowed_answer_is_200_with_exactly_the_identity_headers_and_no_body() -> None:
    """An allowed decision gives status 200, every identity header, where the path came from, and nothing else."""
    status, headers, body = answer_to(decide(request(ALICE, CA)), "id")
    assert (status, body) == (200, b"")
    assert tuple(headers) == (*IDENTITY_HEADERS, COMPLETED_BY)
    assert headers["x-authz-certificate"] == ALICE.sha256.hex()


def test_allowed_answer_without_a_certificate_has_empty_headers() -> None:
    """A header without a value is empty, not absent, so that a client's own copy is replaced."""
    _, headers, _ = answer_to(decide(request(), "olga"), "id")
    assert (headers["x-authz-certificate"], headers["x-authz-binding"]) == ("", "")


@pytest.mark.parametrize("name", ["Zoë\r\nx-authz-user: root", "a\x00b", "\u202eadmin"])
def test_identity_header_is_printable_ascii_whatever_the_name(name: str) -> None:
    """A user's name cannot end its header, nor begin another one."""
    allowed = decide(request(ALICE, CA))
    assert isinstance(allowed, Allow)
    answer = answer_to(Allow(allowed.organization, User(1, 1, name, Enforcement.OFF), None, None, Evidence()), "id")
    assert answer.headers["x-authz-user"].isascii()
    assert answer.headers["x-authz-user"].isprintable()


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_its_status_and_stays_secret(reason: Reason) -> None:
    """A refusal is 401, 403 or 503; a challenge goes with 401, another code with 503; the reason stays out."""
    answer = answer_to(Deny(reason, "SECRET", Evidence()), "id")
    assert answer == refusal(reason, "id")
    assert answer.status == json.loads(answer.body)["status"] == reason.status in {401, 403, 503}
    assert ("www-authenticate" in answer.headers) is (reason.status == 401)
    assert (b"AUTHORIZATION_UNAVAILABLE" in answer.body) is (reason.status == 503)
    assert not set(IDENTITY_HEADERS[:-1]) & set(answer.headers)
    assert b"SECRET" not in answer.body
    assert reason.value not in repr(answer)
