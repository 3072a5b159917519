"""The project of `docker-compose.yml`, brought up once; the containers' logs stand beside a failure."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from support.compose_stage import ROOT, ComposeStage, run
from support.requirements import docker_found, need
from testcontainers.compose import DockerCompose

FILES = [str(ROOT / "docker-compose.yml"), str(Path(__file__).with_name("seldom.yml"))]


@pytest.fixture(scope="session")
def docker() -> None:
    """A docker daemon, and `docker compose`."""
    need("docker", found=docker_found())


@pytest.fixture(scope="package")
def containers(
    request: pytest.FixtureRequest, docker: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComposeStage]:
    """Everything up and healthy, in a project of its own; taken away at the end. The parameter is the profile."""
    project = f"authz-test-{os.getpid()}"
    # The ports are the machine's: whoever else runs these tests waits here.
    turn = Path(tempfile.gettempdir()) / "authz-test-containers.lock"
    with turn.open("w") as lock, pytest.MonkeyPatch.context() as at:
        fcntl.flock(lock, fcntl.LOCK_EX)
        at.setenv("COMPOSE_PROJECT_NAME", project)
        at.setenv("COMPOSE_FILE", os.pathsep.join(FILES))
        at.setenv("COMPOSE_PROFILES", getattr(request, "param", ""))
        compose = DockerCompose(ROOT, FILES, build=True, wait=True)
        try:
            compose.start()
            yield ComposeStage(project, tmp_path_factory.mktemp("client"))
        except Exception:
            # Whoever reads the failure has nothing else.
            print(run("docker", "compose", "logs", "--no-color", check=False, cwd=ROOT))  # noqa: T201
            raise
        finally:
            compose.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure has what the containers said beside it."""
    report = yield
    stage = getattr(item, "funcargs", {}).get("containers")
    if report.failed and isinstance(stage, ComposeStage):
        report.sections.append(("logs of the containers", stage.logs()))
    return report
