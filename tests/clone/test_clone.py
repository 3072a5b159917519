"""The last commit in an empty folder, with nothing beside it: it runs, tests itself, builds, and is installed.

What a test here says of the project is what a reader sees who has the repository alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.generate_docs import ROOT
from support.operator_files import write_files
from support.requirements import need

from authz import __version__
from authz.demo.rows import ROWS

pytestmark = pytest.mark.clone

DISK = Path("/var/tmp")  # noqa: S108 - a folder of its own is made there; an environment is too large for memory
OURS = re.compile(r"REQUIRE_\w+|LIMBO_JSON|VIRTUAL_ENV|PYTHON\w*|PYTEST\w*|COV_\w+|MAKE\w*|MFLAGS|AUTHZ_\w+")
LIMBO = "there is no limbo.json.xz: LIMBO_JSON names it"


def environment() -> dict[str, str]:
    """Everybody's: without what these tests were started with, and without this environment's programs."""
    kept = {name: value for name, value in os.environ.items() if not OURS.fullmatch(name)}
    own = str(ROOT / ".venv")
    kept["PATH"] = ":".join(one for one in kept["PATH"].split(":") if not one.startswith(own))
    return kept


def run(folder: Path, *words: str) -> str:
    """What a command says, on stdout and stderr; it must end well."""
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(words, cwd=folder, env=environment(), text=True, check=False, **pipe)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout[-5_000:]
    return str(done.stdout)


@pytest.fixture(scope="module")
def clone() -> Iterator[Path]:
    """The clone."""
    need("clone", found=shutil.which("git") is not None and (ROOT / ".git").exists())
    with tempfile.TemporaryDirectory(dir=DISK, prefix="authz-clone-") as folder:
        run(Path(folder), "git", "clone", "--quiet", str(ROOT), "mtls-authz")
        yield Path(folder) / "mtls-authz"


def test_demonstration_runs(clone: Path) -> None:
    """`make run`, as the README begins."""
    assert f"{len(ROWS)} of {len(ROWS)} as expected" in run(clone, "make", "run", "DEMO=--once")


def test_quick_tests_pass_and_skip_nothing(clone: Path) -> None:
    """Whatever they need is there."""
    said = run(clone, "make", "quick")
    assert skipped(said) == []
    passed = re.search(r"(\d+) passed in", said)
    assert passed is not None, said[-3_000:]
    assert int(passed[1]) > 6_000


def test_vectors_pass_but_limbos(clone: Path) -> None:
    """All of PKITS is there; the cases of x509-limbo are 2 MB that are not."""
    said = run(clone, "make", "test", "PYTEST=tests/vectors")
    assert {reason for _, reason in skipped(said)} == {LIMBO}, said[-3_000:]
    passed = re.search(r"(\d+) passed, (\d+) skipped", said)
    assert passed is not None
    assert int(passed[1]) > 700
    assert int(passed[2]) == sum(count for count, _ in skipped(said)) == 2


def skipped(said: str) -> list[tuple[int, str]]:
    """How many tests, or files of tests, were skipped, and why."""
    return [(int(n), why) for n, why in re.findall(r"^SKIPPED \[(\d+)\] [^ ]+: (.+)$", said, re.MULTILINE)]


def test_every_test_is_collected_but_limbos(clone: Path) -> None:
    """As many as here, test for test."""
    words = ("make", "test", "PYTEST=--collect-only --quiet")
    theirs, ours = run(clone, *words), run(ROOT, *words)
    assert skipped(theirs) in ([], [(1, LIMBO)]), theirs[-3_000:]
    limbo = {one for one in ids(ours) if one.startswith("tests/vectors/test_limbo.py")}
    assert ids(theirs) == ids(ours) - limbo
    assert len(ids(theirs)) > 5_000


def ids(said: str) -> set[str]:
    """The ids that a collection printed."""
    return set(re.findall(r"^tests/.*::.*$", said, re.MULTILINE))


def test_plan_of_the_checks_demands_nothing_from_beside(clone: Path) -> None:
    """Docker only if this machine has it."""
    assert "LIMBO" not in run(clone, ".ci/run", "--plan").split()


@pytest.fixture(scope="module")
def installed(clone: Path) -> Path:
    """The clone, with the environment and the directory that the README's "Use it" makes; its last line serves."""
    write_files(clone)
    page = read(clone, "README.md").partition("## Use it")[2]
    (settings,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    # Others may have the operators' port on this machine.
    (clone / "authz.toml").write_text(settings + '[ops]\naddress = "127.0.0.1:0"\n')
    *lines, last = console(page)[0]
    assert last == SERVE
    run(clone, "bash", "-euc", "\n".join(lines))
    return clone


def console(page: str) -> list[list[str]]:
    """The lines to type of each block, without what is said beside them."""
    blocks = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    return [re.findall(r"^\$ (.+?)(?:\s+# .*)?$", one, re.MULTILINE) for one in blocks]


@pytest.fixture
def service(installed: Path) -> Iterator[Callable[[str], str]]:
    """Runs lines in the README's environment, beside a service that `systemctl` starts, stops and shows."""
    (installed / "bin").mkdir(exist_ok=True)
    (installed / "bin" / "systemctl").write_text(SYSTEMCTL)
    (installed / "bin" / "systemctl").chmod(0o755)
    before = f"PATH=$PWD/bin:$PATH\n. authz-env/bin/activate\nexport {DATABASE}\n"

    def type_in(lines: str) -> str:
        return run(installed, "bash", "-euc", before + lines)

    type_in("systemctl start authz")
    try:
        yield type_in
    finally:
        type_in("systemctl stop authz")


DATABASE = "AUTHZ_DATABASE=sqlite:///authz.db"
SERVE = "authz --config authz.toml serve"
SYSTEMCTL = f"""#!/bin/bash
# What a service manager does, for one service in this folder.
wait_for() {{ for try in $(seq 600); do "$@" && return; sleep 0.1; done; cat log; exit 1; }}
ready() {{ grep -q '"event":"ready"' log; }}
gone() {{ ! kill -0 "$(cat pid)" 2>/dev/null; }}
case $1 in
    start) setsid {SERVE} >log 2>&1 </dev/null & echo $! >pid; wait_for ready ;;
    stop) kill "$(cat pid)"; wait_for gone ;;
    show) cat pid ;;
esac
"""


def test_readme_installs_and_serves(service: Callable[[str], str], installed: Path) -> None:
    """A pip that is Debian's installs it, the directory is filled, and the first `serve` is ready."""
    assert '"event":"ready"' in read(installed, "log")
    assert (installed / "authz.sock").exists()
    assert "alice" in service("authz cert list acme --json")


def test_page_on_upgrades_works_line_by_line(service: Callable[[str], str], installed: Path) -> None:
    """Back up, upgrade, downgrade and restore: the service goes on, and what was taken away since is back."""
    need("sqlite3", found=shutil.which("sqlite3") is not None)
    service("pip wheel --quiet --no-deps --wheel-dir . .")
    back_up, upgrade, downgrade, restore = map("\n".join, console(read(installed, "docs/upgrade.md")))
    assert service(back_up).split() == ["ok"]
    assert (installed / "authz-backup.db").stat().st_mode & 0o077 == 0
    service(upgrade)
    deadline = time.monotonic() + 60
    while '"event":"reloaded"' not in read(installed, "log") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert '"event":"reloaded"' in read(installed, "log"), read(installed, "log")
    service("authz user set acme alice --enforcement off")
    service(downgrade)
    assert '"required"' in service("authz user show acme alice --json")
    service("authz cert retire 1")
    assert "retired" in service("authz cert list acme --json")
    assert "alice" in service(restore)
    assert "retired" not in service("authz cert list acme --json")
    assert "traceback" not in read(installed, "log").lower()


def read(clone: Path, name: str) -> str:
    """A file of the clone."""
    return (clone / name).read_text(encoding="utf-8")


def test_distribution_is_built_checked_and_installed(clone: Path) -> None:
    """The demonstration runs from the wheel alone; the SBOM lists what the lock pins."""
    said = run(clone, "make", "dist")
    assert said.count("PASSED") == 2
    assert f"{len(ROWS)} of {len(ROWS)} as expected" in said
    named = f"mtls_authz-{__version__}"
    assert {one.name for one in (clone / "dist").iterdir()} == {
        f"{named}.tar.gz",
        f"{named}-py3-none-any.whl",
        f"{named}.cdx.json",
    }
    bom = json.loads(read(clone, f"dist/{named}.cdx.json"))
    pinned = set(re.findall(r"^([a-z0-9-]+)==(\S+)", read(clone, "requirements-service.lock"), re.MULTILINE))
    assert bom["bomFormat"] == "CycloneDX"
    assert {(one["name"], one["version"]) for one in bom["components"]} == pinned
