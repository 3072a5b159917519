"""What of a recorded decision can be decided again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from authz.cli.replay import can_be_replayed, headers_were_kept, obstacle_to_replay
from authz.model import Outcome, RecordedDecision
from authz.reasons import Gate, Reason

NOW = datetime(2026, 11, 29, tzinfo=UTC)
DECISION = RecordedDecision(
    decision_id="5e7fa3",
    at=NOW,
    listener="envoy",
    outcome=Outcome.DENIED,
    reason="certificate_not_registered",
    detail="",
    host="api.acme.test",
    method="GET",
    target="/",
    organization="acme",
    organization_id=1,
    user="alice",
    confirmation=None,
    certificate=None,
    subject="",
    headers=(),
)


def test_decision_about_a_known_user_can_be_replayed() -> None:
    """Its headers are all that the proxy sent, also where it sent none."""
    assert can_be_replayed(DECISION)
    assert headers_were_kept(DECISION)


@pytest.mark.parametrize("reason", list(Reason))
def test_decision_before_the_user_was_known_is_replayed_up_to_its_gate(reason: Reason) -> None:
    """A refusal by header or organization wholly; by a token not, for tokens are not kept; of no request nothing."""
    decision = replace(DECISION, reason=reason.value, user="")
    assert headers_were_kept(decision) is (reason.gate is Gate.HEADER)
    assert bool(obstacle_to_replay(decision)) is (reason.gate is Gate.REQUEST)
    assert can_be_replayed(decision) is (reason.gate not in {Gate.REQUEST, Gate.USER})


def test_decision_whose_header_was_too_large_cannot_be_replayed() -> None:
    """It would be decided without a certificate."""
    assert "too large" in obstacle_to_replay(replace(DECISION, headers=None))
    assert not can_be_replayed(replace(DECISION, headers=None))
