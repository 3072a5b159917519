"""What a machine may lack: without it a test is skipped, visibly, or fails where it is required."""

from __future__ import annotations

import os
import subprocess

import pytest


def need(what: str, *, found: bool) -> None:
    """Skip, visibly, without a program; fail where it is required (`REQUIRE_<WHAT>`)."""
    if found:
        return
    if os.environ.get(f"REQUIRE_{what.upper()}"):
        pytest.fail(f"REQUIRE_{what.upper()} is set, and there is no {what}", pytrace=False)
    pytest.skip(f"there is no {what} on this machine")


def docker_found() -> bool:
    """Whether a docker daemon answers, and there is `docker compose`."""
    try:
        for words in (("version",), ("compose", "version")):
            subprocess.run(["docker", *words], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True
