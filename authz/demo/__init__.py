"""The demonstration: a PKI, the service, a real Envoy, TLS clients and an application on one machine."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from authz.demo.application import Application
from authz.demo.cleanup import ended_once, scratch
from authz.demo.client import ClientResponse, ask, client_context
from authz.demo.mint import HOST
from authz.demo.processes import Envoy, ServiceProcess, free_port, running
from authz.demo.rows import ROWS, Row
from authz.demo.world import World

__all__ = ["Stage", "run_demo"]


class Stage:
    """The world with its processes; `ask` sends one row's request through Envoy.

    `settings`, in TOML, are added to the service's own.
    """

    def __init__(self, folder: Path, *, request_level: bool = False, settings: str = "") -> None:
        self.world = World(folder, request_level).build()
        self.application = Application()
        self.service = ServiceProcess(folder, service_settings(self.world.database, self.world.socket) + settings)
        self.proxy = self.envoy = Envoy(folder, self.world.socket, application=self.application.port)
        self._tokens: dict[tuple[str, str], str] = {}

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows, as they must come out here."""
        return tuple(row.for_level(request_level=self.world.request_level) for row in ROWS)

    def token(self, user: str, kind: str = "") -> str:
        """A token of the demonstration's issuer; `kind` is a row's."""
        if (user, kind) not in self._tokens:
            self._tokens[user, kind] = self.world.token(user, kind)
        return self._tokens[user, kind]

    def ask(self, row: Row) -> tuple[ClientResponse, str]:
        """The answer to a row's request, and the reason in the service's log, or an empty text."""
        answer = self.ask_only(row)
        return answer, self.reason(answer)

    def ask_only(self, row: Row) -> ClientResponse:
        """The answer to a row's request."""
        folder = self.world.folder
        certificate = None if row.certificate is None else folder / f"{row.certificate}.pem"
        headers = [] if row.user is None else [("authorization", f"Bearer {self.token(row.user, row.kind)}")]
        context = client_context(folder / "roots.pem", certificate)
        port = self.proxy.ordinary_port if row.ordinary else self.proxy.port
        return ask(port, context, row.host, [*headers, *row.spoofs])

    def reason(self, answer: ClientResponse) -> str:
        """Why the service refused, from its log; the client does not learn it."""
        decision_id = answer.headers.get("x-authz-decision-id")
        if decision_id is None:
            return ""
        return str(self.service.decision(decision_id).get("reason", ""))


def service_settings(database: str, socket: Path) -> str:
    """The service's settings for the demonstration, in TOML."""
    return f"""database = "{database}"

[[listener]]
name = "envoy"
address = "unix:{socket}"
identity = [{{kind = "payload", header = "x-authz-payload"}}]

[listener.client_cert_indicator]
header = "x-authz-peer"
form = "envoy-fingerprint"

[ops]
address = "127.0.0.1:{free_port()}"
"""


@dataclass(frozen=True, slots=True)
class _Result:
    row: Row
    answer: ClientResponse
    reason: str

    @property
    def good(self) -> bool:
        return self.row.holds(self.answer, self.reason)

    @property
    def got(self) -> str:
        return "alert" if self.answer.alert else str(self.answer.status)

    @property
    def detail(self) -> str:
        """The reason, the alert, or how the certificate is bound to the user."""
        return self.reason or self.answer.alert or self.answer.seen.get("x-authz-binding", "")


def run_demo(*, once: bool, request_level: bool = False, as_json: bool = False) -> int:
    """Show every row; the exit code says whether all came out as expected. Without `once`, stay up afterwards."""
    with ended_once() as deafen, scratch() as folder:
        stage = Stage(folder, request_level=request_level)
        sys.stderr.write("starting the service, Envoy and an application …\n")
        with running(stage.application, stage.service, stage.envoy), contextlib.ExitStack() as last:
            last.callback(deafen)
            results = [_Result(row, *stage.ask(row)) for row in stage.rows]
            (_print_json if as_json else _print)(results)
            wrong = sum(not result.good for result in results)
            sys.stderr.write(f"{len(results) - wrong} of {len(results)} as expected\n")
            if not once:
                _stay(stage)
    return 1 if wrong else 0


def _print(results: list[_Result]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "request", "token", "certificate", "expected", "answer", "reason"):
        table.add_column(title, overflow="fold")
    for result in results:
        row, token = result.row, f"{result.row.user or '-'} {result.row.kind}".rstrip()
        mark = "ok" if result.good else "WRONG"
        table.add_row(mark, row.what, token, row.certificate or "-", str(row.expected), result.got, result.detail)
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False, markup=False)
    console.print(table)
    sys.stdout.flush()


def _print_json(results: list[_Result]) -> None:
    rows = [
        {
            "ok": result.good,
            "request": result.row.what,
            "user": result.row.user,
            "token": result.row.kind or None,
            "certificate": result.row.certificate,
            "expected": str(result.row.expected),
            "answer": result.got,
            "reason": result.detail,
        }
        for result in results
    ]
    json.dump(rows, sys.stdout, indent=2)
    sys.stdout.write("\n")
    sys.stdout.flush()


def _stay(stage: Stage) -> None:
    folder, port = stage.world.folder, stage.envoy.port
    bearer = f"-H 'authorization: Bearer {stage.token('alice')}'"
    common = f"curl --cacert {folder}/roots.pem --connect-to {HOST}:{port}:127.0.0.1:{port} {bearer}"
    url = f"https://{HOST}:{port}/"
    lines = (
        "",
        "it stays up; try (end with Ctrl-C):",
        "",
        "# allowed: alice, with the certificate registered for her",
        f"{common} --cert {folder}/alice.pem --key {folder}/alice.key {url}",
        "",
        "# refused: alice, with bob's certificate",
        f"{common} --cert {folder}/bob.pem --key {folder}/bob.key {url}",
        "",
        "# retire her certificate, and ask again: refused within a second",
        f"AUTHZ_DATABASE={stage.world.database} {sys.executable} -m authz cert retire 1",
        "",
    )
    sys.stderr.write("\n".join(lines))
    with contextlib.suppress(KeyboardInterrupt):
        if stage.service.process is not None:
            stage.service.process.wait()
