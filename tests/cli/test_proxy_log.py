"""`authz why --proxy-log`, as an operator uses it."""

from __future__ import annotations

import gzip
import json
import os
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support.command_world import ALICE, Run, write

from authz.cli import proxy_log

REFUSED = {"event": "handshake_refused", "reason": "certificate verification error at depth 0: certificate has expired"}
OWN = {**REFUSED, "subject": "CN=alice", "certificate": ALICE.sha256.hex()}
STRANGE = {**REFUSED, "subject": "CN=\u202e\u001b[2Jnone", "certificate": "00" * 32}


@pytest.fixture
def log() -> str:
    """One with a handshake of alice's, one of a stranger's, and noise."""
    return write("proxy.log", "".join(json.dumps(line) + "\n" for line in (OWN, STRANGE, "noise")))


def test_refused_handshakes_are_listed_with_whose_they_are(acme: Run, log: str) -> None:
    """And what to do; of a user those of the user's certificates alone."""
    done = acme("why", "--proxy-log", log, "--json")
    rows: Any = done.data
    assert [(row["certificate"], row["users"]) for row in rows] == [
        (ALICE.sha256.hex(), ["alice of acme"]),
        ("00" * 32, []),
    ]
    assert rows[0]["do"].startswith("renew")
    assert done.err == "2 refused handshakes; 0 older ones left out; 1 lines that are no access log of deploy/\n"
    mine: Any = acme("why", "acme", "alice", "--proxy-log", log, "--json").data
    assert [row["subject"] for row in mine] == ["CN=alice"]


def test_bytes_of_a_stranger_are_escaped(acme: Run, log: str) -> None:
    """None of them draws on the operator's terminal."""
    out = acme("why", "--proxy-log", log).out
    assert "\u202e" not in out
    assert "\x1b" not in out


@pytest.mark.parametrize("words", [("5e7fa3",), ("acme", "alice", "x"), ("--save", "x.pem")])
def test_log_goes_with_a_user_or_alone(acme: Run, log: str, words: tuple[str, ...]) -> None:
    """Anything else is a usage error, as is nothing at all."""
    assert acme("why", *words, "--proxy-log", log).code == 2
    assert acme("why").code == 2


def test_file_that_cannot_be_read_is_one_sentence(acme: Run) -> None:
    """With what to do."""
    done = acme("why", "--proxy-log", "nothing.log")
    assert (done.code, "name the proxy's access log" in done.err) == (1, True)


def test_compressed_log_is_said_to_be(acme: Run, log: str) -> None:
    """As rotated ones are: it has no line of its own, and what is printed reads it."""
    Path("rotated 1.gz").write_bytes(gzip.compress(Path(log).read_bytes()))
    done = acme("why", "--proxy-log", "rotated 1.gz")
    assert (done.code, done.out) == (1, "")
    assert done.err.endswith("hint: zcat 'rotated 1.gz' | authz why --proxy-log /dev/stdin\n")


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/"])
def test_device_and_folder_are_refused(acme: Run, path: str) -> None:
    """The first has no end, and no line either."""
    done = acme("why", "--proxy-log", path)
    assert (done.code, f"{path} is neither a file nor a pipe" in done.err) == (1, True)


def test_log_comes_through_a_pipe_and_lines_that_are_too_long_are_counted(acme: Run) -> None:
    """As of a log that is unpacked, or cut, on its way."""
    os.mkfifo("pipe")
    lines = "x" * 200_000 + "\n" + json.dumps(OWN) + "\n" + "y" * 200_000
    writer = Thread(target=write, args=("pipe", lines))
    writer.start()
    done = acme("why", "--proxy-log", "pipe", "--json")
    writer.join()
    rows: Any = done.data
    assert [row["subject"] for row in rows] == ["CN=alice"]
    assert "2 lines that are no access log" in done.err


def test_pipe_without_an_end_is_read_no_further_than_a_bound(acme: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in lines nor within one; it is said."""
    monkeypatch.setattr(proxy_log, "MAX_OF_PIPE", 100_000)
    os.mkfifo("pipe")
    for end in ("x" * 200_000, "{}\n" * 100_000):
        writer = Thread(target=write_until_closed, args=(json.dumps(OWN) + "\n" + end,))
        writer.start()
        done = acme("why", "--proxy-log", "pipe", "--json")
        writer.join()
        rows: Any = done.data
        assert ([row["subject"] for row in rows], "no more than 100000 bytes" in done.err) == (["CN=alice"], True)


def write_until_closed(text: str) -> None:
    """Write into the pipe, again and again, as long as something reads it."""
    with suppress(BrokenPipeError), Path("pipe").open("w") as pipe:
        while True:
            pipe.write(text)
