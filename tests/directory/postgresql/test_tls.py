"""A server that is reached over TLS: which one is believed, who is admitted, and what an operator reads otherwise."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest
from support.certificates import Authority
from support.postgresql import TEMPLATE, Server
from support.proxy_tls import FOREIGN, LIFE, server, write
from support.worker_processes import until

from authz.directory.databases import database_of
from authz.errors import ConfigError, StoreError

NAME = "db.example.test"
PASSWORD = "not in any sentence"
AUTHORITY = Authority.root("Directory CA", **LIFE)
RULES = """\
local   all       owner               trust
hostssl directory checks   samehost   scram-sha-256
hostssl directory operator samehost   cert
"""


def address() -> str:
    """One of loopback's for this process alone, with the port that PostgreSQL has everywhere."""
    number = os.getpid()
    return f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def certify(listening: Server, authority: Authority) -> None:
    """A certificate of this CA for the server, which reads it when it is started or reloaded."""
    write(listening.data, "db", server(authority, NAME))
    (listening.data / "db.key").chmod(0o600)
    for name in ("db.pem", "db.key", "ca.pem"):
        shutil.chown(listening.data / name, listening.data.owner(), listening.data.group())


@contextmanager
def reloaded(listening: Server, setting: str, value: str) -> Iterator[None]:
    """In the block the server has a setting, and has read its files again."""
    try:
        listening.psql(f"ALTER SYSTEM SET {setting} = '{value}'")
        listening.psql("SELECT pg_reload_conf()")
        until(lambda: listening.psql(f"SHOW {setting}") == value)
        yield
    finally:
        listening.psql("ALTER SYSTEM RESET ALL")
        listening.psql("SELECT pg_reload_conf()")
        until(lambda: listening.psql(f"SHOW {setting}") != value)


@pytest.fixture(scope="module")
def listening() -> Iterator[Server]:
    """A server with a certificate, a role that has a password, and one that has a certificate."""
    made = Server(listen_addresses=address())
    made.initialize()
    with (made.data / "postgresql.conf").open("a") as settings:
        settings.write("ssl = on\nssl_cert_file = 'db.pem'\nssl_key_file = 'db.key'\nssl_ca_file = 'ca.pem'\n")
    (made.data / "ca.pem").write_text(AUTHORITY.pem)
    (made.data / "pg_hba.conf").write_text(RULES)
    certify(made, AUTHORITY)
    made.start()
    made.psql(f"CREATE DATABASE {TEMPLATE}")
    database_of(made.url(TEMPLATE)).migrate()
    database_of(made.url(TEMPLATE)).grant()
    made.psql(f"CREATE ROLE checks LOGIN PASSWORD '{PASSWORD}' IN ROLE authz_read")
    made.psql("CREATE ROLE operator LOGIN IN ROLE authz_write")
    yield made
    made.stop()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the CA, another CA, a file of passwords and client certificates; nothing else is the client's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("PGPASSWORD", "PGPASSFILE", "PGSSLMODE", "PGSSLROOTCERT"):
        monkeypatch.delenv(name, raising=False)
    Path("ca.pem").write_text(AUTHORITY.pem)
    Path("foreign.pem").write_text(FOREIGN.pem)
    write(tmp_path, "operator", AUTHORITY.leaf("operator", **LIFE))
    write(tmp_path, "checks", AUTHORITY.leaf("checks", **LIFE))
    write(tmp_path, "impostor", FOREIGN.leaf("operator", **LIFE))
    for path in tmp_path.glob("*.key"):
        path.chmod(0o600)
    pgpass(PASSWORD)
    return tmp_path


def pgpass(password: str, mode: int = 0o600) -> None:
    """The file of passwords."""
    Path("pgpass").write_text(f"{NAME}:5432:{TEMPLATE}:checks:{password}\n")
    Path("pgpass").chmod(mode)


def url(user: str = "checks", host: str = NAME, **parameters: str) -> str:
    """A URL that verifies the server; parameters are added, or replaced."""
    given = {"hostaddr": address(), "sslmode": "verify-full", "sslrootcert": "ca.pem", "passfile": "pgpass"}
    return f"postgresql://{user}@{host}/{TEMPLATE}?{urlencode(given | parameters)}"


def certificate(name: str) -> dict[str, str]:
    """The parameters that show a client's certificate."""
    return {"sslcert": f"{name}.pem", "sslkey": f"{name}.key"}


@pytest.mark.parametrize(
    "used",
    [
        pytest.param(url(), id="a password from a file, by SCRAM"),
        pytest.param(url(channel_binding="require", require_auth="scram-sha-256"), id="bound to this very server"),
        pytest.param(url("operator", **certificate("operator")), id="a client certificate"),
        pytest.param(url(ssl_min_protocol_version="TLSv1.3"), id="TLS 1.3"),
    ],
)
@pytest.mark.slow
def test_server_that_is_verified_is_used(listening: Server, files: Path, used: str) -> None:
    """Its certificate is of the CA, with its name; who connects shows a password or a certificate."""
    database_of(used).check()


@pytest.mark.parametrize(
    ("refused", "sentence", "hint"),
    [
        pytest.param(url(sslrootcert="foreign.pem"), "certificate verify failed", "sslrootcert", id="another CA"),
        pytest.param(url(host="db2.example.test"), "does not match host name", "names", id="another name"),
        pytest.param(url(sslrootcert="missing.pem"), "missing.pem", "sslrootcert", id="no file of the CA"),
        pytest.param(url(passfile="missing"), "refuses the password", "passfile", id="no password"),
        pytest.param(url(password="wrong"), "refuses the password", "passfile", id="a wrong password"),
        pytest.param(url("operator"), "does not admit", "sslcert", id="no certificate"),
        pytest.param(url("operator", **certificate("checks")), "does not admit", "sslcert", id="another's certificate"),
        pytest.param(
            url("operator", **certificate("impostor")), "does not admit", "sslcert", id="a foreign certificate"
        ),
        pytest.param(url("owner"), "does not admit", "pg_hba.conf", id="a user without a rule"),
        pytest.param(url(dbname="absent"), "does not admit", "pg_hba.conf", id="another database"),
    ],
)
def test_connection_is_refused(listening: Server, files: Path, refused: str, sentence: str, hint: str) -> None:
    """Each with what to do about it."""
    with pytest.raises(StoreError) as caught:
        database_of(refused).check()
    assert sentence in str(caught.value)
    assert hint in caught.value.hint
    assert PASSWORD not in f"{caught.value} {caught.value.hint}"


def test_password_in_a_file_that_others_may_read_is_not_used(listening: Server, files: Path) -> None:
    """As libpq has it; the sentence says which mode is needed."""
    pgpass(PASSWORD, 0o640)
    with pytest.raises(StoreError, match="refuses the password") as caught:
        database_of(url()).check()
    assert "0600" in caught.value.hint


def test_missing_database_is_named(listening: Server) -> None:
    """Of errors while connecting there is the text alone."""
    with pytest.raises(StoreError, match="there is no database") as caught:
        database_of(listening.url("absent")).check()
    assert "CREATE DATABASE" in caught.value.hint


def test_server_takes_no_plaintext(listening: Server, files: Path) -> None:
    """A client that asks for none is refused by its rules, even on the same machine."""
    with pytest.raises(StoreError, match="no encryption"):
        database_of(url(sslmode="disable")).check()


def test_server_without_tls_gets_no_password(listening: Server, files: Path) -> None:
    """Whatever answers in its place and offers no TLS is not spoken to."""
    with reloaded(listening, "ssl", "off"), pytest.raises(StoreError, match="is not verified") as caught:
        database_of(url()).check()
    assert "does not support SSL" in str(caught.value)


def test_connection_beyond_loopback_is_not_tried_unverified(files: Path) -> None:
    """Nothing is sent to a server on another machine, whatever PostgreSQL's own default would do."""
    for mode in ("disable", "allow", "prefer", "require", "verify-ca"):
        with pytest.raises(ConfigError, match="would not be verified"):
            database_of(url(hostaddr="192.0.2.1", sslmode=mode))


def test_ca_is_read_at_each_connection(listening: Server, files: Path) -> None:
    """So that a service which runs goes over to another one with the server."""
    database = database_of(url())
    certify(listening, FOREIGN)
    try:
        with reloaded(listening, "work_mem", "5MB"):
            with pytest.raises(StoreError, match="certificate verify failed"):
                database.check()
            (files / "ca.pem").write_text(FOREIGN.pem)
            database.check()
    finally:
        certify(listening, AUTHORITY)
        listening.psql("SELECT pg_reload_conf()")
