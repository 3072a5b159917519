"""The demonstration's world behind a real nginx: `deploy/nginx.conf` itself, and the listeners of `docs/nginx.md`."""

from __future__ import annotations

import contextlib
import copy
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Self

from authz.demo import Stage
from authz.demo.processes import (
    START_SECONDS,
    Application,
    Envoy,
    ServiceProcess,
    free_port,
    free_ports,
    shipped,
    stop_process,
)
from authz.demo.rows import ROWS, Row
from authz.demo.world import World
from authz.errors import ConfigError

DOCS = Path(__file__).parents[2] / "docs" / "nginx.md"


def nginx_binary() -> str | None:
    """The nginx on PATH, or where Debian puts it."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def placed(text: str, places: dict[str, str]) -> str:
    """`text` with addresses and paths in their places; each must be there."""
    for shipped_place, place in places.items():
        if shipped_place not in text:
            raise ConfigError(f"there is no {shipped_place}")
        text = text.replace(shipped_place, place)
    return text


def documented_settings(world: World) -> str:
    """The service's settings of docs/nginx.md, with this world's paths."""
    (settings,) = re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    group = f'"{os.getgid()}"'
    places = {
        "sqlite:////var/lib/authz/authz.db": world.database,
        "/run/authz/authz.sock": str(world.socket),
        "/run/authz/nginx.sock": str(nginx_socket(world)),
        '"envoy"\n\n': f"{group}\n\n",
        '"www-data"': group,
    }
    return placed(settings, places) + f'[ops]\naddress = "127.0.0.1:{free_port()}"\n'


def nginx_socket(world: World) -> Path:
    """Where the service listens for nginx."""
    return world.folder / "nginx.sock"


class Nginx:
    """nginx with `deploy/nginx.conf`; `changes` are made to it besides, for tests of what must not be changed.

    Its configuration and its logs are in `folder`, a folder within the world's, or the world's itself. `text` takes the
    place of the shipped file.
    """

    def __init__(
        self,
        world: World,
        *,
        application: int,
        changes: dict[str, str] | None = None,
        folder: Path | None = None,
        text: str | None = None,
    ) -> None:
        self._world, self._folder = world.folder, folder or world.folder
        self.port, self.ordinary_port = free_ports(2)
        self.config = self._folder / "nginx.conf"
        bundle = world.folder / "client-ca.pem"
        if not bundle.exists():
            bundle.write_text(world.bundle, encoding="ascii")
        places = {
            "user www-data;": f"user {pwd.getpwuid(os.getuid()).pw_name};",
            "/run/nginx.pid": str(self._folder / "nginx.pid"),
            "/var/log/nginx/": f"{self._folder}/nginx-",
            "/run/authz/nginx.sock": str(nginx_socket(world)),
            "listen 8443": f"listen 127.0.0.1:{self.port}",
            "listen 8444": f"listen 127.0.0.1:{self.ordinary_port}",
            "server 127.0.0.1:8080": f"server 127.0.0.1:{application}",
            "/etc/nginx/tls/": f"{world.folder}/",
        }
        text = text or shipped("nginx.conf").read_text(encoding="utf-8")
        self.config.write_text(placed(text, places | (changes or {})), encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> list[str]:
        """How it is started."""
        return [nginx_binary() or "nginx", "-c", str(self.config), "-e", f"{self._folder}/nginx-start.log"]

    def start(self) -> None:
        """Start it and wait until it accepts. Raises `ConfigError` when it ends instead."""
        self.process = subprocess.Popen([*self.command, "-g", "daemon off;"], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise ConfigError("nginx does not start: " + "".join(self.log("start")[-3:]))

    def log(self, name: str) -> list[str]:
        """The lines of one of its logs: access, error or start."""
        path = self._folder / f"nginx-{name}.log"
        return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []

    def reload(self) -> None:
        """Read files anew, as `nginx -s reload` does, and wait until the old workers accept no more."""
        if self.process is None:
            return
        old = self._workers()
        os.kill(self._master(), signal.SIGHUP)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and old & self._workers():
            time.sleep(0.02)

    def _master(self) -> int:
        """The process that reads the files."""
        return self.process.pid

    def _workers(self) -> set[str]:
        """The workers that accept, by process id; those that are shutting down are not among them."""
        accepting = set()
        master = self._master()
        for one in Path(f"/proc/{master}/task/{master}/children").read_text().split():
            # One that ends meanwhile accepts no more either.
            with contextlib.suppress(OSError):
                if b"shutting down" not in Path(f"/proc/{one}/cmdline").read_bytes():
                    accepting.add(one)
        return accepting

    def stop(self) -> None:
        """Stop it."""
        stop_process(self.process)


class NginxStage(Stage):
    """The world behind nginx; Envoy's listener is open as well, and its Envoy starts where a test starts it."""

    kind = Nginx

    def __init__(self, folder: Path) -> None:
        self.world = World(folder).build()
        self.application = Application()
        self.service = ServiceProcess(folder, documented_settings(self.world))
        self.proxy = self.nginx = self.kind(self.world, application=self.application.port)
        self.envoy = Envoy(folder, self.world.socket, application=self.application.port)
        self._tokens = {}

    def beside(self, changes: dict[str, str]) -> Self:
        """The same world and service behind another nginx, with changes to its configuration."""
        made = copy.copy(self)
        folder = Path(tempfile.mkdtemp(prefix="nginx-", dir=self.world.folder))
        made.proxy = made.nginx = self.kind(
            self.world, application=self.application.port, changes=changes, folder=folder
        )
        return made

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows, as they must come out behind nginx."""
        return tuple(map(at_nginx, ROWS))


Beside = Callable[[NginxStage, dict[str, str]], NginxStage]
"""`beside(stage, changes)`: another nginx before a stage's service."""


def at_nginx(row: Row) -> Row:
    """The row as it must come out behind nginx.

    What Envoy ends in the handshake, nginx leaves to the service, but for an expired certificate, which it
    refuses itself (no reason in the service's log).
    A header without a value is left out.
    """
    row = replace(row, arrives=tuple(one for one in row.arrives if one[1]))
    if row.certificate == "expired":
        return replace(row, expected=403, reason=None)
    if row.expected == "alert":
        return row.for_level(request_level=True)
    return row
