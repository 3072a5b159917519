"""Asks every probe, and judges: a way round, held (and by what), or not proven."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from authz.doctor.probe.clients import Clients
from authz.doctor.probe.dialing import UNDECIDED, Dialer, Question, Response
from authz.doctor.probe.probes import Probe, is_redirect, probes, reached

CONTROL: Final = "one's own certificate"
"""The probe that must get through: without it no refusal proves anything."""


class Verdict(StrEnum):
    """What became of a probe."""

    WAY_ROUND = "way round"
    NOT_PROVEN = "not proven"
    HELD = "held"


@dataclass(frozen=True)
class Result:
    """One probe's verdict, and what shows it."""

    probe: str
    verdict: Verdict
    detail: str


Lookup = Callable[[Iterable[str]], Mapping[str, str]]
"""From decision ids to the reasons of the refusals that the history holds under them."""


@dataclass(frozen=True)
class _Asked:
    probe: Probe
    answers: tuple[Response, ...]

    @property
    def ids(self) -> set[str]:
        return {answer.decision_id for answer in self.answers} - {""}


def run_probes(dialer: Dialer, clients: Clients, lookup: Lookup) -> list[Result]:
    """Every probe's result. Raises `ProbesUsedUp`, and `ssl.SSLCertVerificationError` for a proxy's bad certificate."""
    control = (
        dialer.ask(Question(clients.good, clients.token))
        if clients.good is not None
        else Response(ended="no certificate")
    )
    reasons: dict[str, str] = {}
    asked = [_ask(dialer, probe, lookup, reasons) for probe in probes(clients, dialer.target)]
    ids = {each for entry in asked for each in entry.ids} | ({control.decision_id} - {""})
    reasons.update(lookup(ids - reasons.keys()))
    judge = _Judge(control, reasons)
    return [judge.control(), *map(judge.result, asked)]


def _ask(dialer: Dialer, probe: Probe, lookup: Lookup, reasons: dict[str, str]) -> _Asked:
    answers = []
    for question in probe.questions:
        answers.append(answer := dialer.ask(question))
        # Of refusals alike without a known user the history has the last one's id only: look before the next comes.
        if answer.decision_id and (question.token is None or question.hosts is not None):
            reasons.update(lookup({answer.decision_id}))
    return _Asked(probe, tuple(answers))


@dataclass(frozen=True)
class _Judge:
    """Knows whether an honest client gets through, and whose refusals are the service's."""

    honest: Response
    reasons: Mapping[str, str]

    @property
    def _echo(self) -> bool:
        return self.honest.received is not None

    def control(self) -> Result:
        if reached(self.honest):
            who = "an echo answers" if self._echo else "the application answers, and does not show what reached it"
            return Result(CONTROL, Verdict.HELD, who)
        return Result(CONTROL, Verdict.NOT_PROVEN, f"it does not get through: {self._told(self.honest)}")

    def result(self, asked: _Asked) -> Result:
        """A way round is one whatever else holds; nothing else is proven unless all of it is."""
        probe, both = asked.probe, list(zip(asked.probe.questions, asked.answers, strict=True))
        for question, answer in both:
            if probe.bad(answer) and not (self._echo and is_redirect(answer.status)):
                leads = ", to a login page perhaps: let an echo answer (--echo)" if is_redirect(answer.status) else ""
                return Result(probe.what, Verdict.WAY_ROUND, f"{_words(question)}: {answer.status}{leads}")
        missing = probe.missing or next((why for each in both if (why := self._unproven(probe, *each))), "")
        if missing:
            return Result(probe.what, Verdict.NOT_PROVEN, missing)
        return Result(probe.what, Verdict.HELD, ", ".join(dict.fromkeys(map(self._told, asked.answers))))

    def _unproven(self, probe: Probe, question: Question, answer: Response) -> str:
        """Why an answer that is no way round shows nothing; empty if it does."""
        if not reached(self.honest):
            return "an honest client does not get through either"
        if answer.status in UNDECIDED:
            return f"{answer.status}: not decided; try again"
        if answer.decision_id and answer.received is None:
            known = answer.decision_id in self.reasons
            return "" if known else f"no such decision in the history: {answer.decision_id}"
        if not self._echo and (answer.status or probe.echoed):
            return f"{answer.status or answer.ended}, which may be the application's: let an echo answer (--echo)"
        if question.elsewhere and answer.received is None and answer.status not in {0, *_OF_PROXIES}:
            return f"{answer.status} at {_words(question)}, which may be another application's"
        return "" if answer.status or answer.ended not in _SAYS_NOTHING else f"no answer: {answer.ended}"

    def _told(self, answer: Response) -> str:
        if answer.received is not None:
            return "let through, and nothing forged arrived"
        if answer.decision_id:
            return f"refused: {self.reasons.get(answer.decision_id, 'unknown')}"
        return f"the proxy: {answer.status or answer.ended}"


_SAYS_NOTHING: Final = frozenset({"no answer in time", "ConnectionRefusedError", "gaierror"})
"""Ends that are no refusal: the proxy may not have been there."""


_OF_PROXIES: Final = frozenset({400, 414, 421, 426, 431, 505})
"""What a proxy says of requests that it does not take: malformed, misdirected, too large, of another version."""


def _words(question: Question) -> str:
    words = [f"GET {question.target or ''}".strip()]
    words += [f"{name}: {value if len(value) < 40 else value[:37] + '...'}" for name, value in question.headers]
    if question.hosts is not None:
        words.append(f"hosts {', '.join(question.hosts) or 'none'}")
    return ", ".join(words)
