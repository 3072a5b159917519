"""The last commit in an empty folder, with nothing beside it: it runs, tests itself, builds, and is installed.

What a test here says of the project is what somebody sees who has the repository alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from generate_docs import ROOT
from needs import need
from operators_files import write_files

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


def test_quick_tests_pass_and_skip_nothing_but_limbo(clone: Path) -> None:
    """PKITS and everything else are there; the cases of x509-limbo are 2 MB that are not."""
    said = run(clone, "make", "quick")
    assert {reason for _, reason in skipped(said)} == {LIMBO}, said[-3_000:]
    passed = re.search(r"(\d+) passed, (\d+) skipped", said)
    assert passed is not None
    assert int(passed[1]) > 4_000
    assert int(passed[2]) == sum(count for count, _ in skipped(said)) == 2


def skipped(said: str) -> list[tuple[int, str]]:
    """How many tests, or files of tests, were skipped, and why."""
    return [(int(n), why) for n, why in re.findall(r"^SKIPPED \[(\d+)\] [^ ]+: (.+)$", said, re.MULTILINE)]


def test_every_test_is_collected_but_limbos(clone: Path) -> None:
    """As many as here, test for test."""
    words = ("make", "test", "PYTEST=--collect-only --quiet")
    theirs, ours = run(clone, *words), run(ROOT, *words)
    assert skipped(theirs) in ([], [(1, LIMBO)]), theirs[-3_000:]
    limbo = {one for one in tests(ours) if one.startswith("tests/vectors/test_limbo.py")}
    assert tests(theirs) == tests(ours) - limbo
    assert len(tests(theirs)) > 5_000


def tests(said: str) -> set[str]:
    """The ids that a collection printed."""
    return set(re.findall(r"^tests/.*::.*$", said, re.MULTILINE))


def test_plan_of_the_checks_demands_nothing_from_beside(clone: Path) -> None:
    """Docker only if this machine has it."""
    assert "LIMBO" not in run(clone, ".ci/run", "--plan").split()


def test_readme_installs_and_serves(clone: Path) -> None:
    """The lines of "Use it" in a shell, one after the other; the last one serves until it is stopped."""
    write_files(clone)
    (block,) = re.findall(r"^## Use it\n.*?```console\n(.*?)```", read(clone, "README.md"), re.MULTILINE | re.DOTALL)
    (settings,) = re.findall(r"^## Use it\n.*?```toml\n(.*?)```", read(clone, "README.md"), re.MULTILINE | re.DOTALL)
    (clone / "authz.toml").write_text(settings)
    lines = re.findall(r"^\$ (.+?)(?:\s+#.*)?$", block, re.MULTILINE)
    assert lines[-1].endswith(" serve")
    (clone / "lines.sh").write_text("\n".join([*lines[:-1], f"exec {lines[-1]}"]))
    with (clone / "said").open("w") as said:
        served = subprocess.Popen(["bash", "-e", "lines.sh"], cwd=clone, env=environment(), stdout=said, stderr=said)
    try:
        deadline = time.monotonic() + 300
        while '"event":"ready"' not in read(clone, "said") and served.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert '"event":"ready"' in read(clone, "said"), read(clone, "said")
    finally:
        served.send_signal(signal.SIGTERM)
        assert served.wait(60) == 0


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
