"""`authz doctor probe` and `authz doctor prepare`."""

from __future__ import annotations

import contextlib
import re
import shlex
import ssl
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final

import typer

from authz.cli.advice import advice
from authz.cli.canary import CanaryPlan, impostors, prepare, remove
from authz.cli.options import AsJson, open_store, settings_of
from authz.cli.output import emit, emit_one, fail, hint, say
from authz.clock import SystemClock
from authz.demo.processes import Application, running
from authz.directory import Store
from authz.directory.databases import database_of
from authz.directory.decision_rows import Filter
from authz.doctor.findings import UNREADABLE, Unreadable
from authz.doctor.probe.clients import Clients, canary_clients
from authz.doctor.probe.dialing import Dialer, Endpoint, ProbesUsedUp, Shown
from authz.doctor.probe.other_protocols import other_ways, plain_http
from authz.doctor.probe.run import Lookup, Result, Verdict, run_probes
from authz.errors import AdvisedError, ConfigError
from authz.model import Outcome, TokenSettings

HISTORY_SECONDS: Final = 10.0
"""How long a decision may take to be in the history; the service writes it twice a second."""

MOST_DECISIONS: Final = 100_000
"""Decisions read while one is looked for."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9/._~:%-]+")
"""What may stand in a request's line as it is, and in the words of other programs."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""token68 of RFC 9110 section 11.2."""

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder for the canary's keys and certificates.")]
Url = Annotated[str, typer.Argument(metavar="URL", help="The proxy, as clients name it: https://HOST[:PORT]/PATH.")]
Canary = Annotated[
    Path | None, typer.Option("--canary", metavar="FOLDER", help="What `authz doctor prepare` made; for most probes.")
]
TokenFile = Annotated[
    Path | None, typer.Option("--token", metavar="FILE", help="A token of the user, if the canary has no issuer.")
]
OffToken = Annotated[
    Path | None, typer.Option("--off-token", metavar="FILE", help="A token of the canary's user who needs none.")
]
CertFile = Annotated[
    Path | None, typer.Option("--cert", metavar="FILE", help="The certificate of a real test user, with its chain.")
]
KeyFile = Annotated[Path | None, typer.Option("--key", metavar="FILE", help="Its key.")]
Roots = Annotated[
    Path | None, typer.Option("--roots", metavar="FILE", help="CAs of the proxy's certificate; the system's if absent.")
]
Connect = Annotated[
    str | None, typer.Option("--connect", metavar="HOST:PORT", help="Where the proxy is reached, if not by its name.")
]
Echo = Annotated[
    int | None,
    typer.Option("--echo", metavar="PORT", help="Be the application meanwhile, on this port of loopback."),
]
Applications = Annotated[
    list[str] | None,
    typer.Option("--application", metavar="URL", help="The application, which must not answer alone; repeatable."),
]
Services = Annotated[
    list[str] | None,
    typer.Option("--service", metavar="ADDRESS", help="HOST:PORT or unix:/path of the service; repeatable."),
]


def prepare_command(
    context: typer.Context,
    folder: Folder,
    host: Annotated[str | None, typer.Option("--host", help="A host of its own that the proxy serves.")] = None,
    issuer: Annotated[str | None, typer.Option("--issuer", help="iss of tokens that you bring.")] = None,
    audience: Annotated[str | None, typer.Option("--audience", help="aud of these tokens.")] = None,
    user_claim: Annotated[str, typer.Option("--user-claim", help="The claim with the user's name.")] = "sub",
    organization_claim: Annotated[
        str | None, typer.Option("--organization-claim", help="The claim that says doctor-canary.")
    ] = None,
    keys: Annotated[str | None, typer.Option("--keys", help="The key set, where the service verifies tokens.")] = None,
    user: Annotated[str, typer.Option("--user", help="The user's name in the token that you bring.")] = "canary",
    off_user: Annotated[
        str, typer.Option("--off-user", help="The name of the user who needs no certificate.")
    ] = "canary-off",
    gone: Annotated[bool, typer.Option("--remove", help="Remove the canary and the folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a canary organization for `authz doctor probe`, which ends after an hour; or remove it."""
    with open_store(context) as store:
        if gone:
            remove(store, folder)
            say("the canary is removed")
            return
        if host is None:
            raise typer.BadParameter("give --host HOST, or --remove")
        token = TokenSettings(issuer, audience, user_claim, organization_claim, keys)
        made = prepare(store, CanaryPlan(host, folder, token, user, off_user))
    emit_one(made, as_json=as_json)
    where = shlex.quote(str(folder))
    hint(f"authz doctor probe https://{host}/ --canary {where}, then: authz doctor prepare {where} --remove")
    hint("a proxy that verifies certificates itself needs the canary's CA meanwhile: authz anchor export")


def probe(
    context: typer.Context,
    url: Url,
    canary: Canary = None,
    token: TokenFile = None,
    off_token: OffToken = None,
    cert: CertFile = None,
    key: KeyFile = None,
    roots: Roots = None,
    connect: Connect = None,
    echo: Echo = None,
    application: Applications = None,
    service: Services = None,
    as_json: AsJson = False,
) -> None:
    """Try to get round a running proxy: exit 0 all held, 1 a way round or something not proven, 2 not reached."""
    try:
        target = _target(url, connect, roots)
        dialer = Dialer(target)
        with TemporaryDirectory() as folder, _echoing(echo), _history(context) as lookup:
            clients = _clients(canary, token, off_token, (cert, key), Path(folder))
            results = _results(dialer, clients, lookup, application or [], service or [])
    except (Unreadable, ConfigError, OSError, ValueError, ProbesUsedUp) as error:
        fail(str(error) or type(error).__name__, advice(error) if isinstance(error, AdvisedError) else "")
        raise typer.Exit(UNREADABLE) from None
    _print(results, as_json=as_json)
    raise typer.Exit(0 if all(each.verdict is Verdict.HELD for each in results) else 1)


def _results(
    dialer: Dialer, clients: Clients, lookup: Lookup, applications: list[str], services: list[str]
) -> list[Result]:
    """The worst first. Raises `Unreadable` if there is no proxy."""
    try:
        speaks = dialer.speaks_tls()
    except ssl.SSLCertVerificationError as error:
        raise Unreadable(f"the proxy's certificate is not good: {error.verify_message} (--roots FILE)") from error
    if not speaks:
        if plain_http(dialer):
            return [Result("no TLS", Verdict.WAY_ROUND, "the port answers in plain HTTP")]
        raise Unreadable(f"nothing speaks TLS at {dialer.target.place[0]}:{dialer.target.place[1]}")
    results = [*run_probes(dialer, clients, lookup), *other_ways(dialer, clients, lookup, applications, services)]
    order = list(Verdict)
    return sorted(results, key=lambda each: order.index(each.verdict))


def _target(url: str, connect: str | None, roots: Path | None) -> Endpoint:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise Unreadable(f"{url} is no https://HOST[:PORT]/PATH")
    if not _PLAIN.fullmatch(parts.hostname + parts.path):
        raise Unreadable("escape what the URL's host and path have beyond letters, digits and /._~:%-")
    place = None
    if connect is not None:
        host, _, port = connect.rpartition(":")
        place = (host.strip("[]"), int(port))
    return Endpoint(parts.hostname, parts.port or 443, parts.path or "/", place, roots=roots)


def _clients(
    canary: Path | None, token: Path | None, off_token: Path | None, own: tuple[Path | None, Path | None], folder: Path
) -> Clients:
    clients = Clients() if canary is None else canary_clients(canary)
    if token is not None:
        clients = replace(clients, token=_text(token))
    if off_token is not None:
        clients = replace(clients, off_token=_text(off_token))
    cert, key = own
    if (cert is None) != (key is None):
        raise Unreadable("--cert and --key go together")
    if canary is not None and cert is not None:
        raise Unreadable("give --canary, or a real user's --cert, --key and --token at the host of the user")
    if cert is None or key is None:
        return clients
    good = Shown(cert, key)
    return replace(clients, good=good, bad=impostors(good, folder))


def _text(path: Path) -> str:
    text = path.read_text(encoding="ascii").strip()
    if not _TOKEN.fullmatch(text):
        raise Unreadable(f"{path} holds no token")
    return text


@contextlib.contextmanager
def _echoing(port: int | None) -> Iterator[None]:
    if port is None:
        yield
        return
    with running(Application("127.0.0.1", port)):
        yield


@contextlib.contextmanager
def _history(context: typer.Context) -> Iterator[Lookup]:
    """Looks decisions up, if there is a directory here: without one no refusal is known to be the service's."""
    file = database_of(settings_of(context).database).file
    if file is not None and not file.exists():
        say("there is no directory here (--config, AUTHZ_DATABASE): no refusal is known to be the service's")
        yield lambda _ids: {}
        return
    began = SystemClock().now() - timedelta(minutes=1)
    with open_store(context) as store:
        yield lambda ids: _found(store, set(ids), Filter(outcome=Outcome.DENIED, since=began, limit=MOST_DECISIONS))


def _found(store: Store, ids: set[str], wanted: Filter) -> Mapping[str, str]:
    deadline = time.monotonic() + HISTORY_SECONDS
    while True:
        known = {each.decision_id: each.reason for each in store.decisions(wanted)} if ids else {}
        if ids <= known.keys() or time.monotonic() > deadline:
            return {each: known[each] for each in ids & known.keys()}
        time.sleep(0.1)


def _print(results: Iterable[Result], *, as_json: bool) -> None:
    results = list(results)
    counts = Counter(str(each.verdict) for each in results)
    clean = counts.keys() <= {str(Verdict.HELD)}
    if as_json:
        emit_one({"clean": clean, "probes": [asdict(each) for each in results]}, as_json=True)
    else:
        emit([{"verdict": each.verdict, "probe": each.probe, "detail": each.detail} for each in results], as_json=False)
    say(f"{'clean' if clean else 'not clean'}: {', '.join(f'{number} {what}' for what, number in counts.items())}")
