"""Each kind of problem has advice that can be typed."""

from __future__ import annotations

import pytest

from authz.admin.organizations import TokenGap
from authz.cli.advice import PROBLEMS, TOKEN_GAPS, advice
from authz.errors import ConfigError, Problem, StoreError


@pytest.mark.parametrize("kind", list(Problem))
def test_problem_has_advice_in_words_of_the_command(kind: Problem) -> None:
    """With the names that the error is about."""
    words = advice(StoreError("no", kind=kind, organization="{acme}", user="alice", id=7, issuer="CN=CA"))
    assert words
    assert ("{acme}" in words) is ("{organization}" in PROBLEMS[kind])


def test_advice_that_holds_for_every_caller_is_printed_as_it_is() -> None:
    """And none where nothing is known."""
    assert advice(ConfigError("no", hint="renew {it}")) == "renew {it}"
    assert advice(ConfigError("no")) == ""


def test_gap_of_token_settings_has_advice() -> None:
    """Every one."""
    assert set(TOKEN_GAPS) == set(TokenGap)
