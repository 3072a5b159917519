"""The table of probes: what is asked, and which answer would be a way round."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from authz.doctor.probe.clients import Clients
from authz.doctor.probe.dialing import Endpoint, Headers, Question, Response, Shown
from authz.doctor.service_settings import IDENTITY_HEADERS
from authz.headers import KNOWN_HEADERS, escaped_pem, rfc9440
from authz.headers.xfcc import present

First = TypeVar("First")
Second = TypeVar("Second")

FORGED: Final = "forged"
"""The value that must not arrive."""

ODD_PATHS: Final = ("/x/..;/y", "//x", "/%2e%2e/x")
"""Paths that normalizing, merging or unescaping would turn into others; nothing is written, and none exists."""


def reached(answer: Response) -> bool:
    """Whether an answer is the application's: one that succeeds or leads elsewhere, as no refusal does."""
    return 200 <= answer.status < 400


def is_redirect(status: int) -> bool:
    """Whether it leads elsewhere, as an application or a proxy's way to the login does, and an echo never."""
    return 300 <= status < 400


@dataclass(frozen=True)
class Probe:
    """Questions to each of which `bad` must not hold; `missing` says what is missing to ask with.

    `echoed` is a probe that needs an answer of an echoing application to show anything.
    """

    what: str
    questions: tuple[Question, ...] = ()
    bad: Callable[[Response], bool] = reached
    missing: str = ""
    echoed: bool = False


def probes(clients: Clients, target: Endpoint) -> Iterator[Probe]:
    """Every probe over TLS and HTTP/1."""
    yield from identity_probes(clients)
    yield from certificate_probes(clients)
    yield from forged_probes(clients)
    yield from host_probes(clients, target)
    yield from session_probes(clients)
    yield from version_probes(clients)
    yield from arriving_probes(clients)
    yield from more_arriving_probes(clients)


def identity_probes(clients: Clients) -> Iterator[Probe]:
    """Without a token."""
    yield Probe("no token", (Question(),))
    yield Probe("an odd path", tuple(Question(target=path) for path in ODD_PATHS))
    yield _with(clients.good, "no token beside a certificate", lambda good: [Question(good)])


def certificate_probes(clients: Clients) -> Iterator[Probe]:
    """Without one's certificate, with another's, and with those that no client may show."""
    token = clients.token
    yield _with(token, "no certificate", lambda token: [Question(token=token)])
    yield _with(_both(clients.other, token), "another's certificate", _in)
    for name in ("revoked", "expired", "foreign", "self-signed"):
        bad = clients.bad.get(name)
        yield _with(_both(bad, clients.off_token), f"a certificate {name}", _in)
        yield _with(_both(bad, token), f"a certificate {name} in place of one's own", _in)
    large = "a certificate revoked with a large chain"
    yield _with(_both(clients.large, clients.off_token), large, _in)


def forged_probes(clients: Clients) -> Iterator[Probe]:
    """Headers in which the client writes what the proxy would."""
    forged = tuple(forged_headers(clients.good.der).items()) if clients.good is not None else ()
    names = ", ".join(name for name, _ in forged)
    token, certificate = _both(clients.token, clients.good), "a forged certificate header"
    yield _with(token, certificate, lambda both: [Question(token=both[0], headers=(header,)) for header in forged])
    beside = f"{certificate} beside one's own"
    owns = _both(clients.other, clients.token)
    yield _with(owns, beside, lambda both: [Question(*both, (header,)) for header in forged])
    many = f"{certificate} in other cases, several times, with underscores"
    yield _with(token, many, lambda both: [Question(token=both[0], headers=each) for each in _twisted(forged)])
    yield _with(
        clients.payload, "a forged payload", lambda payload: [Question(headers=(("x-authz-payload", payload),))]
    )
    revoked = _both(clients.bad.get("revoked"), clients.off_token)
    yield _with(revoked, "a forged statement", lambda both: [Question(*both, (("x-authz-peer", "NONE"),))])
    named = (("connection", f"{names}, x-authz-peer"),)
    yield _with(revoked, "Connection naming the headers", lambda both: [Question(*both, named)])


def forged_headers(der: bytes) -> dict[str, str]:
    """A certificate (DER) under every name of a certificate header that is known, in the form that goes with it."""
    special = {
        "x-forwarded-client-cert": present(der, []).decode(),
        "client-cert": rfc9440.format_certificate(der).decode(),
        "client-cert-chain": rfc9440.format_chain((der,)).decode(),
    }
    return dict.fromkeys(sorted(KNOWN_HEADERS), escaped_pem.format((der,)).decode()) | special


def _twisted(forged: Headers) -> list[Headers]:
    return [
        *(((name.title(), value),) for name, value in forged),
        *(((name, value), (name, value)) for name, value in forged),
        *(((name.replace("-", "_"), value),) for name, value in forged),
    ]


def host_probes(clients: Clients, target: Endpoint) -> Iterator[Probe]:
    """One tenant's certificate and token at another's host, and names that disagree."""
    there = f"http://{target.host}{target.path}"
    own, other = target.host, clients.other_host
    yield _with(
        _both(clients.good, clients.token),
        "another host",
        lambda both: [Question(*both, target=there, hosts=(other,))],
        lambda answer: reached(answer) and answer.arrived("host") != own,
    )
    twice = [(own, other), (other, own), (f"{own}.", own), ()]
    yield _with(
        clients.token, "hosts that disagree", lambda token: [Question(token=token, hosts=hosts) for hosts in twice]
    )
    yield _with(
        clients.token,
        "a server name that is not the host",
        lambda token: [Question(token=token, server_name=other), Question(token=token, hosts=(own.upper(),))],
    )


def session_probes(clients: Clients) -> Iterator[Probe]:
    """TLS sessions that were begun with a certificate, and go on without showing it."""
    other, revoked = _both(clients.other, clients.token), _both(clients.bad.get("revoked"), clients.off_token)
    yield _with(other, "another's session resumed", lambda both: [Question(token=both[1], resumes=both[0])])
    yield _with(revoked, "a revoked one's session resumed", lambda both: [Question(token=both[1], resumes=both[0])])


def version_probes(clients: Clients) -> Iterator[Probe]:
    """HTTP/1.0, with and without a host; HTTP/2 is in `authz.doctor.probe.other_protocols`."""
    hosts: tuple[tuple[str, ...] | None, ...] = (None, ())
    yield _with(
        clients.token,
        "HTTP/1.0 without a certificate",
        lambda token: [Question(token=token, version="HTTP/1.0", hosts=each) for each in hosts],
    )


def arriving_probes(clients: Clients) -> Iterator[Probe]:
    """Headers that would say who asks, beside a good certificate: none may reach the application."""
    names = [f"x-authz-{name}" for name in ("user", "organization", "certificate", "payload", "peer")]
    for name in (*names, "x_authz_user", "x-forwarded-host", *sorted(KNOWN_HEADERS)):
        yield arriving(clients, name, ((name, FORGED),))
    yield arriving(clients, "forwarded", (("forwarded", f"host={FORGED}"),))


def more_arriving_probes(clients: Clients) -> Iterator[Probe]:
    """The same of the other identity headers, in other cases, several times, and named by Connection."""
    yield arriving(clients, "x-authz-binding", (("x-authz-binding", FORGED),))
    yield arriving(clients, "x-authz-decision-id", (("x-authz-decision-id", FORGED),))
    for name in IDENTITY_HEADERS:
        twins = (((name.title(), FORGED),), ((name, FORGED), (name, FORGED)), ((name.replace("-", "_"), FORGED),))
        yield arriving(clients, name, *twins, what=f"{name} in other cases, twice, with underscores")
        yield _unnamed(clients, name)


def arriving(clients: Clients, name: str, *written: Headers, what: str = "") -> Probe:
    """That what the client writes under a name does not arrive under it, nor under its twin with underscores."""
    twin = name.replace("-", "_")
    return _with(
        _both(clients.good, clients.token),
        f"{what or name} arrives",
        lambda both: [Question(*both, headers) for headers in written],
        lambda answer: any(FORGED in answer.arrived(each) for each in (name, twin)),
        echoed=True,
    )


def _unnamed(clients: Clients, name: str) -> Probe:
    """That a client cannot have the proxy's own header taken away: the application would go by another."""
    return _with(
        _both(clients.good, clients.token),
        f"{name} is taken away by Connection",
        lambda both: [Question(*both, (("connection", name),))],
        lambda answer: answer.received is not None and name not in dict(answer.received),
        echoed=True,
    )


def _both(first: First | None, second: Second | None) -> tuple[First, Second] | None:
    return None if first is None or second is None else (first, second)


def _with(
    needed: First | None,
    what: str,
    questions: Callable[[First], list[Question]],
    bad: Callable[[Response], bool] = reached,
    *,
    echoed: bool = False,
) -> Probe:
    if needed is None:
        return Probe(what, missing="no certificate or token to try it with", bad=bad, echoed=echoed)
    return Probe(what, tuple(questions(needed)), bad, echoed=echoed)


def _in(both: tuple[Shown, str]) -> list[Question]:
    return [Question(*both)]
