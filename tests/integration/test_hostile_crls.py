"""What one tenant's CA publishes as a CRL costs another tenant not a single request."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.certificates import tlv
from support.clients import Dial, bearer, family
from support.directory import DirectoryStore
from support.hostile_crls import (
    DELTA,
    HEADS,
    MARKS,
    NUMBER,
    PRIVATE,
    REASON,
    URL,
    attribute,
    certificate_issuer,
    directory_name,
    entry,
    extension,
    now,
    point,
    signed,
)
from test_crl_sources import Publisher

from authz.demo import Stage
from authz.demo.client import Connection, client_context
from authz.demo.mint import NEIGHBOUR_HOST, Party
from authz.demo.processes import running
from authz.demo.world import NEIGHBOUR
from authz.model import Enforcement

pytestmark = [pytest.mark.envoy, pytest.mark.usefixtures("envoy")]

MIB = 1 << 20
SCOPES = 5


def differing_issuers(count: int) -> bytes:
    """Entries each of which names another issuer, of 1,900 bytes."""
    long = [attribute("x" * 1_800), *[attribute("")] * 5]
    return b"".join(
        entry(10**9 + number, certificate_issuer(directory_name(attribute(str(number)), *long)))
        for number in range(count)
    )


def removals(count: int) -> bytes:
    """Entries whose certificates all have one issuer, named once."""
    gone = extension(REASON, tlv(0x0A, b"\x08"))
    first = entry(10**9, certificate_issuer(directory_name(attribute("x" * 1_800))), gone)
    return first + b"".join(entry(10**9 + number, gone) for number in range(1, count))


def published_by(ca: Party) -> Iterator[tuple[str, bytes, str]]:
    """CRLs that the CA signed, by what is bad about them, and the outcome expected of the source."""

    def crl(*extensions: bytes, listed: bytes = b"") -> bytes:
        return signed(ca, *extensions, listed=listed, begin=now())  # type: ignore[arg-type]

    indirect = point(URL, indirect=True)
    number, delta = extension(NUMBER, tlv(2, b"\x05")), extension(DELTA, tlv(2, b"\x01"), critical=True)
    yield "marks", crl(point(directory_name(attribute(MARKS * 25_000)))), "malformed"
    yield "names", crl(point(*[URL] * (8 * MIB // len(URL)))), "malformed"
    yield "marks that pass", crl(point(*[directory_name(attribute(("x" + "\u0316" * 20) * 40))] * 16)), "accepted"
    yield "names that pass", crl(point(*[directory_name(attribute(f"{n:0200}")) for n in range(200)])), "accepted"
    yield "issuers", crl(indirect, listed=differing_issuers(2_000)), "accepted"
    yield "one issuer", crl(delta, number, indirect, listed=removals(100_000)), "accepted"
    yield "long issuer", crl(indirect, listed=entry(5, certificate_issuer(*[URL] * 17))), "malformed"
    yield "number", crl(*HEADS["a number"](50_000)), "malformed"
    yield "length", b"\x30\x84\x00\x10\x00\x00" + bytes(MIB), "not_a_crl"
    yield from ((f"unknown {n}", crl(extension(PRIVATE, bytes(101 * MIB - n))), "malformed") for n in range(SCOPES))


@contextmanager
def asking(stage: Stage) -> Iterator[list[int]]:
    """The statuses of a neighbour's requests, one behind the other, until the end."""
    statuses: list[int] = []
    done = threading.Event()
    headers = [("authorization", f"Bearer {stage.world.mint.token('alice', org=NEIGHBOUR)}")]
    folder = stage.world.folder
    context = client_context(folder / "roots.pem", folder / "globex-alice.pem")

    def ask() -> None:
        with contextlib.closing(Connection(stage.envoy.port, context, NEIGHBOUR_HOST)) as connection:
            while not done.is_set():
                statuses.append(connection.get(headers=headers).status)
                time.sleep(0.01)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield statuses
    finally:
        done.set()
        thread.join()


def test_neighbour_is_answered_while_a_tenants_ca_publishes_the_worst_crls(tmp_path: Path, dial: Dial) -> None:
    """Each from a point of its own and a real server; no process of the service ends, and its memory stays small."""
    settings = '\n[crl]\nnetworks = ["127.0.0.0/8"]\nmin_interval = "1s"\nmax_interval = "2s"\nrefresh_ahead = "0s"\n'
    stage = Stage(tmp_path, settings=settings)
    expected: dict[str, str] = {}
    with running(stage.application, stage.service, stage.envoy):
        process = stage.service.process
        assert process is not None
        before = family(process.pid)
        with asking(stage) as statuses:
            root = stage.world.authorities["root"]
            fresh = stage.world.mint.authority("Acme Fresh CA", root)
            servers = []
            for name, body, outcome in published_by(fresh):
                servers.append(server := Publisher(body))
                expected[server.url] = outcome
                show(stage, dial, name, fresh, server.url)
            wait_for_outcomes(stage, expected)
        for server in servers:
            server.stop()
        assert set(statuses) == {200}
        assert len(statuses) > 100
        assert [one for one in before if one not in family(process.pid)] == []
        assert max(map(memory_of, before)) < 300 * MIB
    assert not [line for line in stage.service.log if "killed" in line or "replaced" in line]


class Library(Publisher):
    """A CA's web server with a CRL of its own for each path."""

    def __init__(self, ca: Party) -> None:
        self._ca = ca
        super().__init__(b"")
        self.root = self.url.rpartition("/")[0]
        self.served: set[str] = set()

    def body_of(self, path: str) -> bytes:
        """A small CRL whose scope is that point."""
        self.served.add(path)
        return signed(self._ca, point(tlv(0x86, f"{self.root}{path}".encode())), begin=now())  # type: ignore[arg-type]


def test_neighbour_is_answered_while_a_tenant_names_more_crls_than_a_process_may_have_descriptors(
    tmp_path: Path, dial: Dial
) -> None:
    """The limit is 300; what the tenant's CRLs may take of it leaves room for all connections."""
    intervals = 'min_interval = "1h"\nmax_interval = "2h"'
    limits = f'\n[crl]\nnetworks = ["127.0.0.0/8"]\n{intervals}\ndistribution_points_each = 600\n'
    stage = Stage(tmp_path, settings=limits)
    stage.service.command = ("/usr/bin/prlimit", "--nofile=300:300", *stage.service.command)
    with running(stage.application, stage.service, stage.envoy):
        process = stage.service.process
        assert process is not None
        before = family(process.pid)
        fresh = stage.world.mint.authority("Acme Fresh CA", stage.world.authorities["root"])
        library = Library(fresh)
        with asking(stage) as statuses:
            for part in range(40):
                show(stage, dial, f"shelf {part}", fresh, *(f"{library.root}/{part}-{place}" for place in range(15)))
            wait_until(lambda: len(library.served) == 600)
            answered = len(statuses)
            wait_until(lambda: len(statuses) > answered + 100)
        library.stop()
        assert set(statuses) == {200}
        assert dial(stage, "alice").get(headers=bearer(stage, "alice")).status == 200
        assert [member for member in before if member not in family(process.pid)] == []
        assert max(len(list(Path(f"/proc/{member}/fd").iterdir())) for member in before) < 250
    assert not [line for line in stage.service.log if "killed" in line or "Too many open files" in line]


def wait_until(condition: Callable[[], bool]) -> None:
    """Ask for a minute. Raises `AssertionError`."""
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("not in a minute")


def show(stage: Stage, dial: Dial, name: str, ca: Party, *urls: str) -> None:
    """A user of the tenant shows a certificate that names the URLs."""
    user = name.replace(" ", "-")
    stage.world.clients[user] = stage.world.mint.client(user, ca, crls=urls)
    stage.world.clients[user].write(stage.world.folder, user)
    store = DirectoryStore(stage.world.database)
    store.add_user("acme", user, Enforcement.OFF)
    store.close()
    for _ in range(50):
        answer = dial(stage, user).get(headers=bearer(stage, user))
        if stage.reason(answer) != "user_unknown":
            return
        time.sleep(0.1)


def wait_for_outcomes(stage: Stage, expected: dict[str, str]) -> None:
    """Until every source was tried."""
    found: dict[str, str] = {}
    with contextlib.closing(DirectoryStore(stage.world.database)) as store:
        for _ in range(360):
            tried = [source for source in store.crl_sources() if source.outcome]
            found = {source.location: source.outcome for source in tried if source.location in expected}
            if found.keys() == expected.keys():
                break
            time.sleep(0.25)
    assert {one: "accepted" if got == "unchanged" else got for one, got in found.items()} == expected


def memory_of(process: int) -> int:
    """Its own memory, in bytes."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) * 1024
