"""What a start of the command costs: the CPU of whole calls, beside that of Python importing `cryptography.x509`.

`python benchmarks/bench_command.py [ROUNDS]`, 9 if nothing is said. The calls of a round come one after the other, and
the least of all rounds counts: a busy machine makes all of them dearer, and none cheaper. Every module is compiled
already, as where it is installed. The exit code is 1 above a bound.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile

REFERENCE = [sys.executable, "-c", "import cryptography.x509"]

BOUNDS = {
    "--version": 1.6,
    "--help": 1.6,
    "org list": 5.5,
    "user list acme": 5.5,
    "user set acme alice --off": 5.5,
    "cert list --json": 5.6,
    "anchor list --json": 5.6,
    "crl list --json": 6.8,
    "decisions list --json": 5.6,
}
"""Verbs, and the most that a call may cost, in starts of Python with `cryptography.x509`."""


def cpu_seconds(command: list[str]) -> float:
    """User and system time of one process, with its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)  # noqa: S603 - our own
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Print a line for each verb."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    commands = {words: [sys.executable, "-m", "authz", *words.split()] for words in BOUNDS}
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"AUTHZ_DATABASE": f"sqlite:///{folder}/authz.db", "PYTHONPYCACHEPREFIX": f"{folder}/compiled"}
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        for words in ("db init", "org add acme", "user add acme alice"):
            subprocess.run([sys.executable, "-m", "authz", *words.split()], capture_output=True, check=True)  # noqa: S603
        times = [{words: cpu_seconds(command) for words, command in commands.items()} for _ in range(rounds)]
        reference = min(cpu_seconds(REFERENCE) for _ in range(rounds))
    least = {words: min(each[words] for each in times) for words in commands}
    print(f"import cryptography.x509: {reference:.3f} s of CPU")
    for words, seconds in least.items():
        print(f"authz {words}: {seconds:.3f} s of CPU, {seconds / reference:.1f} of it, at most {BOUNDS[words]}")
    return int(any(seconds / reference > BOUNDS[words] for words, seconds in least.items()))


if __name__ == "__main__":
    sys.exit(main())
