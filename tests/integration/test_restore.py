"""The directory restored by SQLite's own shell while workers answer behind Envoy: what was taken back is forgotten."""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import time

import pytest
from support.clients import Dial, bearer
from support.requirements import need
from support.worker_processes import Direct, children, events, rounds, until

from authz.demo import Stage

pytestmark = pytest.mark.envoy


def test_what_a_restore_took_back_passes_no_worker(crew: Stage, dial: Dial) -> None:
    """Several times at random moments, with a change at once, so that the number is the one of before.

    Alice is required, and was off for a while: then bob's certificate passed with her token. Each worker is asked on
    connections of its own, and through Envoy; each says that it read everything anew.
    """
    need("sqlite3", found=shutil.which("sqlite3") is not None)
    times = rounds(20)
    copy = crew.world.folder / "copy.db"
    moments = random.Random(14)

    def shell(*words: str) -> None:
        file = str(crew.world.folder / "authz.db")
        command = ["sqlite3", "-init", "/dev/null", "-bail", file, ".timeout 5000", *words]
        subprocess.run(command, check=True, capture_output=True)

    through_envoy = dial(crew, "bob")
    with contextlib.closing(Direct(crew, "bob")) as direct:
        direct.reach_each_worker(crew)

        def all_say(status: int) -> bool:
            proxied = through_envoy.get(headers=bearer(crew, "alice")).status
            return direct.all_say(status) and proxied == status

        until(lambda: all_say(403))
        for _ in range(times):
            shell(f".backup {copy}", "UPDATE users SET enforcement = 'off' WHERE name = 'alice'")
            until(lambda: all_say(200))
            time.sleep(moments.random() / 5)
            shell(f".restore {copy}", "UPDATE users SET active = 0 WHERE name = 'olga'")
            until(lambda: all_say(403))
            assert all_say(403)
    # Each worker has answered by what was taken back; the CRL manager may have looked before and after only.
    workers = len(children(crew)) - 1
    until(lambda: sum("everything is read again" in line for line in crew.service.log) >= times * workers)
    assert events(crew, "ready") == 1
