"""`.ci/run` demands what the machine can have, and the workflow runs it so."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support.generate_docs import ROOT

ALWAYS = {"ENVOY", "CURL", "OPENSSL", "SQLITE3", "POSTGRESQL", "NGINX", "HAPROXY", "APACHE", "CADDY", "NODE", "PATCH"}
ALWAYS |= {"PROMTOOL", "AMTOOL", "RSYSLOG", "GROFF", "CLONE"}
"""Debian has them, and PyPI."""

Plan = Callable[[], set[str]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the script alone and nothing beside it, on a machine whose docker answers nothing."""
    (tmp_path / "project" / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", tmp_path / "project" / ".ci" / "run")
    program(tmp_path / "bin" / "docker", "exit 1")
    return tmp_path / "project"


def program(path: Path, line: str) -> None:
    """A program that does `line`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


@pytest.fixture
def plan(project: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """What `.ci/run --plan` says that a test may not skip."""
    monkeypatch.setenv("PATH", f"{project.parent / 'bin'}:/usr/bin:/bin")
    monkeypatch.delenv("LIMBO_JSON", raising=False)

    def ask() -> set[str]:
        command = [project / ".ci" / "run", "--plan"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=project.parent)
        assert done.stderr == ""
        return set(done.stdout.split())

    return ask


def test_plain_clone_without_docker_demands_everything_else(plan: Plan) -> None:
    """Nothing that only a folder beside the project has."""
    assert plan() == ALWAYS


def test_daemon_that_answers_is_demanded(plan: Plan, project: Path) -> None:
    """With compose 2."""
    program(project.parent / "bin" / "docker", "exit 0")
    assert plan() == ALWAYS | {"DOCKER"}


def test_daemon_without_compose_is_not_demanded(plan: Plan, project: Path) -> None:
    """The tests could not use it."""
    program(project.parent / "bin" / "docker", '[ "$1" = version ]')
    assert plan() == ALWAYS


def test_stand_ins_beside_the_project_are_demanded(plan: Plan, project: Path) -> None:
    """They bring docker themselves; the cases of x509-limbo are taken from where they are."""
    program(project.parent / "shared" / "standins" / "docker.sh", "exit 1")
    (project.parent / "shared" / "vectors").mkdir()
    (project.parent / "shared" / "vectors" / "limbo.json.xz").touch()
    assert plan() == ALWAYS | {"DOCKER", "LIMBO"}


def test_named_cases_of_limbo_are_demanded(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads nowhere fails; it is not skipped."""
    monkeypatch.setenv("LIMBO_JSON", "/nowhere")
    assert plan() == ALWAYS | {"LIMBO"}


def test_everything_that_a_test_may_lack_is_in_the_plan() -> None:
    """A new `need` is demanded from the start, or has a rule of its own."""
    needs = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    asked = {one.upper() for one in re.findall(r'\bneed\("(\w+)"', needs)}
    assert asked | {"LIMBO"} == ALWAYS | {"DOCKER", "LIMBO"}


def test_workflow_runs_the_script_and_the_public_images() -> None:
    """The first on Debian 12; the second names no image, so that those of docker-compose.yml are taken."""
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["test"]["container"] == "debian:12"
    assert jobs["test"]["steps"][-1]["run"].endswith("bash .ci/run")
    assert jobs["compose"]["env"] == {"REQUIRE_DOCKER": 1}
    assert jobs["compose"]["steps"][-1]["run"] == 'make test PYTEST="-m docker"'
