"""`authz doctor`: can this proxy be got round?"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from authz.app.config import (
    BearerSettings,
    IdentitySettings,
    ListenerSettings,
    PayloadSettings,
    Settings,
    UserNameSettings,
    load_settings,
)
from authz.cli.advice import advice
from authz.cli.doctor_probe import prepare_command, probe
from authz.cli.health import Subject, Trouble, troubles
from authz.cli.options import AsJson, open_store, settings_of
from authz.cli.output import emit, emit_one, fail, hint, say
from authz.clock import SystemClock
from authz.doctor.findings import Finding, Report, Unreadable
from authz.doctor.service_settings import OurListener, Ours
from authz.errors import AdvisedError, ConfigError, StoreError
from authz.text import shown

UNREADABLE = 2
"""The exit code of what could not be read."""

app = typer.Typer()

Files = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="FILE…", help="Of one Envoy (bootstrap, xDS files, config_dump), of one nginx (or nginx -T)."
    ),
]
Admin = Annotated[
    str | None, typer.Option("--admin", metavar="URL", help="The admin address of a running Envoy: its /config_dump.")
]
Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="The service's settings, to compare the proxy's with.")
]
Identity = Annotated[
    list[str] | None,
    typer.Option("--identity", metavar="HEADER", help="A header by which the application knows who asks; repeatable."),
]
Hosts = Annotated[
    list[str] | None,
    typer.Option("--host", metavar="HOST", help="A host that the proxy must serve, with --config; repeatable."),
]
Bundle = Annotated[
    Path | None,
    typer.Option("--bundle", metavar="FILE", help="The proxy's CAs, PEM or secret, to compare the anchors with."),
]


@app.callback(invoke_without_command=True)
def health(context: typer.Context, bundle: Bundle = None, as_json: AsJson = False) -> None:
    """Look at the service itself: clock, rights, versions, directory, CRLs, anchors; exit 0 well, 1 not, 2 unreadable.

    docs/doctor.md has what each finding means.
    """
    if context.invoked_subcommand is not None:
        return
    try:
        rows = _troubles(context, bundle)
    except (ConfigError, StoreError) as error:
        fail(str(error), advice(error))
        raise typer.Exit(UNREADABLE) from None
    emit([row._asdict() for row in rows], as_json=as_json)
    say(f"{len(rows)} troubles" if rows else "well")
    raise typer.Exit(1 if rows else 0)


def _troubles(context: typer.Context, bundle: Path | None) -> list[Trouble]:
    settings = settings_of(context)
    with open_store(context) as store:
        return list(troubles(Subject(settings, store, SystemClock().now(), bundle)))


app.command("prepare", epilog="Example: authz doctor prepare canary --host canary.acme.example")(prepare_command)
app.command("probe", epilog="Example: authz doctor probe https://canary.acme.example/ --canary canary")(probe)


@app.command("lint", epilog="Example: authz doctor lint /etc/envoy/envoy.yaml --config /etc/authz/authz.toml")
def lint(
    files: Files = None,
    admin: Admin = None,
    config: Config = None,
    identity: Identity = None,
    host: Hosts = None,
    as_json: AsJson = False,
) -> None:
    """Judge an Envoy's or nginx's configuration: exit 0 clean, 1 findings or something not understood, 2 unreadable."""
    if not files and admin is None:
        raise typer.BadParameter("give a file, or --admin URL")
    report = _judge(files or [], admin, config, identity or [], host or [])
    if as_json:
        emit_one(_json(report), as_json=True)
    else:
        typer.echo("\n".join(_lines(report)), nl=bool(report.findings or report.not_understood))
        _sum_up(report)
    raise typer.Exit(0 if report.clean else 1)


def _judge(files: list[Path], admin: str | None, config: Path | None, identity: list[str], hosts: list[str]) -> Report:
    """What lint finds. Exits 2 when something cannot be read, or packages are missing."""
    try:
        room = _room()
        ours = None if config is None else our_settings(config, tuple(hosts))
        report: Report = room.lint([str(path) for path in files], admin=admin, ours=ours, identity=identity)
    except (Unreadable, ConfigError) as error:
        fail(str(error), advice(error) if isinstance(error, AdvisedError) else "")
        raise typer.Exit(UNREADABLE) from None
    return report


def _room() -> Any:
    """The module that judges; it needs packages that the service does without. Raises `ConfigError`."""
    try:
        return importlib.import_module("authz.doctor.lint")
    except ModuleNotFoundError as error:
        raise ConfigError(f"doctor needs {error.name}", hint="pip install 'mtls-authz[doctor]'") from error


def our_settings(path: Path, hosts: tuple[str, ...] = ()) -> Ours:
    """What rules compare of the service's settings. Raises `ConfigError`."""
    settings: Settings = load_settings(path)
    listeners = tuple(map(_listener, settings.listener))
    return Ours(str(path), listeners, settings.limits.check_seconds, hosts)


def _listener(listener: ListenerSettings) -> OurListener:
    request = listener.client_request.headers
    return OurListener(
        name=listener.name,
        address=listener.address,
        tls=listener.tls is not None,
        names=() if listener.tls is None else listener.tls.names,
        prefix=listener.prefix,
        auth_request_path=listener.auth_request_path,
        certificate_header=listener.certificate.header,
        certificate_form=str(listener.certificate.form),
        statement_header=listener.client_cert_indicator.header,
        statement_form=str(listener.client_cert_indicator.form),
        identity_headers=tuple(name for source in listener.identity for name in _identity(source)),
        token_headers=tuple(source.header for source in listener.identity if isinstance(source, BearerSettings)),
        hops=len(listener.trusted_proxies),
        none_values=listener.certificate.none,
        host_header="host" if request is None else request.host or request.url or "host",
    )


def _identity(source: IdentitySettings) -> Iterator[str]:
    match source:
        case BearerSettings() | PayloadSettings():
            yield source.header
        case UserNameSettings():
            yield source.header
            if source.organization_header is not None:
                yield source.organization_header


def _json(report: Report) -> dict[str, object]:
    return {
        "clean": report.clean,
        "findings": [asdict(finding) for finding in report.findings],
        "not_understood": [asdict(entry) for entry in report.not_understood],
    }


def _lines(report: Report) -> Iterator[str]:
    for finding in report.findings:
        yield from _finding(finding)
    for entry in report.not_understood:
        yield f"not understood  {shown(entry.place)}\n  {shown(entry.what)}\n"


def _finding(finding: Finding) -> Iterator[str]:
    yield f"{finding.severity}  {finding.rule}  {shown(finding.place)}"
    yield f"  {shown(finding.what, 1_000)}"
    yield f"  why: {finding.why}"
    yield f"  mend: {shown(finding.mend, 1_000)}"
    yield from (f"    {shown(line, 1_000)}" for line in finding.diff.splitlines())
    yield ""


def _sum_up(report: Report) -> None:
    counts = Counter(str(finding.severity) for finding in report.findings)
    counts["not understood"] = len(report.not_understood)
    totals = ", ".join(f"{number} {what}" for what, number in counts.items() if number)
    say(f"{'clean' if report.clean else 'not clean'}{': ' if totals else ''}{totals}")
    if report.not_understood:
        hint("what was not understood may hide a way round: look at it yourself")
