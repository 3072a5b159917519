"""`authz org`: what is set, and what is refused."""

from __future__ import annotations

import pytest
from support.command_world import HOST, Run


def test_set_changes_what_is_given_only(acme: Run) -> None:
    """The other settings stay."""
    acme("org", "set", "acme", "--binding-scope", "organization", "--issuer", "https://id")
    held = acme("org", "set", "acme", "--off", "--json").data
    assert isinstance(held, dict)
    assert (held["binding_scope"], held["issuer"], held["active"], held["hosts"]) == (
        "organization",
        "https://id",
        False,
        [HOST],
    )
    assert acme("org", "set", "acme", "--issuer", "", "--json").data["issuer"] is None  # type: ignore[index, call-overload]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--keys", "jwks.json", "--issuer", "https://id"), "--issuer and --audience beside --keys"),
        (("--organization-claim", "org"), "give --issuer, too"),
        (("--keys", "jwks.json", "--issuer", "https://id", "--audience", "a", "--organization-claim", "org"), ""),
    ],
)
def test_token_settings_that_are_not_whole_are_reported(acme: Run, options: tuple[str, ...], said: str) -> None:
    """When they are set, not when the first user is refused."""
    err = acme("org", "set", "acme", *options).err
    assert said in err
    assert ("hint:" in err) is bool(said)


def test_second_tenant_with_the_same_issuer_and_audience_is_refused_whole(acme: Run) -> None:
    """Its tokens would name the first one's users; it is not there afterwards."""
    same = ("--issuer", "https://id", "--audience", "api")
    assert acme("org", "set", "acme", *same).code == 0
    done = acme("org", "add", "evil", "--host", "evil.example.test", *same)
    assert (done.code, "could name a user" in done.err, "hint:" in done.err) == (1, True, True)
    assert [row["name"] for row in acme("org", "list", "--json").data] == ["acme"]  # type: ignore[attr-defined]


def test_type_of_tokens_is_kept_as_it_is_compared(run: Run) -> None:
    """In one spelling; the hint says what it takes to see one, and an empty text takes it away."""
    done = run("org", "add", "acme", "--token-type", "application/AT+jwt", "--json")
    assert done.data["token_type"] == "at+jwt"  # type: ignore[index, call-overload]
    assert "--keys" in done.err
    assert run("org", "set", "acme", "--token-type", "text/at+jwt").code == 2
    for options, kept in ((("--issuer", "i"), "at+jwt"), (("--token-type", ""), None)):
        assert run("org", "set", "acme", *options, "--json").data["token_type"] == kept  # type: ignore[index, call-overload]
