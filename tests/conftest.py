"""Where the tests write, and what the processes that they start inherit."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

MEMORY = Path("/dev/shm")  # noqa: S108 - pytest makes a folder there that is its user's alone
ROOM = 2_000_000_000
"""Bytes; a whole run leaves some 100 MB, and a container's 64 MB are too few."""

# In memory, if there is room: on a disk each commit of SQLite waits for it.
if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
    os.environ["TMPDIR"] = str(MEMORY)
    tempfile.tempdir = None

# Without bytecode that is kept, each of the hundreds of processes that are started compiles the program anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell has what runs in its background ignore signals, and a process inherits that: here they count as in a terminal.
for number, handler in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

# What is collected stays to the end: the garbage collector need not look through it while it is made, nor later.
gc.disable()


def pytest_collection_finish() -> None:
    """From here on, only what the tests make is looked through."""
    gc.collect()
    gc.freeze()
    gc.enable()


# No test depends on elapsed time. `make quick` draws few examples.
settings.register_profile("without deadline", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=10)
settings.load_profile("without deadline")

LONGEST_IN_AN_ID = 40


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Long or binary values are named by their argument: a freshly minted digest differs between xdist's workers."""
    if not isinstance(val, str | bytes):
        return None
    printable = isinstance(val, str) or (val.isascii() and val.decode("ascii").isprintable())
    return None if printable and len(val) <= LONGEST_IN_AN_ID else argname


FIRST = ("containers", "integration", "supervision", "crls", "test_memory.py", "test_matrix.py", "vectors", "doctor")
"""The folders and files with the longest tests: begun last, they would leave the other processes without work."""

LAST = "test_workers.py"
"""Kills and starts every process again and again, and lets no good request be refused. Beside other tests that start
processes, two cores leave a worker without its turn for 2 seconds, after which it must refuse: so it runs behind all.
"""


class FilesApart(LoadFileScheduling):  # type: ignore[misc]
    """Each file runs in one process, so that what it starts is started once; the containers' files in the same one."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "tests/containers" if file.startswith("tests/containers/") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadFileScheduling | None:
    """For `make test`; others have what they ask for."""
    return FilesApart(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first; else as they stand. A test of PostgreSQL starts its server, and is slow."""
    for item in items:
        if hasattr(item, "callspec") and "postgresql" in item.callspec.params.values():
            item.add_marker(pytest.mark.slow)
    place = {folder: number for number, folder in enumerate(FIRST)}

    def order(item: pytest.Item) -> int:
        if item.path.name == LAST:
            return len(FIRST) + 1
        return place.get(item.path.relative_to(Path(__file__).parent).parts[0], len(FIRST))

    items.sort(key=order)
