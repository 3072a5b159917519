"""Mints what PostgreSQL and its clients show each other: `python -m authz.demo.database_keys /demo`, in a container.

The server's folder has its certificate and the statements that make its roles; the folder of each role has the CA and
the role's password. The CA's key is not stored.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding

from authz.demo.fill import refuse_expired
from authz.demo.mint import Mint, write_secret
from authz.directory.postgresql.grants import READ, WRITE

SERVER: Final = "postgres"
"""Its name in the containers' network, and that of its folder."""

DATABASE: Final = "directory"
OWNER: Final = "owner"
USERS: Final = {OWNER: "", "operator": f" IN ROLE {WRITE}", "checks": f" IN ROLE {READ}"}
"""The roles that log in, each with what its statement ends with: what migrates, what operators do, the service."""


def make_files(folder: Path) -> None:
    """Make everything below `folder`, unless it exists. Raises `ConfigError` when the certificate has expired."""
    server, statements = folder / SERVER, [f"CREATE ROLE {role} NOLOGIN;" for role in (READ, WRITE)]
    script = server / "roles.sql"
    if script.exists():
        refuse_expired(server / "server.pem")
        return
    mint = Mint()
    authority = mint.authority("Directory CA")
    for name in (SERVER, *USERS):
        (folder / name).mkdir(0o750, exist_ok=True)
    mint.server(authority, SERVER).write(server, "server")
    for user, membership in USERS.items():
        password = secrets.token_urlsafe(32)
        (folder / user / "ca.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
        write_secret(folder / user / "pgpass", f"{SERVER}:5432:{DATABASE}:{user}:{password}\n".encode())
        statements.append(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'{membership};")
    statements.append(f"CREATE DATABASE {DATABASE} OWNER {OWNER} ENCODING 'UTF8' TEMPLATE template0;")
    # Last: the server is started once it is there.
    write_secret(script, "".join(f"{statement}\n" for statement in statements).encode())


if __name__ == "__main__":
    make_files(Path(sys.argv[1]))
