"""What was refused at the proxy, as the operator finds it a moment later."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from authz.demo import Stage
from authz.demo.rows import ROWS

pytestmark = pytest.mark.envoy
REFUSED = next(row for row in ROWS if row.certificate == "bob" and row.expected == 403)


def authz(stage: Stage, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, over the stage's directory."""
    environment = {**os.environ, "AUTHZ_DATABASE": stage.world.database}
    command = [sys.executable, "-m", "authz", "--config", str(stage.world.folder / "authz.toml"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_refused_request_is_found_by_the_id_the_client_was_given(stage: Stage) -> None:
    """And decides the same again, while nothing changes."""
    answer, _ = stage.ask(REFUSED)
    key = json.loads(answer.body)["decision_id"]
    deadline = time.monotonic() + 30
    while (found := authz(stage, "decisions", "show", key, "--json")).returncode and time.monotonic() < deadline:
        time.sleep(0.1)
    told = json.loads(found.stdout)
    assert (told["reason"], told["user"], told["subject"]) == (REFUSED.reason, "alice", "CN=bob")
    replayed = authz(stage, "check", "--replay", key)
    assert replayed.returncode == 1
    assert "nothing is different" in replayed.stderr
