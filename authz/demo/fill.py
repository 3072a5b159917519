"""Fills the folders of `docker-compose.yml`, once: the proxies' configurations and certificates, CRLs, the directory.

Everything is made at once by a container that ends; each of the others gets a folder with no more than it needs: the
keys of CAs are not written, clients' keys are in a folder that no other container mounts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from authz.demo.mint import HOST, write_secret
from authz.demo.processes import placed, shipped
from authz.demo.rows import ROWS
from authz.demo.world import World, published_name
from authz.directory.databases import database_of
from authz.directory.store import Store
from authz.envoy_sds import sds_secret
from authz.errors import ConfigError

PUBLISHER: Final = "http://crls:8000"
"""The URL of the server that publishes the CRLs, in the containers' network."""

APPLICATION: Final = ("application", 8080)
INSTANCES: Final = ("authz-1", "authz-2")
"""Two instances of the service, so that one may be restarted under load; each has a folder for its sockets."""

LIFE: Final = timedelta(days=29)
"""Of tokens and CRLs: a day less than the certificates."""

AGAIN: Final = "docker compose down --volumes"


def fill(folder: Path, database: str) -> str:
    """Make everything below `folder` and in the empty directory `database`, unless it exists; return the lines to try.

    A directory that does not exist is made. Raises `ConfigError` when there is another one, or the certificates have
    expired.
    """
    script = folder / "client" / "try.txt"
    name, filled = _state(database)
    if script.exists() and filled:
        refuse_expired(script.with_name("alice.pem"))
        return script.read_text(encoding="ascii")
    if script.exists():
        raise ConfigError(f"the certificates are those of another directory, {name} is empty", hint=AGAIN)
    if filled:
        raise ConfigError(f"there already is a directory: {name}", hint=f"name another one, or {AGAIN}")
    world = World(
        _made(folder, "client", 0o700),
        directory=database,
        key_file=_made(folder, "keys", 0o755) / "jwks.json",
        publisher=PUBLISHER,
        token_life=LIFE,
    ).build()
    for crl, der in world.crls(until=world.mint.now + LIFE).items():
        (_made(folder, "crls", 0o755) / published_name(crl)).write_bytes(der)
    _write_tokens(world)
    _write_proxy(_made(folder, "envoy", 0o750), world, _envoy_files(world))
    _write_proxy(_made(folder, "nginx", 0o750), world, _nginx_files(world))
    script.write_text(lines_to_try(), encoding="ascii")
    return lines_to_try()


def lines_to_try() -> str:
    """Commands for the machine that runs the containers, each with the status it gives; the README has them too."""
    known = "curl --connect-to ::127.0.0.1: --cacert .demo/roots.pem -H @.demo/alice.token"
    hers, bobs = (f"--cert .demo/{user}.pem --key .demo/{user}.key" for user in ("alice", "bob"))
    envoy, nginx = (f"https://{HOST}:{port}/" for port in (8443, 9443))
    lines = (
        "# the clients' certificates, keys and tokens",
        "docker compose cp mint:/demo/client/. .demo",
        "# alice, with the certificate that is registered for her: 200",
        f"{known} {hers} {envoy}",
        "# the same through nginx: 200",
        f"{known} {hers} {nginx}",
        "# alice, with bob's certificate: 403",
        f"{known} {bobs} {envoy}",
        "# alice, without one: 403",
        f"{known} {nginx}",
        "# her certificate is retired, and a second later: 403",
        "docker compose run --rm operator cert retire 1",
        f"{known} {hers} {envoy}",
    )
    return "".join(f"{line}\n" for line in lines)


def refuse_expired(path: Path) -> None:
    """Raise `ConfigError` if a certificate of the demonstration ends within a day."""
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    if certificate.not_valid_after_utc < datetime.now(UTC) + timedelta(days=1):
        raise ConfigError("the demonstration's certificates have expired", hint=AGAIN)


def _state(database: str) -> tuple[str, bool]:
    """The directory's name, and whether it has an organization."""
    stored = database_of(database)
    if stored.version() is None:
        return stored.name, False
    store = Store(database)
    try:
        return stored.name, bool(store.organizations())
    finally:
        store.close()


def _made(folder: Path, name: str, mode: int) -> Path:
    """A folder below `folder`; one that exists, such as a volume, keeps its mode."""
    path = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode, exist_ok=True)
    return path


def _write_tokens(world: World) -> None:
    """A file for each user's token, and for each kind of it, as `curl -H @FILE` takes it."""
    for user, kind in {(row.user, row.kind) for row in ROWS if row.user is not None}:
        name = f"{user}-{kind}" if kind else user
        token = world.token(user, kind)
        write_secret(world.folder / f"{name}.token", f"authorization: Bearer {token}\n".encode("ascii"))


def _write_proxy(folder: Path, world: World, files: Mapping[str, str]) -> None:
    """The proxy's files, and its server certificate, whose key the proxy's group may read."""
    server = world.clients["server"]
    (folder / "server.pem").write_bytes(server.chain_pem())
    write_secret(folder / "server.key", server.key_pem(), 0o640)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def _envoy_files(world: World) -> dict[str, str]:
    """`deploy/envoy.yaml` with the containers' addresses and paths, and the files that it reads."""
    application, port = APPLICATION
    endpoint = "        - endpoint: {address: {pipe: {path: /run/authz/authz.sock}}}\n"
    places = {
        endpoint: "".join(endpoint.replace("authz.sock", f"{instance}/authz.sock") for instance in INSTANCES),
        _BACK_OFF: _BACK_OFF + _ANOTHER_HOST,
        # A name instead of an address.
        "type: STATIC\n    connect_timeout: 1s": "type: STRICT_DNS\n    connect_timeout: 1s",
        "address: 127.0.0.1, port_value: 8080": f"address: {application}, port_value: {port}",
    }
    text = placed(shipped("envoy.yaml").read_text(encoding="utf-8"), places)
    return {"envoy.yaml": text, "client-ca.yaml": sds_secret(world.bundle), "jwks.json": world.mint.jwks()}


_BACK_OFF: Final = "                  retry_back_off: {base_interval: 0.01s, max_interval: 0.4s}\n"
_ANOTHER_HOST: Final = """\
                  # The other instance is asked when one could not decide: else a retry may go to the same one.
                  retry_host_predicate:
                  - name: envoy.retry_host_predicates.previous_hosts
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate
                  host_selection_retry_max_attempts: 3
"""


def _nginx_files(world: World) -> dict[str, str]:
    """`deploy/nginx.conf` with the containers' addresses and paths, and the files that it reads."""
    application, port = APPLICATION
    server = "        server unix:/run/authz/nginx.sock max_fails=0;\n"
    places = {
        # The container starts as nginx's user.
        "user www-data;\n": "",
        "pid /run/nginx.pid;": "pid /tmp/nginx.pid;",
        server: "".join(server.replace("nginx.sock", f"{instance}/authz.sock") for instance in INSTANCES),
        "server 127.0.0.1:8080;": f"server {application}:{port};",
        # The other instance is asked when one could not decide.
        _ASKED: f"{_ASKED}\n            proxy_next_upstream error timeout http_503;",
    }
    text = placed(shipped("nginx.conf").read_text(encoding="utf-8"), places)
    return {"nginx.conf": text, "client-ca.pem": world.bundle}


_ASKED: Final = "            proxy_pass http://authz/v1/auth;"
