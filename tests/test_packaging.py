"""What is installed elsewhere: the same bytes whenever it is built, and everything that the command needs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from support.generate_docs import ROOT

from authz import __version__

MOMENT = "1790000000"
NAMES = {f"mtls_authz-{__version__}.tar.gz", f"mtls_authz-{__version__}-py3-none-any.whl"}


def build(source: Path, target: Path) -> dict[str, bytes]:
    """Sdist and wheel of `source`, by name, as `make dist` has hatchling build them."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(target)]
    subprocess.run(
        command, cwd=source, env={**os.environ, "SOURCE_DATE_EPOCH": MOMENT}, check=True, capture_output=True
    )
    return {one.name: one.read_bytes() for one in target.iterdir()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the project builds."""
    folder = tmp_path_factory.mktemp("dist")
    assert build(ROOT, folder).keys() == NAMES
    return folder


@pytest.mark.slow
def test_second_build_elsewhere_and_later_is_the_same(built: Path, tmp_path: Path) -> None:
    """From the first one's sdist, its files written now and for their owner alone: byte for byte, wheel and sdist."""
    with tarfile.open(built / f"mtls_authz-{__version__}.tar.gz") as sdist:
        sdist.extractall(tmp_path, filter="data")
    source = tmp_path / f"mtls_authz-{__version__}"
    for path in source.rglob("*"):
        os.utime(path)
        path.chmod(path.stat().st_mode & ~0o077)
    again = build(source, tmp_path / "again")
    assert again == {one.name: one.read_bytes() for one in built.iterdir()}


@pytest.mark.slow
def test_wheel_has_the_program_and_nothing_of_the_tests(built: Path) -> None:
    """Each module, the proxies' configurations, the command; and what it needs is what pyproject.toml says."""
    with zipfile.ZipFile(built / f"mtls_authz-{__version__}-py3-none-any.whl") as wheel:
        held = set(wheel.namelist())
        info = f"mtls_authz-{__version__}.dist-info"
        assert "authz = authz.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()
        told = wheel.read(f"{info}/METADATA").decode()
    needed = re.findall(r"^Requires-Dist: ([A-Za-z-]+)[^;\n]*$", told, re.MULTILINE)
    modules = {str(one.relative_to(ROOT)) for one in (ROOT / "authz").rglob("*.py")}
    shipped = {f"authz/{one.relative_to(ROOT)}" for one in (ROOT / "deploy").rglob("*") if one.is_file()}
    assert modules | shipped <= held
    assert {one.split("/")[0] for one in held} == {"authz", info}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {one.lower() for one in needed} == {re.split(r"[>=]", one)[0].lower() for one in project["dependencies"]}


def test_changelog_has_the_version() -> None:
    """With its date, and above it only what is not released."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE)[0] == "Unreleased"
    assert re.search(rf"^## {re.escape(__version__)} - \d{{4}}-\d\d-\d\d$", text, re.MULTILINE)
