"""The history as the operator reads it, and a request of it decided again."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest
from support.certificates import Minted, chain_pem
from support.command_world import ALICE, BOB, CA, CRL_LIFE, HOST, NOW, Run, write
from support.decision_world import Says
from support.recorded import Anonymous, decide_and_keep

from authz.app.config import ListenerSettings
from authz.app.listeners import listener_of
from authz.clock import SystemClock
from authz.decision import Deny, Evidence
from authz.directory import History, HistoryLimits
from authz.headers import present
from authz.model import CheckRequest
from authz.reasons import Reason
from authz.view import IdentitySource, Listener

ID = "5e7fa3" + "0" * 26


def ask(
    *chain: Minted, who: IdentitySource | None = None, host: str = HOST, listener: str = "envoy", pad: int = 0
) -> None:
    """The service decides one request, and keeps what it keeps of it."""
    headers = [(b"x-authz-peer", b"sha256=")]
    if chain:
        headers = [
            (b"x-forwarded-client-cert", present(chain[0].der, [one.der for one in chain[1:]]) + b" " * pad),
            (b"x-authz-peer", b"sha256=" + chain[0].sha256.hex().encode()),
        ]
    check = CheckRequest(ID, host, tuple(headers), "GET", "/orders")
    asyncio.run(
        decide_and_keep(check, replace(listener_of(ListenerSettings(name=listener)), identity=(who or Says("alice"),)))
    )


def test_refused_request_is_listed_and_shown(acme: Run) -> None:
    """With what the reason means, and how to decide it again."""
    ask(BOB, CA)
    [row] = acme("decisions", "list", "--json").data  # type: ignore[misc, attr-defined]
    assert (row["id"], row["reason"], row["user"]) == (ID, "certificate_not_registered", "alice")
    shown = acme("decisions", "show", "5e7fa3", "--json")
    assert (shown.data["subject"], shown.data["target"]) == ("CN=bob", "/orders")  # type: ignore[index, call-overload]
    assert f"hint: decide it again as things stand now: authz check --replay {ID}" in shown.err
    assert "certificate_not_registered" in acme("decisions", "list").out


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--organization", "acme", "--user", "alice", "--outcome", "denied"), 1),
        (("--reason", "certificate_not_registered", "--certificate", BOB.sha256.hex()[:8]), 1),
        (("--since", (NOW + timedelta(days=1)).isoformat()), 0),
        (("--outcome", "observed"), 0),
        (("--user", "bob"), 0),
    ],
)
def test_list_is_narrowed_by_filters(acme: Run, options: tuple[str, ...], found: int) -> None:
    """One, or none and a hint."""
    ask(BOB, CA)
    done = acme("decisions", "list", *options, "--json")
    assert len(done.data) == found  # type: ignore[arg-type]
    assert ("hint:" in done.err) == (not found)


def test_unknown_reason_is_a_usage_error(run: Run) -> None:
    """Not an empty list."""
    assert run("decisions", "list", "--reason", "bad_mood").code == 2


@pytest.mark.parametrize("verb", [("decisions", "show", "ff"), ("check", "--replay", "ff")])
def test_decision_that_is_not_kept_is_an_error(acme: Run, verb: tuple[str, ...]) -> None:
    """With a hint."""
    done = acme(*verb)
    assert (done.code, "hint:" in done.err) == (1, True)


def test_replay_while_nothing_changed_says_so(acme: Run) -> None:
    """The same reason, every gate shown."""
    ask(BOB, CA)
    done = acme("check", "--replay", "5e7fa3")
    assert done.code == 1
    assert "nothing is different" in done.err
    assert BOB.sha256.hex() in done.out


@pytest.mark.slow
def test_replay_shows_what_is_different_now(acme: Run) -> None:
    """The certificate was registered meanwhile."""
    ask(BOB, CA)
    acme("cert", "add", "acme", write("bob.pem", chain_pem(BOB, CA)), "--user", "alice")
    done = acme("check", "--replay", "5e7fa3", "--json")
    assert done.code == 0
    told = done.data
    assert isinstance(told, dict)
    assert told["different"] is True
    assert (told["then"]["outcome"], told["then"]["reason"]) == ("denied", "certificate_not_registered")
    assert (told["now"]["outcome"], told["now"]["reason"]) == ("allowed", "")
    assert [row["gate"] for row in told["gates"]][-1] == "binding"


def test_replay_finds_another_reason(acme: Run) -> None:
    """A certificate without a registration is now revoked, too."""
    ask(BOB, CA)
    acme("crl", "add", write("ca2.crl", CA.crl(BOB, number=2, **{**CRL_LIFE, "this_update": NOW})))
    done = acme("check", "--replay", "5e7fa3")
    assert "denied (certificate_not_registered); now: denied (certificate_revoked)" in done.err


@pytest.mark.slow
def test_replay_of_an_observed_request_tells_allowed_from_observed(acme: Run) -> None:
    """Allowed all the same; what `required` would have said is no longer so."""
    acme("user", "add", "acme", "oscar", "--enforcement", "observe")
    ask(BOB, CA, who=Says("oscar"))
    assert "observed (certificate_not_registered); now: observed" in acme("check", "--replay", ID).err
    acme("cert", "add", "acme", write("bob.pem", chain_pem(BOB, CA)), "--user", "oscar")
    done = acme("check", "--replay", ID)
    assert (done.code, "now: allowed" in done.err) == (0, True)


def test_replay_keeps_the_binding_of_the_token(acme: Run) -> None:
    """A token stolen then is stolen now."""
    ask(ALICE, CA, who=Says("alice", b"\x00" * 32))
    assert "now: denied (token_bound_to_another_certificate)" in acme("check", "--replay", ID).err


def test_replay_without_a_user_says_that_tokens_are_not_kept(acme: Run) -> None:
    """It cannot be decided to the end, and is never allowed."""
    ask(ALICE, CA, who=Anonymous())
    done = acme("check", "--replay", ID)
    assert done.code == 1
    assert "tokens are not kept" in done.err


def test_replay_of_a_refused_token_does_not_say_what_it_cannot_know(acme: Run) -> None:
    """The token may be refused for the same reason, or another: neither different nor the same is true."""
    ask(ALICE, CA, who=Anonymous(Reason.TOKEN_EXPIRED))
    done = acme("check", "--replay", ID, "--json")
    assert done.data["different"] is None  # type: ignore[index, call-overload]
    assert "is unknown" in done.err


def test_replay_of_an_unknown_host_that_is_known_now_is_different(acme: Run) -> None:
    """The organization is there; who the user was is another question."""
    ask(ALICE, CA, host="new.example.test", who=Anonymous())
    acme("org", "set", "acme", "--host", "new.example.test")
    assert acme("check", "--replay", ID, "--json").data["different"] is True  # type: ignore[index, call-overload]


STRICT = """
[[listener]]
[listener.certificate]
form = "rfc9440"
header = "client-cert"
none = ["absent"]
[listener.client_cert_indicator]
form = "none"
"""


@pytest.mark.parametrize("host", [HOST, "new.example.test"])
def test_replay_without_kept_headers_does_not_miss_them(acme: Run, host: str) -> None:
    """They passed their gate, and a gate behind it refused: a listener that demands them refuses no replay."""
    ask(who=Anonymous(Reason.TOKEN_EXPIRED), host=host)
    write("authz.toml", STRICT)
    done = acme("--config", "authz.toml", "check", "--replay", ID, "--json")
    assert done.data["now"]["reason"] in {"identity_missing", "organization_unknown"}  # type: ignore[index, call-overload]
    assert done.data["different"] is (None if host == HOST else False)  # type: ignore[index, call-overload]


def test_decision_of_what_was_no_request_cannot_be_replayed(acme: Run) -> None:
    """It says so, and offers no replay."""
    decision = Deny(Reason.REQUEST_MALFORMED, "no HTTP", Evidence())
    asyncio.run(_keep(CheckRequest(ID, "", ()), listener_of(ListenerSettings(name="envoy")), decision))
    shown = acme("decisions", "show", ID, "--json")
    assert (shown.data["can_be_replayed"], "--replay" in shown.err) == (False, False)  # type: ignore[index, call-overload]
    done = acme("check", "--replay", ID)
    assert (done.code, "could not be read" in done.err) == (1, True)


async def _keep(check: CheckRequest, listener: Listener, decision: Deny) -> None:
    history = History("sqlite:///test.db", SystemClock(), HistoryLimits(), lost=print, warn=print)
    history.decided(check, listener, decision, 0.0)
    await history.close()


def test_replay_of_octets_that_are_no_certificate_shows_their_digest(acme: Run) -> None:
    """The certificate that was refused need not be one that can be read."""
    der = bytearray(BOB.der)
    der[der.index(b"\xa0\x03\x02\x01") + 4] = 28
    digest = hashlib.sha256(der).hexdigest()
    headers = ((b"x-forwarded-client-cert", present(bytes(der), [])), (b"x-authz-peer", b"sha256=" + digest.encode()))
    listener = replace(listener_of(ListenerSettings(name="envoy")), identity=(Says("alice"),))
    asyncio.run(decide_and_keep(CheckRequest(ID, HOST, headers), listener))
    done = acme("check", "--replay", ID, "--json")
    assert done.code == 1
    assert done.data["then"] == done.data["now"] | {"at": done.data["then"]["at"]}  # type: ignore[index, call-overload, operator]
    assert digest in done.data["gates"][-1]["saw"]  # type: ignore[index, call-overload]


def test_replay_of_a_header_too_large_to_keep_says_what_to_do(acme: Run) -> None:
    """Rather than to decide without it."""
    ask(BOB, CA, pad=20_000)
    done = acme("check", "--replay", ID)
    assert done.code == 1
    assert "too large" in done.err


def test_replay_at_a_listener_that_is_gone_is_an_error(acme: Run) -> None:
    """What is believed there is not known any more."""
    ask(BOB, CA, listener="old")
    assert "no listener old" in acme("check", "--replay", ID).err


@pytest.mark.parametrize("words", [("--replay", ID, HOST), ("--replay", ID, "--cert", "alice.pem"), (HOST,), ()])
def test_check_takes_a_request_or_a_recorded_one(acme: Run, words: tuple[str, ...]) -> None:
    """Not both, and not half of one."""
    assert acme("check", *words).code == 2


def test_next_organization_of_a_name_begins_without_decisions(acme: Run) -> None:
    """Its id is another one."""
    ask(BOB, CA)
    assert len(acme("decisions", "list", "--organization", "acme", "--json").data) == 1  # type: ignore[arg-type]
    acme("org", "remove", "acme")
    acme("org", "add", "acme", "--host", HOST)
    assert acme("decisions", "list", "--organization", "acme", "--json").data == []
    assert acme("decisions", "list", "--json").data == []


def test_repeats_without_an_identity_are_counted(acme: Run) -> None:
    """The last one is shown, and can be decided again."""
    for _ in range(3):
        ask(BOB, CA, who=Anonymous())
    [row] = acme("decisions", "list", "--json").data  # type: ignore[misc, attr-defined]
    assert (row["repeats"], row["organization"]) == (3, "acme")
    shown = acme("decisions", "show", ID, "--json").data
    assert shown["first_at"] < shown["at"]  # type: ignore[index, call-overload]
    assert acme("check", "--replay", ID, "--json").data["different"] is False  # type: ignore[index, call-overload]
