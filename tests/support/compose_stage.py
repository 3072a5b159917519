"""`docker-compose.yml` as it is, running; asked from outside, over TLS, at the ports that it publishes."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from authz.demo.client import ClientResponse, Connection, ask, client_context
from authz.demo.fill import INSTANCES, lines_to_try
from authz.demo.mint import HOST
from authz.demo.rows import ROWS, Row
from support.nginx_stage import at_nginx

ROOT = Path(__file__).parents[2]
ERASE = "\x1b[2K"
"""What compose 2.26 writes before some lines, also to a pipe."""
PATIENCE = 60.0
"""Seconds for what takes one on an idle machine."""


@dataclass(frozen=True)
class Front:
    """A proxy as it is seen from outside; `down` is its answer while no instance decides."""

    name: str
    port: int
    ordinary_port: int
    down: int
    rows: tuple[Row, ...]


ENVOY = Front("envoy", 8443, 8444, 503, ROWS)
NGINX = Front("nginx", 9443, 9444, 500, tuple(map(at_nginx, ROWS)))
FRONTS = (ENVOY, NGINX)


def run(*command: str, check: bool = True, **options: object) -> str:
    """What a command prints; an error has what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if check and done.returncode:
        raise RuntimeError(f"{command}: {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def wait_until(holds: object, what: str) -> None:
    """Ask `holds()` until it says so; a busy machine is not a failure."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.05)


class ComposeStage:
    """The running project; `client` is the folder of everybody's certificates, keys and tokens."""

    def __init__(self, project: str, client: Path) -> None:
        self.project = project
        self.client = client
        self.compose("cp", "mint:/demo/client/.", str(client))

    def compose(self, *words: str, check: bool = True) -> str:
        """`docker compose` for this project."""
        command = ("docker", "compose", "--project-name", self.project, *words)
        return run(*command, check=check, cwd=ROOT).replace(ERASE, "")

    def container(self, service: str) -> str:
        """The id of a service's container."""
        return self.compose("ps", "--all", "--quiet", service).strip()

    def python(self, service: str, code: str, *, check: bool = True) -> str:
        """What a piece of Python prints in a service's container."""
        return self.compose("exec", "--no-TTY", service, "python", "-c", code, check=check)

    def operator(self, *words: str) -> str:
        """What a command prints that an operator gives."""
        return self.compose("run", "--rm", "operator", *words)

    def try_lines(self, folder: Path) -> int:
        """Do in a folder what the README shows, until each line gives the status that stands above it; how many do."""
        environment = {**os.environ, "COMPOSE_FILE": str(ROOT / "docker-compose.yml")}
        expected, asked = "", 0
        for line in lines_to_try().splitlines():
            if line.startswith("#"):
                expected = (re.findall(r": (\d{3})$", line) or [""])[0]
            elif line.startswith("curl "):
                command = [*shlex.split(line), "--silent", "--output", os.devnull, "--write-out", "%{http_code}"]
                wait_until(lambda c=command, e=expected: run(*c, cwd=folder) == e, f"{expected} to {line}")  # type: ignore[misc]
                asked += 1
            else:
                run(*shlex.split(line), cwd=folder, env=environment)
        return asked

    def up(self, *instances: str) -> None:
        """The instances of the service, all if none is named, run and are healthy."""
        self.compose("up", "--detach", "--wait", "--no-deps", *(instances or INSTANCES))

    def signal(self, name: str) -> None:
        """A signal to every process of every instance; the first is reached from outside alone."""

        def tell(one: str) -> None:
            self.compose("kill", "--signal", name, one)
            # The first ignores what comes from its own container; the one that is asked to tell is spared.
            self.python(one, f"import os, signal; os.kill(-1, signal.{name})", check=False)

        with ThreadPoolExecutor(len(INSTANCES)) as at_once:
            list(at_once.map(tell, INSTANCES))

    def headers(self, user: str | None, kind: str = "") -> list[tuple[str, str]]:
        """The user's token, as the minted file has it."""
        if user is None:
            return []
        name, _, value = (self.client / f"{user}{kind and '-'}{kind}.token").read_text().strip().partition(": ")
        return [(name, value)]

    def ask(self, front: Front, row: Row) -> ClientResponse:
        """The answer to a row's request."""
        certificate = None if row.certificate is None else self.client / f"{row.certificate}.pem"
        context = client_context(self.client / "roots.pem", certificate)
        port = front.ordinary_port if row.ordinary else front.port
        return ask(port, context, row.host, [*self.headers(row.user, row.kind), *row.spoofs])

    def status(self, front: Front, certificate: str | None = "alice") -> int:
        """The status of an answer to alice, who is allowed with her own certificate."""
        return self.ask(front, Row("", "alice", certificate, 0)).status

    def connection(self, front: Front, certificate: str) -> Connection:
        """An open connection of the holder of a certificate."""
        context = client_context(self.client / "roots.pem", self.client / f"{certificate}.pem")
        return Connection(front.port, context, HOST)

    def decisions(self, *instances: str) -> dict[str, dict[str, object]]:
        """What the instances, all if none is named, logged of their decisions, by their ids."""
        lines = self.compose("logs", "--no-color", "--no-log-prefix", *(instances or INSTANCES)).splitlines()
        events = [json.loads(line) for line in lines if '"decision_id"' in line]
        return {event["decision_id"]: event for event in events}

    def reached(self) -> int:
        """How many requests have reached the application, asked in its own container (which is one more)."""
        code = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080').read().decode())"
        return int(json.loads(self.python("application", code))["requests"])

    @contextmanager
    def nobody_reaches_the_application(self) -> Iterator[None]:
        """Whatever is done within."""
        before = self.reached()
        yield
        assert self.reached() == before + 1

    def logs(self) -> str:
        """What every container said last."""
        return self.compose("logs", "--no-color", "--tail", "200", check=False)
