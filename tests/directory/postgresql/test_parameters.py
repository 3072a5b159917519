"""What a connection is made with, and what is demanded of a URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from authz.directory.postgresql.parameters import parameters_of, place_of
from authz.errors import ConfigError

TLS = "sslmode=verify-full&sslrootcert=/etc/ca.pem"
LOCAL = [
    "postgresql:///a",
    "postgresql://user@/a?host=/run/postgresql",
    "postgresql://user@%2Frun%2Fpostgresql/a",
    "postgresql://localhost/a",
    "postgresql://127.0.0.1:5433/a",
    "postgresql://[::1]/a",
    "postgresql://db.example/a?hostaddr=127.0.0.1",
]
DISTANT = [
    "postgresql://db.example/a",
    "postgresql://10.0.0.1/a",
    "postgresql://localhost,db.example/a",
    "postgresql://127.0.0.1,[2001:db8::1]/a",
    "postgresql://localhost/a?hostaddr=10.0.0.1",
    "postgresql://localhost.example/a",
]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of libpq's says anything."""
    for name in ("PGHOST", "PGHOSTADDR", "PGSSLMODE", "PGSSLROOTCERT", "PGSERVICE", "PGPASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("url", LOCAL)
def test_server_of_this_machine_needs_no_tls(url: str) -> None:
    """A Unix socket, or loopback."""
    assert "sslmode" not in parameters_of(url)


@pytest.mark.parametrize("url", DISTANT)
@pytest.mark.parametrize("tls", ["", "sslmode=require", "sslmode=verify-ca&sslrootcert=/x", "sslmode=verify-full"])
def test_server_of_another_machine_is_verified_or_refused(url: str, tls: str) -> None:
    """Each of several; a mode that verifies no name, or nothing, is no verification."""
    with pytest.raises(ConfigError) as caught:
        parameters_of(f"{url}{'&' if '?' in url else '?'}{tls}")
    assert "sslmode=verify-full" in caught.value.hint
    parameters = parameters_of(f"{url}{'&' if '?' in url else '?'}{TLS}")
    assert (parameters["sslmode"], parameters["gssencmode"]) == ("verify-full", "disable")


def test_variables_of_libpq_count_like_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that PGHOST names is as far away, and PGSSLMODE verifies as well."""
    monkeypatch.setenv("PGHOST", "db.example")
    with pytest.raises(ConfigError):
        parameters_of("postgresql:///a")
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", "/etc/ca.pem")
    assert parameters_of("postgresql:///a")["gssencmode"] == "disable"


def test_service_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its file may name any server."""
    with pytest.raises(ConfigError, match="service"):
        parameters_of("postgresql:///a?service=directory")
    file = tmp_path / "services"
    file.write_text("[directory]\nhost=localhost\n")
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    monkeypatch.setenv("PGSERVICE", "directory")
    with pytest.raises(ConfigError, match="service"):
        parameters_of("postgresql:///a")


def test_server_that_is_lost_is_noticed_and_a_standby_never_asked() -> None:
    """By default; how long to wait may be said otherwise, which server may not."""
    parameters = parameters_of("postgresql://localhost/a?target_session_attrs=any&client_encoding=latin1")
    assert parameters["tcp_user_timeout"] == "1500"
    assert parameters["connect_timeout"] == "2"
    assert parameters["target_session_attrs"] == "primary"
    assert parameters["client_encoding"] == "utf8"
    assert parameters_of("postgresql://localhost/a?connect_timeout=5")["connect_timeout"] == "5"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:secret@[::1/a",
        "postgresql://user:secret@host/a?nonsense=1",
        "postgresql://user:secret@host:port:1/a?x",
        "host=a password=secret nonsense=1",
        "postgresql://user:secret@10.0.0.1/a",
        "postgresql://10.0.0.1/a?password=secret",
    ],
)
def test_no_error_quotes_a_password(url: str) -> None:
    """Libpq's own sentences do."""
    with pytest.raises(ConfigError) as caught:
        parameters_of(url)
    assert "secret" not in f"{caught.value} {caught.value.hint}"
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_place_names_servers_and_database_and_no_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """As errors and `authz db` print it."""
    monkeypatch.setenv("PGPASSWORD", "secret")
    parameters = parameters_of(f"postgresql://user:secret@db1.example,db2.example/a?{TLS}")
    assert place_of(parameters) == "postgresql://db1.example,db2.example/a"
    assert place_of(parameters_of("postgresql://someone@/")) == "postgresql://localhost/someone"
