"""`authz org`: what is set, and what is refused."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.command_world import HOST, Run, write

from authz.admin.organizations import PathGap, TokenGap
from authz.cli.organizations import PATH_GAPS, TOKEN_GAPS

KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "a"}


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
        (("--keys", "{keys}", "--issuer", "https://id"), "--issuer and --audience beside --keys"),
        (("--organization-claim", "org"), "give --issuer, too"),
        (("--keys", "{keys}", "--issuer", "https://id", "--audience", "a", "--organization-claim", "org"), ""),
    ],
)
def test_token_settings_that_are_not_whole_are_reported(acme: Run, options: tuple[str, ...], said: str) -> None:
    """When they are set, not when the first user is refused."""
    keys = Path(write("jwks.json", json.dumps({"keys": [KEY]}))).absolute()
    err = acme("org", "set", "acme", *(option.format(keys=keys) for option in options)).err
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


def test_show_has_each_key_of_the_key_set_with_the_cause_if_it_is_not_used(
    acme: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And why the set itself cannot be read, by more than the kind of the error."""
    keys = [KEY, {**KEY, "kid": "b", "use": "enc"}, {"kty": "oct", "kid": "\x1b[2Jc"}]
    location = Path(write("jwks.json", json.dumps({"keys": keys}))).absolute()
    assert acme("org", "set", "acme", "--keys", str(location)).code == 0
    shown = acme("org", "show", "acme", "--json").data["key_set"]  # type: ignore[index, call-overload]
    assert shown == [
        "a OKP Ed25519: used",
        "b OKP Ed25519 enc: use is enc, not sig",
        "\\u001b[2Jc oct: a key of kty oct and crv None is not supported",
    ]
    assert "use is enc" in acme("org", "show", "acme").out
    monkeypatch.setattr("authz.identity.keys.FETCH_SECONDS", 0.1)
    for name, cause in unusable_key_sets().items():
        location.unlink(missing_ok=True)
        if Path(name).exists():
            Path(name).rename(location)
        if cause:
            assert cause in str(acme("org", "show", "acme", "--json").data["key_set"])  # type: ignore[index, call-overload]


def unusable_key_sets() -> dict[str, str]:
    """Files in the current folder, each with why it cannot be read; no reason where it can, and has no usable key."""
    os.mkfifo("pipe.json")
    write("text.json", "{")
    write("object.json", '{"keys": 1}')
    write("empty.json", '{"keys": []}')
    causes = ("Expecting property name", "no list of keys", "No such file", "TimeoutError", "")
    return dict(zip(("text.json", "object.json", "missing.json", "pipe.json", "empty.json"), causes, strict=True))


@pytest.mark.slow
def test_key_set_that_cannot_be_used_is_not_taken(acme: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cause is in the message, and the settings stay; what is there already holds no other change up."""
    monkeypatch.setattr("authz.identity.keys.FETCH_SECONDS", 0.1)
    for name, cause in unusable_key_sets().items():
        done = acme("org", "set", "acme", "--keys", str(Path(name).absolute()))
        assert (done.code, cause in done.err, name in done.err) == (2, True, True)
    assert acme("org", "show", "acme", "--json").data["keys"] is None  # type: ignore[index, call-overload]
    write("jwks.json", json.dumps({"keys": [KEY]}))
    assert "no absolute path" in acme("org", "set", "acme", "--keys", "jwks.json").err
    assert acme("org", "set", "acme", "--keys", str(Path("jwks.json").absolute())).code == 0
    Path("jwks.json").unlink()
    assert acme("org", "set", "acme", "--off").code == 0


def test_key_set_that_this_machine_cannot_fetch_is_taken_with_a_remark(acme: Run) -> None:
    """The service may reach what the operator's machine does not; plain http is refused."""
    done = acme("org", "set", "acme", "--keys", "http://127.0.0.1:1/keys")
    assert (done.code, "cannot be used now" in done.err) == (0, True)
    assert acme("org", "set", "acme", "--keys", "http://id.test/keys").code == 2


def test_gap_of_settings_has_advice() -> None:
    """Every one."""
    assert set(TOKEN_GAPS) == set(TokenGap)
    assert set(PATH_GAPS) == set(PathGap)


def test_policy_of_paths_is_set_shown_and_taken_back(acme: Run) -> None:
    """The hint says where weak algorithms count; `cert list` and `check` go by the policy, as the service does."""
    options = ("--algorithm", "default", "--algorithm", "sha1", "--policy", "1.2.3", "--inhibit-mapping")
    done = acme("org", "set", "acme", *options, "--purpose", "1.3.6.1.4.1.311.20.2.2", "--json")
    assert done.data["algorithms"] == ["default", "sha1"]  # type: ignore[index, call-overload]
    assert (done.data["policies"], done.data["inhibit_mapping"]) == (["1.2.3"], True)  # type: ignore[index, call-overload]
    assert "never in one that a client brings" in done.err
    assert "--explicit-policy" in done.err
    assert acme("org", "show", "acme", "--json").data == done.data
    for wrong in (
        ("--algorithm", "md5"),
        ("--algorithm", "sha1"),
        ("--purpose", "2.5.29.37.0"),
        ("--min-rsa-bits", "0"),
    ):
        assert acme("org", "set", "acme", *wrong).code == 2
    back = ("--algorithm", "default", "--policy", "", "--purpose", "", "--no-inhibit-mapping")
    assert acme("org", "set", "acme", *back, "--json").data["purpose"] == "1.3.6.1.5.5.7.3.2"  # type: ignore[index, call-overload]


@pytest.mark.parametrize("change", ["path_algorithms = 'rot13'", "path_algorithms = x'ff'"])
@pytest.mark.parametrize("verb", [("list",), ("list", "--json"), ("show", "acme"), ("set", "acme", "--off")])
def test_row_that_makes_no_sense_is_reported_in_a_sentence(acme: Run, change: str, verb: tuple[str, ...]) -> None:
    """Whatever wrote it: it names the organization, and is no traceback."""
    with closing(sqlite3.connect("test.db")) as connection, connection:
        connection.execute(f"UPDATE organizations SET {change}")
    done = acme("org", *verb)
    assert done.code == 1
    assert "the row of the organization acme makes no sense" in done.err
    assert "Traceback" not in done.err
