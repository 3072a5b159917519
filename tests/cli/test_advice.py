"""Each kind of problem has advice that can be typed."""

from __future__ import annotations

import shlex

import pytest

from authz.cli.advice import PROBLEMS, advice
from authz.errors import ConfigError, Problem, StoreError


@pytest.mark.parametrize("kind", list(Problem))
def test_problem_has_advice_in_words_of_the_command(kind: Problem) -> None:
    """With the names that the error is about."""
    words = advice(
        StoreError(
            "no",
            kind=kind,
            organization="{acme}",
            user="alice",
            id=7,
            issuer="CN=CA",
            kinds="key",
            file="x",
            sha256="ab",
        )
    )
    assert words
    assert ("{acme}" in words) is ("{organization}" in PROBLEMS[kind])


def test_advice_that_holds_for_every_caller_is_printed_as_it_is() -> None:
    """And none where nothing is known."""
    assert advice(ConfigError("no", hint="renew {it}")) == "renew {it}"
    assert advice(ConfigError("no")) == ""


def test_advice_can_be_pasted_whatever_the_name() -> None:
    """A name is one word of the line that a shell reads."""
    words = advice(StoreError("no", kind=Problem.USER_UNKNOWN, organization="a b", user="it's; rm -rf /"))
    assert shlex.split(words.partition("'authz ")[2].rpartition("'")[0])[2:4] == ["a b", "it's; rm -rf /"]
