"""Each kind of problem has advice that can be typed."""

from __future__ import annotations

import shlex

import pytest

from authz.cli.advice import PROBLEMS, advice, of_user
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
            what="anchor",
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


def test_advice_can_be_pasted_for_a_name_that_begins_like_an_option() -> None:
    """As an issuer's random ids may."""
    words = advice(StoreError("no", kind=Problem.USER_UNKNOWN, organization="acme", user="-x"))
    assert "'authz user add -- acme -x'" in words
    assert of_user("authz user set", "acme", "-x", "--on") == "authz user set --on -- acme -x"
    assert of_user("authz user set", "acme", "x", "--on") == "authz user set acme x --on"


def test_advice_on_a_stored_ca_that_cannot_be_read_removes_it_where_it_is() -> None:
    """Of one organization, or of all."""
    for owner, word in (("acme", "acme"), (None, "--shared")):
        error = StoreError("no", kind=Problem.CA_UNREADABLE, what="anchor", organization=owner, sha256="ab")
        assert advice(error).endswith(f"authz anchor remove {word} ab")
