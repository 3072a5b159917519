"""What the process that indexes one CRL does."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.certificates import Authority, new_key

from authz.crls.indexing.client import COMMAND
from authz.crls.indexing.process import IMAGE, MAX_ANSWER, answer, read_all, split_keys
from authz.crls.indexing.sealed_memory import map_sealed
from authz.pki.crl.image import open_image
from authz.pki.x509.distinguished_name import Name

CA = Authority.root("CA")


def spki_of(authority: Authority) -> bytes:
    """The SubjectPublicKeyInfo of its key."""
    return authority.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of what is answered on."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def test_answer_is_an_image_in_sealed_memory(pair: tuple[socket.socket, socket.socket]) -> None:
    """One message, one descriptor."""
    ours, theirs = pair
    answer(theirs, CA.crl(5), [spki_of(CA)])
    message, (image,), _, _ = socket.recv_fds(ours, MAX_ANSWER, 4)
    assert message == IMAGE
    assert open_image(map_sealed(image)).index.find(5, Name(CA.certificate.subject)) is not None


def test_answer_about_a_crl_that_is_refused_is_its_reason(pair: tuple[socket.socket, socket.socket]) -> None:
    """And no descriptor."""
    ours, theirs = pair
    answer(theirs, CA.crl(5)[:-1], [spki_of(CA)])
    message, descriptors, _, _ = socket.recv_fds(ours, MAX_ANSWER, 4)
    assert (message.startswith(b"crl_malformed\0"), descriptors) == (True, [])


def test_images_of_one_crl_have_keys_of_their_own(pair: tuple[socket.socket, socket.socket]) -> None:
    """So that it cannot be known which certificates collide."""
    ours, theirs = pair
    found = []
    for _ in range(2):
        answer(theirs, CA.crl(5), [spki_of(CA)])
        found.append(bytes(map_sealed(socket.recv_fds(ours, MAX_ANSWER, 4)[1][0])))
    assert found[0] != found[1]


def test_keys_are_taken_apart() -> None:
    """Each as it was."""
    keys = [spki_of(CA), spki_of(Authority.root(key=new_key("rsa2048")))]
    assert split_keys(b"".join(keys)) == keys
    assert split_keys(b"") == []


def test_keys_that_are_cut_short_are_an_error() -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="DER"):
        split_keys(spki_of(CA)[:-1])


def test_file_is_read_from_its_beginning(tmp_path: Path) -> None:
    """Wherever the descriptor stands, and no further than it was long."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with path.open("rb") as file:
        file.seek(3)
        assert read_all(file.fileno(), 6) == b"conten"
        assert read_all(file.fileno(), 6) == b"conten"


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Another process that runs `code`."""
    begin = "import os, resource\nfrom authz.crls.indexing.process import limit\n"
    return subprocess.run([sys.executable, "-c", begin + code], capture_output=True, text=True, check=False)


def test_limits_bound_memory_by_the_length_of_the_crl() -> None:
    """More than the bound is a MemoryError, and the process's end."""
    assert run("limit(0); bytearray(1 << 30)").stderr.endswith("MemoryError\n")
    assert run("limit(1 << 28); bytearray(1 << 30)").returncode == 0


def test_limits_bound_cpu_by_the_length_of_the_crl() -> None:
    """And no core is left of what had the CRL in it."""
    done = run(
        "limit(5 << 20); print(resource.getrlimit(resource.RLIMIT_CPU), resource.getrlimit(resource.RLIMIT_CORE))"
    )
    assert done.stdout == "(15, 15) (0, 0)\n"


def test_limits_that_are_narrower_already_stay() -> None:
    """The operator may have set some."""
    narrow = "resource.setrlimit(resource.RLIMIT_CPU, (3, 4)); limit(0); print(resource.getrlimit(resource.RLIMIT_CPU))"
    assert run(narrow).stdout == "(3, 3)\n"


# Starts the process with the arguments given, and dies as soon as it has come to its work.
STARTER = """
import os, subprocess, sys
descriptors = [int(one) for one in sys.argv[-3:]]
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, pass_fds=descriptors)
while len(os.listdir(f"/proc/{child.pid}/task")) < 2:
    pass
os.kill(os.getpid(), 9)
"""


def test_process_ends_with_the_one_that_started_it(tmp_path: Path, pair: tuple[socket.socket, socket.socket]) -> None:
    """However that one ends: here the process would wait for ever until its answer is taken."""
    ours, theirs = pair
    path = tmp_path / "crl"
    path.write_bytes(CA.crl(5))
    theirs.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            theirs.send(b"full")
    theirs.setblocking(True)
    with path.open("rb") as file:
        descriptors = file.fileno(), os.memfd_create("keys"), theirs.fileno()
        command = [sys.executable, "-c", STARTER, *COMMAND, *map(str, descriptors)]
        done = subprocess.run(command, pass_fds=descriptors, check=False)
    assert done.returncode == -signal.SIGKILL
    theirs.close()
    hung_up = select.poll()
    hung_up.register(ours, 0)
    assert hung_up.poll(60_000) == [(ours.fileno(), select.POLLHUP)]
