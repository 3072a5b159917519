"""The parameters of a connection, from a URL as libpq reads it, and what is demanded of them.

A password may be in the URL, in PGPASSWORD or in a file (`passfile`); nothing here prints one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from itertools import zip_longest
from typing import Final

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from authz.errors import ConfigError

Parameters = Mapping[str, str]

HINT: Final = (
    "write it as postgresql://user@host/database?sslmode=verify-full&sslrootcert=/path/to/ca.pem (docs/postgresql.md)"
)

CONNECT_SECONDS: Final = "2"
"""How long one server may take to accept a connection, the least that libpq waits for (`connect_timeout`)."""

LOST_MILLISECONDS: Final = "1500"
"""How long what was sent may stay unacknowledged (`tcp_user_timeout`): below the 2 s of an unconfirmed revision."""


def parameters_of(url: str) -> Parameters:
    """What to connect with: the URL's parameters, and those that no URL can change.

    Raises `ConfigError` for a URL that libpq cannot read, one that names a service, whose file may say anything, and
    one by which a server on another machine would not be verified.
    """
    try:
        given = {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.Error:
        # What libpq says of it may quote a password.
        raise ConfigError("the setting database is not a URL of PostgreSQL", hint=HINT) from None
    parameters = _defaults() | given
    if "service" in parameters:
        raise ConfigError("a service of libpq is not read (service, PGSERVICE)", hint="write its parameters in the URL")
    if not all(map(_is_local, _servers(parameters))):
        _check_tls(parameters)
        given["gssencmode"] = "disable"
    return {"connect_timeout": CONNECT_SECONDS, "tcp_user_timeout": LOST_MILLISECONDS, "application_name": "authz"} | (
        given | {"client_encoding": "utf8", "target_session_attrs": "primary"}
    )


def place_of(parameters: Parameters) -> str:
    """Where the directory is, for people: servers and name, neither user nor password."""
    effective = _defaults() | dict(parameters)
    servers = ",".join(server or "localhost" for server in _servers(effective))
    return f"postgresql://{servers}/{effective.get('dbname', effective.get('user', ''))}"


def _defaults() -> dict[str, str]:
    """The parameters that libpq takes from the environment (PostgreSQL's manual, 34.15), or assumes."""
    options = pq.Conninfo.get_defaults()
    return {option.keyword.decode(): option.val.decode() for option in options if option.val}


def _servers(parameters: Parameters) -> Iterator[str]:
    """For each server the address that is connected to, or the name, or empty for the socket of this machine."""
    names, addresses = (parameters.get(key, "").split(",") for key in ("host", "hostaddr"))
    return (address or name for name, address in zip_longest(names, addresses, fillvalue=""))


def _is_local(server: str) -> bool:
    if not server or server.startswith(("/", "@")) or server == "localhost":
        return True
    try:
        return ip_address(server).is_loopback
    except ValueError:
        return False


def _check_tls(parameters: Parameters) -> None:
    """Any other `sslmode` connects to any server that answers, or to any server that has a certificate."""
    if parameters.get("sslmode") != "verify-full" or not parameters.get("sslrootcert"):
        problem = f"{place_of(parameters)} is on another machine, and would not be verified"
        raise ConfigError(problem, hint="add sslmode=verify-full and sslrootcert=/path/to/ca.pem to the URL")
