"""The demonstration's world behind every proxy at once: Envoy, nginx, and the blocks of docs/proxies.md."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

from authz.demo.processes import START_SECONDS, ServiceProcess, free_port, stop_process, tied
from authz.demo.world import World
from authz.errors import ConfigError
from support.directory import DirectoryStore
from support.documented import blocks
from support.nginx_stage import Nginx, NginxStage, documented_settings, placed

LISTENERS = {re.findall('name = "(.+)"', block)[0]: block for block in blocks("proxies.md", "toml")}
_HAPROXY, _APACHE, _CADDY, _NGINX = (
    blocks("proxies.md", language) for language in ("haproxy", "apache", "caddyfile", "nginx")
)
_BEHIND = {"haproxy": 0, "haproxy-rfc9440": 1, "apache": 2, "apache-blanks": 2, "alb": 3}
"""Which lines of the page its nginx has for the certificate."""

_MODULES = ("mpm_event", "ssl", "socache_shmcb", "headers", "proxy", "proxy_http", "authz_core", "setenvif")
_AROUND_APACHE = """ServerName localhost
ServerRoot /etc/apache2
PidFile {folder}/apache.pid
ErrorLog {folder}/apache.log
DefaultRuntimeDir {folder}
SSLSessionCache none
StartServers 1
User www-data
Group www-data
"""


def program(name: str) -> str | None:
    """The program on PATH, or where Debian puts it."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


class Proxy:
    """A proxy's process, which is ready when it accepts at `port`."""

    def __init__(self, folder: Path, port: int, *command: str) -> None:
        self._folder, self.port, self._command = folder, port, command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it accepts. Raises `ConfigError` when it ends instead."""
        log = self._folder / "start.log"
        with log.open("wb") as out:
            environment = {**os.environ, "HOME": str(self._folder)}
            self._process = subprocess.Popen(tied(*self._command), stdout=out, stderr=out, env=environment)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise ConfigError(f"{self._command[0]} does not start: {log.read_text()[-2000:]}")

    def stop(self) -> None:
        """Stop it."""
        stop_process(self._process)


class EdgeStage(NginxStage):
    """One service with a listener for each proxy; `sockets` is a folder that Apache's workers may enter."""

    def __init__(self, folder: Path, sockets: Path) -> None:
        super().__init__(folder)
        self._sockets, self.direct = sockets, free_port()
        listeners = "".join(self._listener(name, block) for name, block in LISTENERS.items())
        self.service = ServiceProcess(folder, documented_settings(self.world) + listeners)
        self.behind = {name: self._behind(name) for name in _BEHIND}
        self.edges = {name: self._haproxy(name, text) for name, text in zip(_BEHIND, _HAPROXY, strict=False)}
        line = re.compile("^ *RequestHeader set SSL-Client-Cert .*\n", re.MULTILINE)
        self.edges["apache"] = self._apache("apache", _APACHE[0])
        self.edges["apache-blanks"] = self._apache("apache-blanks", line.sub(lambda _: _APACHE[1], _APACHE[0]))
        self.edges["caddy"] = self._caddy(_CADDY[0])
        self.ports = {name: edge.port for name, edge in self.edges.items()}
        self.ports |= {"envoy": self.envoy.port, "nginx": self.nginx.port, "alb": self.behind["alb"].port}
        self.ports["traefik"] = self.direct

    def _listener(self, name: str, block: str) -> str:
        group = re.sub('socket_group = ".*"', f'socket_group = "{os.getgid()}"', block)
        group = re.sub("unix:/run/authz/.*sock", f"unix:{self.world.folder}/{name}.sock", group)
        return group.replace("127.0.0.1:9004", f"127.0.0.1:{self.direct}")

    def _folder(self, name: str) -> Path:
        folder = self.world.folder / name
        folder.mkdir()
        return folder

    def _behind(self, name: str) -> Nginx:
        """The page's nginx with the lines of a proxy; besides its socket it listens at a port."""
        folder = self._folder(f"{name}-nginx")
        made = Nginx(self.world, application=self.application.port, folder=folder)
        first, own = "            proxy_set_header X-SSL-Client-Cert $http_x_ssl_client_cert;\n", _BEHIND[name]
        text = placed(_NGINX[0], {first: _NGINX[own]} if own else {})
        listen = f"listen 127.0.0.1:{made.port}; listen unix:{self._sockets}/{name}.sock"
        places = {
            "events {}": f"user {pwd.getpwuid(os.getuid()).pw_name}; pid {folder}/nginx.pid; events {{}}",
            "http {": "http { access_log off;",
            "listen unix:/run/edge/nginx.sock": listen,
            "/run/authz/edge.sock": f"{self.world.folder}/{name}.sock",
            "127.0.0.1:8080": f"127.0.0.1:{self.application.port}",
        }
        made.config.write_text(placed(text, places), encoding="utf-8")
        return made

    def _haproxy(self, name: str, text: str) -> Proxy:
        folder, port = self._folder(name), free_port()
        world = self.world.folder
        (folder / "server.pem").write_text((world / "server.pem").read_text() + (world / "server.key").read_text())
        shutil.copy(world / "client-ca.pem", folder)
        places = {"bind :8443": f"bind 127.0.0.1:{port}", "/etc/haproxy/": f"{folder}/"}
        places["/run/edge/nginx.sock"] = f"{self._sockets}/{name}.sock"
        (folder / "haproxy.cfg").write_text(placed(text, places))
        return Proxy(folder, port, program("haproxy") or "haproxy", "-db", "-f", f"{folder}/haproxy.cfg")

    def _apache(self, name: str, text: str) -> Proxy:
        folder, port = self._folder(name), free_port()
        places = {"Listen 8443": f"Listen 127.0.0.1:{port}", "*:8443": f"127.0.0.1:{port}"}
        places |= {"/etc/apache2/tls/": f"{self.world.folder}/", "/run/edge/nginx.sock": f"{self._sockets}/{name}.sock"}
        load = (f"LoadModule {module}_module /usr/lib/apache2/modules/mod_{module}.so\n" for module in _MODULES)
        config = "".join(load) + _AROUND_APACHE.format(folder=folder) + placed(text, places)
        (folder / "apache.conf").write_text(config)
        command = (program("apache2") or "apache2", "-DFOREGROUND", "-f", f"{folder}/apache.conf")
        return Proxy(folder, port, *command)

    def _caddy(self, text: str) -> Proxy:
        folder, port = self._folder("caddy"), free_port()
        places = {
            # The client of the tests names localhost in SNI.
            "auto_https off": "auto_https off\n\tadmin off\n\tservers {\n\t\tstrict_sni_host insecure_off\n\t}",
            "https://:8443 {": f"https://:{port} {{\n\tbind 127.0.0.1",
            "/etc/caddy/": f"{self.world.folder}/",
            "unix//run/authz/caddy.sock": f"unix/{self.world.folder}/caddy.sock",
            "127.0.0.1:8080": f"127.0.0.1:{self.application.port}",
        }
        (folder / "Caddyfile").write_text(placed(text, places))
        command = (program("caddy") or "caddy", "run", "--adapter", "caddyfile", "--config", f"{folder}/Caddyfile")
        return Proxy(folder, port, *command)


def registered_for_all(world: World) -> World:
    """The world, in which alice's certificate is registered for the users whose enforcement is observe and off too."""
    with contextlib.closing(DirectoryStore(world.database)) as store:
        for user in ("oscar", "olga"):
            world.register(store, user, "alice")
    return world
