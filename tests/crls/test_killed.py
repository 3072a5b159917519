"""A service that is killed while it installs what it fetched."""

from __future__ import annotations

import http.server
import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.big_crl import big_crl, serials
from support.certificates import Authority
from support.crl_subscriber_script import CA as CA_FILE
from support.kept_crls import read_kept
from support.process_kill import TESTS, Writers

from authz.crls.acceptance import SignedCrl
from authz.crls.disk_store import TEMPORARY, CrlDiskStore, FetchRecord
from authz.crls.failures import FailureKind, FetchFailed
from authz.crls.indexing.client import index_crl
from authz.crls.store import CrlRegistry
from authz.pki import Crl

KILLS = 50
CA = Authority.root("CA")
LISTED = serials(600)
"""A CRL of 24 KB, one write of which may be cut anywhere."""

BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)


def numbered(number: int) -> bytes:
    """The CRL of that number, each a second younger than the one before."""
    return big_crl(CA, LISTED, BEGIN + timedelta(seconds=number), BEGIN + timedelta(days=9), number=number)


class Publisher(http.server.ThreadingHTTPServer):
    """Answers each request with a newer CRL; `number` is of the last."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.number = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}/ca.crl"

    def handle_error(self, *_: object) -> None:
        """The process that asked was killed."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Gives the next CRL."""

    def do_GET(self) -> None:
        """See `Publisher`."""
        assert isinstance(self.server, Publisher)
        with self.server.lock:
            self.server.number += 1
            body = numbered(self.server.number)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    """A CA's server."""
    with Publisher() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def writers() -> Iterator[Writers]:
    """Services to kill."""
    made = Writers(TESTS / "support" / "crl_subscriber_script.py")
    yield made
    made.close()


async def started(folder: Path) -> tuple[CrlRegistry, list[str]]:
    """What a service that starts holds, and what it warns of."""
    warnings: list[str] = []

    async def authorities() -> list[bytes]:
        return [CA.der]

    with CrlDiskStore(folder) as keep:
        registry = CrlRegistry(keep, index_crl, warnings.append)
        await read_kept(registry, authorities, datetime.now(UTC))
        assert not list(folder.glob(f"{TEMPORARY}*"))
        return registry, warnings


async def test_killed_service_uses_the_newest_complete_crl_after_each_restart(
    publisher: Publisher, writers: Writers, tmp_path: Path
) -> None:
    """Fifty times at random moments, mostly amid an installation: what was held is held, or newer, and nothing odd."""
    (tmp_path / CA_FILE).write_bytes(CA.der)
    folder, chance, last, moved = tmp_path / "crls", random.Random(), 0, 0
    for _ in range(KILLS):
        told = writers.killed(folder, publisher.url, last, after=chance.randrange(1, 5), pause=chance.random() / 50)
        registry, warnings = await started(folder)
        assert warnings == []
        [copy] = registry
        held = copy.crl.number or 0
        assert last <= told <= held <= publisher.number
        assert copy.crl.this_update == BEGIN + timedelta(seconds=held)
        assert len(copy.crl.index) == len(LISTED)
        moved += held > last
        last = held
    assert moved > KILLS / 2
    await assert_nothing_older_is_taken(folder, last)


async def assert_nothing_older_is_taken(folder: Path, last: int) -> None:
    """What the last kill left is what a replay has to get past."""
    registry, _ = await started(folder)
    [copy] = registry
    (folder / "given").write_bytes(older := numbered(last - 1))
    with pytest.raises(FetchFailed) as caught:
        await registry.accept(
            folder / "given",
            SignedCrl(Crl(older), copy.signer),
            FetchRecord("", None, None, BEGIN),
            datetime.now(UTC),
        )
    assert caught.value.kind is FailureKind.OLDER
