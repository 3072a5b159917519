"""What an answer proves, and that no more is asked than is allowed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from authz.doctor.probe.clients import Clients
from authz.doctor.probe.dialing import (
    MOST_QUESTIONS,
    TRIES,
    Dialer,
    Endpoint,
    ProbesUsedUp,
    Question,
    Response,
    Shown,
)
from authz.doctor.probe.other_protocols import application, service
from authz.doctor.probe.probes import probes
from authz.doctor.probe.run import CONTROL, Verdict, run_probes

TARGET = Endpoint("a.example", 443)
ECHO = Response(200, (), json.dumps({"headers": [["host", "a.example"]]}).encode())
PLAIN = Response(200, (), b"hello")
REFUSED = Response(403, (("x-authz-decision-id", "1"),))
REDIRECT = Response(302, (("location", "https://login.example/"),))
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


class Canned(Dialer):
    """Answers without a proxy."""

    def __init__(self, answer: Callable[[Question], Response]) -> None:
        super().__init__(TARGET)
        self._answer = answer

    def ask(self, question: Question) -> Response:
        """What was canned."""
        return self._answer(question)


@pytest.fixture
def clients(tmp_path: Path) -> Clients:
    """Somebody with a certificate and a token, another one, and a revoked one."""
    (tmp_path / "a.pem").write_text(PEM)
    (tmp_path / "b.pem").write_text(PEM)
    good, bad = Shown(tmp_path / "a.pem", tmp_path / "a.key"), Shown(tmp_path / "b.pem", tmp_path / "b.key")
    return Clients("a.b.c", "d.e.f", good, bad, bad, {"revoked": bad})


def known(ids: Iterable[str]) -> Mapping[str, str]:
    """A history that has everything."""
    return dict.fromkeys(ids, "certificate_required")


def verdicts(
    clients: Clients, honest: Response, other: Response, lookup: Callable[[Iterable[str]], Mapping[str, str]] = known
) -> dict[str, Verdict]:
    """By probe, where the one with the good certificate and nothing else gets one answer, and all others another."""
    plain = Question(clients.good, clients.token)
    found = run_probes(Canned(lambda question: honest if question == plain else other), clients, lookup)
    return {each.probe: each.verdict for each in found}


def test_refusal_that_the_history_has_is_held(clients: Clients) -> None:
    """It is ours."""
    assert verdicts(clients, ECHO, REFUSED)["no certificate"] is Verdict.HELD


def test_refusal_that_the_history_lacks_is_not_proven(clients: Clients) -> None:
    """Anybody can make up an id."""
    assert verdicts(clients, ECHO, REFUSED, lambda _ids: {})["no certificate"] is Verdict.NOT_PROVEN


def test_refusal_without_an_id_may_be_the_applications(clients: Clients) -> None:
    """Unless an echo is the application: it refuses nothing."""
    assert verdicts(clients, PLAIN, Response(403))["no certificate"] is Verdict.NOT_PROVEN
    assert verdicts(clients, ECHO, Response(403))["no certificate"] is Verdict.HELD


@pytest.mark.parametrize(("status", "verdict"), [(404, Verdict.NOT_PROVEN), (400, Verdict.HELD), (421, Verdict.HELD)])
def test_answer_at_another_path_may_be_another_applications(clients: Clients, status: int, verdict: Verdict) -> None:
    """An echo at the path that was named does not answer for every path; what only proxies say is theirs."""
    found = verdicts(clients, ECHO, Response(status))
    assert (found["an odd path"], found["no certificate"]) == (verdict, Verdict.HELD)


def test_nothing_is_proven_where_an_honest_client_is_refused(clients: Clients) -> None:
    """A proxy that serves no client has proven nothing."""
    found = verdicts(clients, REFUSED, REFUSED)
    assert set(found.values()) == {Verdict.NOT_PROVEN}
    assert CONTROL in found


def test_way_round_is_one_whatever_else_holds(clients: Clients) -> None:
    """Also where an honest client is refused, and whatever the history says."""
    for success in (PLAIN, ECHO, Response(204), REDIRECT):
        assert verdicts(clients, REFUSED, success, lambda _ids: {})["no certificate"] is Verdict.WAY_ROUND


def test_redirect_is_a_way_round_unless_an_echo_is_the_application(clients: Clients) -> None:
    """Applications redirect strangers; an echo does not, so that it is the proxy's way to a login page."""
    assert verdicts(clients, PLAIN, REDIRECT)["no certificate"] is Verdict.WAY_ROUND
    found = verdicts(clients, ECHO, REDIRECT)
    assert (found["no certificate"], found["an odd path"]) == (Verdict.HELD, Verdict.NOT_PROVEN)


def test_headers_that_no_echo_shows_are_not_proven(clients: Clients) -> None:
    """The application's own answer does not say what reached it."""
    found = verdicts(clients, PLAIN, PLAIN)
    assert found["x-authz-user arrives"] is Verdict.NOT_PROVEN
    assert verdicts(clients, ECHO, ECHO)["x-authz-user arrives"] is Verdict.HELD


@pytest.mark.parametrize("ended", ["no answer in time", "ConnectionRefusedError"])
def test_silence_is_no_refusal(clients: Clients, ended: str) -> None:
    """The proxy may not have been there."""
    assert verdicts(clients, ECHO, Response(ended=ended))["no certificate"] is Verdict.NOT_PROVEN


def test_undecided_is_no_refusal(clients: Clients) -> None:
    """A busy service has answered nothing, and the next one may be let through."""
    assert verdicts(clients, ECHO, Response(503))["no certificate"] is Verdict.NOT_PROVEN


def test_alert_is_the_proxys_refusal(clients: Clients) -> None:
    """Nothing of the request went further."""
    assert verdicts(clients, ECHO, Response(ended="tlsv1 alert unknown ca"))["another's certificate"] is Verdict.HELD


def test_nothing_to_show_proves_nothing() -> None:
    """Every probe that needs a certificate or a token is listed, as not proven."""
    found = verdicts(Clients(), REFUSED, REFUSED)
    assert Verdict.WAY_ROUND not in found.values()
    assert found["a certificate revoked"] is found["no certificate"] is Verdict.NOT_PROVEN


def test_questions_are_bounded_in_number_and_rate() -> None:
    """One more raises, and each waits its turn."""
    slept: list[float] = []
    dialer = Dialer(TARGET, a_second=20, most=3, sleep=slept.append)
    for _ in range(3):
        dialer.take()
    with pytest.raises(ProbesUsedUp):
        dialer.take()
    assert slept == [0.05] * 3


def test_all_probes_together_stay_within_the_bound(clients: Clients) -> None:
    """Also where a proxy resets each connection without a good certificate, so that it is tried again."""
    questions = [question for probe in probes(clients, TARGET) for question in probe.questions]
    other_ways = 20
    assert sum(1 if each.shows == clients.good else TRIES for each in questions) + other_ways < MOST_QUESTIONS
    assert len(questions) < 250


def test_questions_go_nowhere_else(clients: Clients) -> None:
    """Every target is the path that was named, or one that exists nowhere."""
    targets = {question.target for probe in probes(clients, TARGET) for question in probe.questions}
    assert targets == {None, "/x/..;/y", "//x", "/%2e%2e/x", "http://a.example/"}


def test_socket_that_all_may_open_is_a_way_round(tmp_path: Path) -> None:
    """By its rights: an answer would show nothing, for the operator may open more than others."""
    path = tmp_path / "socket"
    path.touch(mode=0o660)
    assert service(f"unix:{path}").verdict is Verdict.HELD
    path.chmod(0o666)
    assert service(f"unix:{path}").verdict is Verdict.WAY_ROUND
    assert service(f"unix:{path}x").verdict is Verdict.NOT_PROVEN


def test_port_that_is_closed_is_held() -> None:
    """From here; another machine has to ask for itself."""
    assert application("http://127.0.0.1:1/").verdict is Verdict.HELD
    assert service("127.0.0.1:1").verdict is Verdict.HELD


@pytest.mark.parametrize("body", [b'{"headers"', b'{"headers": 1}', b'{"headers": [[1]]}', b"\xff", b"[1]", b"1"])
def test_odd_answers_are_no_echo(body: bytes) -> None:
    """And no decision either."""
    answer = Response(200, (), body)
    assert (answer.received, answer.decision_id, answer.arrived("host")) == (None, "", "")
