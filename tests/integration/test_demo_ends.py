"""`authz demo`, ended by whatever ends it: no process and no key is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.worker_processes import until

pytestmark = pytest.mark.envoy
STARTING, STANDING = "starting the service", "it stays up"


class Demo:
    """The demonstration as a process of its own, with a folder for what is temporary."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.said = folder.parent / f"{folder.name}.log"
        self.said.touch()
        with self.said.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "authz", "demo", *options],
                stdout=log,
                stderr=log,
                env={**os.environ, "TMPDIR": str(folder)},
                start_new_session=True,
            )

    def until_it_says(self, words: str) -> None:
        """Wait for a line of it."""
        until(lambda: words in self.said.read_text() or self.process.poll() is not None)
        assert words in self.said.read_text()

    @property
    def group(self) -> set[int]:
        """All its processes that have not ended, itself among them: they are of one session."""
        found = set()
        for one in Path("/proc").iterdir():
            if one.name.isdecimal():
                try:
                    state, _, _, session = (one / "stat").read_text().rpartition(")")[2].split()[:4]
                except OSError:
                    continue
                if int(session) == self.process.pid and state != "Z":
                    found.add(int(one.name))
        return found

    def left(self) -> list[str]:
        """What is in its temporary folder."""
        return sorted(one.name for one in self.folder.iterdir())


@pytest.fixture
def demo(envoy: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One that was started; a socket's path has 107 bytes at most, and the test's own folder has a long name."""
    made = tmp_path_factory.mktemp("d") / "made"
    made.mkdir()
    demo = Demo(made)
    yield demo
    for one in demo.group:
        os.kill(one, signal.SIGKILL)
    demo.process.wait()


@pytest.mark.parametrize("words", [STARTING, STANDING])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_demo_that_is_ordered_to_end_leaves_nothing(demo: Demo, number: signal.Signals, words: str) -> None:
    """Neither while it starts nor while it stands, and a second signal does not end it sooner than it is done."""
    demo.until_it_says(words)
    assert demo.left()
    for _ in range(3):
        demo.process.send_signal(number)
    demo.process.wait(60)
    if number is not signal.SIGINT:
        assert demo.process.returncode == 128 + number
    assert (demo.group, demo.left()) == (set(), [])


def test_demo_that_is_killed_ends_its_processes_and_the_next_removes_its_keys(demo: Demo, tmp_path: Path) -> None:
    """The kernel signals them; the folder that no process holds any more is removed and reported, one in use is not."""
    demo.until_it_says(STANDING)
    assert len(demo.group) >= 5
    demo.process.kill()
    demo.process.wait()
    until(lambda: demo.group == set())
    (left,) = (one for one in demo.folder.glob("authz-demo-*"))
    assert list(left.glob("*.key"))
    os.utime(left, (0, 0))
    following = Demo(demo.folder)
    try:
        following.until_it_says(STARTING)
        assert not left.exists()
        assert f"removed {left}" in following.said.read_text()
        (held,) = (one for one in demo.folder.glob("authz-demo-*"))
        os.utime(held, (0, 0))
        third = Demo(demo.folder, "--once")
        third.process.wait(60)
        assert held.exists()
    finally:
        following.process.terminate()
        following.process.wait(60)
    assert demo.left() == []
