"""What PostgreSQL and its clients show each other in docker-compose.yml."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from support.postgresql import Server

from authz.demo import fill
from authz.demo.database_keys import SERVER, USERS, make_files
from authz.errors import ConfigError


def contents(folder: Path) -> dict[str, bytes]:
    """Every file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_server_and_each_role_have_their_own(tmp_path: Path) -> None:
    """A certificate for the server's name; for each role another password, which the server knows; no CA's key."""
    make_files(tmp_path)
    made = contents(tmp_path)
    assert set(made) == {
        *(f"{SERVER}/{name}" for name in ("server.pem", "server.key", "roles.sql")),
        *(f"{user}/{name}" for user in USERS for name in ("ca.pem", "pgpass")),
    }
    authority = x509.load_pem_x509_certificate(made["checks/ca.pem"])
    certificate = x509.load_pem_x509_certificate(made["postgres/server.pem"])
    certificate.verify_directly_issued_by(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [SERVER]
    passwords = {made[f"{user}/pgpass"].decode().strip().split(":")[-1] for user in USERS}
    assert len(passwords) == len(USERS)
    assert all(f"PASSWORD '{one}'" in made["postgres/roles.sql"].decode() for one in passwords)
    secret = [path for path in tmp_path.rglob("*") if path.name in {"server.key", "roles.sql", "pgpass"}]
    assert {path.stat().st_mode & 0o777 for path in secret} == {0o600}


def test_what_is_there_stays(tmp_path: Path) -> None:
    """The roles have their passwords since the server was first started."""
    make_files(tmp_path)
    before = contents(tmp_path)
    make_files(tmp_path)
    assert contents(tmp_path) == before


def test_half_made_files_are_made_again(tmp_path: Path) -> None:
    """The server's statements are written last, and it is started after them."""
    make_files(tmp_path)
    before = contents(tmp_path)
    (tmp_path / SERVER / "roles.sql").unlink()
    make_files(tmp_path)
    assert not set(before.values()) & set(contents(tmp_path).values())


def test_certificate_that_has_expired_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any client meets it."""
    make_files(tmp_path)

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # noqa: ARG003
            return datetime.now(UTC) + timedelta(days=29, hours=1)

    monkeypatch.setattr(fill, "datetime", Later)
    with pytest.raises(ConfigError, match="have expired"):
        make_files(tmp_path)


@pytest.mark.slow
def test_statements_make_the_roles(tmp_path: Path) -> None:
    """The first that fails ends them; no role may make another."""
    make_files(tmp_path)
    server = Server()
    # As in the container: the administrator's name is not that of a role.
    server.run("initdb", "--no-sync", "--auth=trust", "--encoding=UTF8", "--username=postgres", server.data)
    server.start()
    try:
        statements = (tmp_path / SERVER / "roles.sql").read_bytes()
        server.run("psql", "-Xq", "-v", "ON_ERROR_STOP=1", server.url("postgres", "postgres"), given=statements)
        made = server.psql("SELECT rolname FROM pg_roles WHERE rolcanlogin AND NOT rolcreaterole", user="postgres")
        assert set(made.split()) == set(USERS)
        members = server.psql("SELECT roleid::regrole, member::regrole FROM pg_auth_members", user="postgres")
        assert {"authz_write|operator", "authz_read|checks"} < set(members.split())
        assert not [row for row in members.split() if row.endswith("|owner")]
    finally:
        server.stop()
