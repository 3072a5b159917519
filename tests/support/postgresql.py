"""A PostgreSQL server for tests: one a process, without a network, its files in memory; new databases are copies."""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from functools import cache, cached_property
from pathlib import Path
from urllib.parse import quote

import psycopg

from authz.directory.databases import database_of
from support.requirements import need

FAST = {
    "autovacuum": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "max_connections": "200",
    "synchronous_commit": "off",
}
TEMPLATE = "directory"
NUMBERS = itertools.count()


def binaries() -> Path | None:
    """The folder of the newest server that is installed, as Debian has them."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class Server:
    """A server with files of its own; root may not run one, so that it is Debian's user who does."""

    def __init__(self, **settings: str) -> None:
        programs = binaries()
        need("postgresql", found=programs is not None)
        assert programs is not None
        self.programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self.user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
        if self.user:
            shutil.chown(self.folder, "postgres", "postgres")
        self.data = self.folder / "data"
        self.settings = FAST | {"unix_socket_directories": str(self.folder)} | settings
        self.process: subprocess.Popen[bytes] | None = None

    def initialize(self) -> None:
        """Make its files; no password is asked for."""
        self.run("initdb", "--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username=owner", self.data)

    def run(self, program: str, *words: str | Path, given: bytes = b"") -> None:
        """Have one of PostgreSQL's programs do its work, with this on its standard input."""
        command = [self.programs / program, *words]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, input=given, **self.user)  # type: ignore[call-overload]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        words = [f"--{name.replace('_', '-')}={value}" for name, value in self.settings.items()]
        command = [self.programs / "postgres", "-D", self.data, *words]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **self.user)  # type: ignore[call-overload]
        while subprocess.run([self.programs / "pg_isready", "-q", "-h", self.folder, "-d", "postgres"]).returncode:  # noqa: PLW1510
            assert self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.01)

    def halt(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """End its processes: SIGQUIT at once and without a checkpoint, SIGINT in order."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait()

    def stop(self) -> None:
        """End it at once, and remove its files."""
        if "administrator" in self.__dict__:
            self.administrator.close()
        self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, user: str = "owner") -> str:
        """That of a database, by the socket."""
        return f"postgresql://{user}@/{database}?host={quote(str(self.folder), safe='')}"

    @cached_property
    def administrator(self) -> psycopg.Connection:
        """A connection of the owner's, outside of every directory."""
        return psycopg.connect(self.url("postgres"), autocommit=True)

    def psql(self, statements: str, database: str = "postgres", user: str = "owner") -> str:
        """Have the plain `psql` do it, as an operator would; what it prints, without a frame."""
        command = [self.programs / "psql", self.url(database, user), "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", statements]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def restored_in_place(server: Server, database: str, dump: Path) -> None:
    """Have `pg_restore` bring a database back to a dump, all of it in one transaction."""
    words = ("-h", server.folder, "-U", "owner", "-d", database, "--clean", "--if-exists", "--single-transaction")
    server.run("pg_restore", *words, dump)


def restored_beside(server: Server, database: str, dump: Path) -> None:
    """Restore a dump to a new database, which then takes the name of the one that is there."""
    server.psql("CREATE DATABASE restored TEMPLATE template0")
    server.run("pg_restore", "-h", server.folder, "-U", "owner", "-d", "restored", dump)
    server.psql(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
    server.psql(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{database}'")
    server.psql(f"ALTER DATABASE {database} RENAME TO replaced; ALTER DATABASE restored RENAME TO {database}")
    server.psql("DROP DATABASE replaced")


@cache
def server() -> Server:
    """The one of this process, with an empty directory to copy; it goes with the process."""
    made = Server()
    made.initialize()
    atexit.register(made.stop)
    made.start()
    made.psql(f"CREATE DATABASE {TEMPLATE}")
    database_of(made.url(TEMPLATE)).migrate()
    return made


def new_database() -> str:
    """The name of a database with an empty directory."""
    name = f"d{next(NUMBERS)}"
    server().administrator.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
    return name


def end_connections(name: str) -> None:
    """Those to one database, as an administrator may."""
    query = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
    server().administrator.execute(query, [name])


def new_url() -> str:
    """That of an empty directory."""
    return server().url(new_database())
