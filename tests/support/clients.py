"""How tests talk to a stage."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256

from authz.demo import Stage
from authz.demo.client import Connection, ask, client_context
from authz.demo.mint import HOST
from authz.demo.processes import START_SECONDS
from support.directory import DirectoryStore

CRL_NUMBERS = itertools.count(2)
"""The first CRL of every world has number 1."""

Dial = Callable[..., Connection]
"""`dial(stage, "alice", context=…)`: a connection as the holder of a certificate."""


def bearer(stage: Stage, user: str) -> list[tuple[str, str]]:
    """The header with a token for `user`."""
    return [("authorization", f"Bearer {stage.token(user)}")]


def family(process: int) -> list[int]:
    """A process and all below it, by their ids."""
    children = " ".join(one.read_text() for one in Path(f"/proc/{process}/task").glob("*/children")).split()
    return [process, *(one for child in children for one in family(int(child)))]


@contextlib.contextmanager
def retired(stage: Stage, name: str = "alice") -> Iterator[None]:
    """Somebody's certificate is retired, and registered again afterwards."""
    with contextlib.closing(DirectoryStore(stage.world.database)) as store:
        shown = stage.world.clients[name].certificate.fingerprint(SHA256())
        for one in store.registrations("acme", name):
            if one.registration.sha256 == shown and one.registration.retired_at is None:
                store.retire(one.registration.id, stage.world.mint.now)
        yield
        stage.world.register(store, name, name)
    until_allowed(stage, name)


@contextlib.contextmanager
def revoked(stage: Stage, name: str = "alice") -> Iterator[None]:
    """Somebody's certificate is revoked, and a CRL without it published afterwards."""
    with contextlib.closing(DirectoryStore(stage.world.database)) as store:
        store.add_crl(stage.world.crl("issuing", "revoked", name, number=next(CRL_NUMBERS)), stage.world.mint.now)
        yield
        store.add_crl(stage.world.crl("issuing", "revoked", number=next(CRL_NUMBERS)), stage.world.mint.now)
    until_allowed(stage, name)


def until_allowed(stage: Stage, name: str) -> None:
    """Ask until the user is allowed with the user's own certificate."""
    folder = stage.world.folder
    context = client_context(folder / "roots.pem", folder / f"{name}.pem")
    deadline = time.monotonic() + START_SECONDS
    while ask(stage.proxy.port, context, HOST, bearer(stage, name)).status != 200:
        assert time.monotonic() < deadline, f"{name} is never allowed again"


@contextlib.contextmanager
def stopped(stage: Stage) -> Iterator[None]:
    """The stage's service has ended, and is started again afterwards."""
    stage.service.stop()
    try:
        yield
    finally:
        stage.service.start()


@contextlib.contextmanager
def paused(stage: Stage) -> Iterator[None]:
    """The stage's service hangs: its supervisor, its keeper and its workers."""
    process = stage.service.process
    if process is None:
        raise RuntimeError("the service does not run")
    stopped = family(process.pid)
    for one in stopped:
        os.kill(one, signal.SIGSTOP)
    try:
        yield
    finally:
        for one in stopped:
            os.kill(one, signal.SIGCONT)
