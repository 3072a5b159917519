"""Reports the modules of authz/pki that their own test file does not cover whole: `make coverage`.

A module that only other modules' tests reach has promises of its own that no test states.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "authz" / "pki"


def uncovered(module: str, test: Path) -> list[str]:
    """The lines and branches of `module` that `test` does not reach."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pytest", "-q", str(test), "--cov=authz.pki", "--cov-branch"]
        command += [f"--cov-report=json:{report}", "-p", "no:cacheprovider"]
        environment = {**os.environ, "COVERAGE_FILE": f"{folder}/data"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            return [done.stdout[-2_000:]]
        found = json.loads(report.read_text(encoding="utf-8"))["files"][f"authz/pki/{module}.py"]
    return [*map(str, found["missing_lines"]), *map(str, found["missing_branches"])]


def main() -> int:
    """Check every module; 1 if one is not covered by its own."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return int(any(list(pool.map(_report, sorted(PACKAGE.rglob("*.py"))))))


def _report(path: Path) -> bool:
    """Whether the module's own test leaves anything out; prints a line."""
    module = path.relative_to(PACKAGE).with_suffix("").as_posix()
    test = ROOT / "tests" / "pki" / path.relative_to(PACKAGE).with_name(f"test_{path.name}")
    if path.stem == "__init__":
        test = ROOT / "tests" / "pki" / "test_chain.py"
    missing = uncovered(module, test) if test.exists() else ["it has no test file"]
    sys.stdout.write(f"{module:24} {'covered' if not missing else 'MISSING ' + ' '.join(missing)}\n")
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
