"""docker-compose.yml with COMPOSE_PROFILES=postgres: the same requests, two replicas, a server that is restarted.

The stand-in for the server's image and the public one are used alike: no entry point of theirs is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from os import environ
from pathlib import Path

import pytest
from support.compose_stage import FRONTS, ROOT, ComposeStage, run, wait_until

from authz.demo.fill import INSTANCES

pytestmark = [
    pytest.mark.docker,
    pytest.mark.parametrize("containers", ["postgres"], indirect=True, scope="package"),
]
PAGE = (ROOT / "docs" / "containers.md").read_text(encoding="utf-8")


@pytest.fixture
def well(containers: ComposeStage) -> Iterator[None]:
    """Both replicas run, and alice is switched on, once the test has ended."""
    yield
    containers.up()
    containers.operator("user", "set", "acme", "alice", "--on")
    everywhere(containers, 200)


def everywhere(stage: ComposeStage, status: int) -> None:
    """Wait until both proxies answer so to alice, whichever replica they ask."""
    for front in FRONTS:
        wait_until(lambda front=front: {stage.status(front) for _ in range(4)} == {status}, str(status))  # type: ignore[misc]


def refusals(stage: ComposeStage, instance: str) -> int:
    """How often a replica has refused a user who was switched off."""
    return sum(one.get("reason") == "user_inactive" for one in stage.decisions(instance).values())


def psql(stage: ComposeStage, query: str) -> str:
    """What the administrator reads, in the server's own container."""
    return stage.compose("exec", "--no-TTY", "postgres", "psql", "-XqAt", "-c", query, "directory").strip()


def test_server_is_the_version_that_the_pages_name(containers: ComposeStage) -> None:
    """As docs/postgresql.md says which are tested."""
    assert psql(containers, "SHOW server_version_num").startswith("17")


def test_readme_lines_work(containers: ComposeStage, tmp_path: Path) -> None:
    """The same as over SQLite."""
    assert containers.try_lines(tmp_path) == 5
    containers.operator("cert", "reinstate", "1")


def test_change_holds_at_both_replicas_and_without_one(containers: ComposeStage, well: None) -> None:
    """What is changed while one is gone is what it begins with."""
    before = {one: refusals(containers, one) for one in INSTANCES}
    containers.operator("user", "set", "acme", "alice", "--off")
    everywhere(containers, 403)
    assert all(refusals(containers, one) > before[one] for one in INSTANCES)
    containers.compose("kill", "authz-1")
    everywhere(containers, 403)
    containers.operator("user", "set", "acme", "alice", "--on")
    everywhere(containers, 200)
    containers.operator("user", "set", "acme", "alice", "--off")
    everywhere(containers, 403)
    containers.up("authz-1")
    containers.compose("kill", "authz-2")
    everywhere(containers, 403)


def test_server_that_is_restarted_is_used_again(containers: ComposeStage) -> None:
    """Nothing passes that would not have before."""
    containers.compose("restart", "postgres")
    assert {containers.status(front, "bob") for front in FRONTS} <= {403, *(front.down for front in FRONTS)}
    everywhere(containers, 200)


def test_without_the_server_nothing_passes(containers: ComposeStage) -> None:
    """Two seconds later; all is well again by itself."""
    containers.compose("stop", "postgres")
    for front in FRONTS:
        wait_until(lambda front=front: containers.status(front) == front.down, "not confirmed")  # type: ignore[misc]
    with containers.nobody_reaches_the_application():
        for front in FRONTS * 4:
            assert containers.status(front) == front.down
    containers.compose("start", "postgres")
    everywhere(containers, 200)


def test_service_can_register_nothing(containers: ComposeStage) -> None:
    """Its role reads, and the passwords of the others are not in its container."""
    for verb in (["cert", "retire", "1"], ["user", "set", "acme", "alice", "--off"], ["db", "grants"]):
        with pytest.raises(RuntimeError, match="permission denied"):
            containers.compose("exec", "--no-TTY", "authz-1", "authz", *verb)
    find = "import pathlib; print([p.read_text().split(':')[3] for p in pathlib.Path('/').glob('*/*/pgpass')])"
    assert containers.python("authz-1", find).strip() == "['checks']"


CONNECT = """
import psycopg
try:
    psycopg.connect(**{given})
except psycopg.Error as error:
    print(error)
else:
    print("connected")
"""
VERIFIED = {
    "host": "postgres",
    "dbname": "directory",
    "user": "checks",
    "passfile": "/demo/database/pgpass",
    "sslmode": "verify-full",
    "sslrootcert": "/demo/database/ca.pem",
}


@pytest.mark.parametrize(
    ("changed", "answer"),
    [
        ({}, "connected"),
        ({"sslmode": "disable"}, "no encryption"),
        ({"sslrootcert": "/etc/ssl/certs/ca-certificates.crt"}, "certificate verify failed"),
        ({"passfile": "/missing"}, "no password supplied"),
        ({"user": "owner", "password": "guessed"}, "password authentication failed"),
        ({"user": "postgres", "password": "guessed"}, "no pg_hba.conf entry"),
        ({"dbname": "postgres"}, "no pg_hba.conf entry"),
    ],
    ids=[
        "as it is",
        "plaintext",
        "another CA",
        "no password",
        "another's password",
        "administrator",
        "another database",
    ],
)
def test_server_admits_a_role_over_tls_alone(containers: ComposeStage, changed: dict[str, str], answer: str) -> None:
    """Asked from a replica, which is in its network."""
    assert answer in containers.python("authz-1", CONNECT.format(given=VERIFIED | changed))


@pytest.mark.parametrize("service", ["crls", "application"])
def test_server_is_not_reached_by_others(containers: ComposeStage, service: str) -> None:
    """They do not even know its name, though they know their own."""
    # By default a network without a way out is asked for 10 seconds.
    options = "import os, socket; os.environ['RES_OPTIONS'] = 'timeout:1 attempts:1'"
    code = f"{options}; print(socket.gethostbyname('{service}')); socket.create_connection(('postgres', 5432), 3)"
    with pytest.raises(RuntimeError, match=r"(?s)\d\.\d+\n.*gaierror"):
        containers.python(service, code)


def test_up_again_brings_the_volume_up_to_date(containers: ComposeStage) -> None:
    """The rights are given again, and nothing that was made is made anew."""
    users = "SELECT name, enforcement FROM users ORDER BY id"
    before = psql(containers, users)
    psql(containers, "REVOKE SELECT ON anchors FROM authz_write")
    containers.compose("up", "--detach", "--wait")
    assert psql(containers, "SELECT has_table_privilege('operator', 'anchors', 'SELECT')") == "t"
    assert psql(containers, users) == before


@pytest.fixture
def session(tmp_path: Path) -> Callable[[str], None]:
    """Does a line of the page, in a folder of its own."""
    lines = re.findall(r"^\$ (docker compose .*pg_.*)$", PAGE, re.MULTILINE)

    def do(program: str) -> None:
        [line] = [line for line in lines if f" {program} " in line]
        run(
            "bash",
            "-c",
            f"umask 077; {line}",
            cwd=tmp_path,
            env={**environ, "COMPOSE_FILE": str(ROOT / "docker-compose.yml")},
        )

    return do


def test_restore_of_the_page_brings_the_earlier_state_back(
    containers: ComposeStage, session: Callable[[str], None], well: None
) -> None:
    """While both replicas run; what was switched off after the backup is on again, as the page warns."""
    session("pg_dump")
    containers.operator("user", "set", "acme", "alice", "--off")
    everywhere(containers, 403)
    session("pg_restore")
    everywhere(containers, 200)
    containers.operator("audit", "verify")
