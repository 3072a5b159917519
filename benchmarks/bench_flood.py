"""What a hostile neighbour costs: one organization's latency and the service's memory while another floods.

`authz serve` runs as a process of its own over a Unix socket; the victim asks a known check a few hundred
times a second on one connection, the neighbour as fast as four connections let him, and 64. How far the victim's
latency moves is compared with what as many connections of ordinary requests do to it. How many of the neighbour's
requests got 503 is said, too.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import uvloop
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from support.certificates import Authority, Minted
from support.directory import DirectoryStore, new_store

from authz.demo.processes import ServiceProcess
from authz.headers import present
from authz.model import Organization, TokenSettings
from authz.pki import Certificate, Crl

NOW = datetime.now(UTC).replace(microsecond=0)
LIFE = {"not_before": NOW - timedelta(days=1), "not_after": NOW + timedelta(days=30)}
CRL_SINCE, CRL_UNTIL = NOW - timedelta(hours=1), NOW + timedelta(days=1)
SECONDS = 4.0
LEAVES = 10_000
NEW_LEAVES = "10,000 leaves"
CONNECTIONS = (4, 64)
KEY = ec.generate_private_key(ec.SECP256R1())


class Tenant:
    """An organization with its CA, one user and his certificate."""

    def __init__(self, name: str) -> None:
        self.name, self.host = name, f"{name}.example.test"
        self.root = Authority.root("Root", **LIFE)
        self.ca = self.root.intermediate("CA", **LIFE)
        self.alice = self.ca.leaf("alice", **LIFE)

    def fill(self, store: DirectoryStore, keys: Path) -> None:
        """Put it into the directory."""
        token = TokenSettings(issuer="https://i", audience=self.name, keys=str(keys))
        store.add_organization(Organization(0, self.name, (self.host,), token=token))
        store.add_anchors(self.name, [parsed(self.root)])
        store.add_intermediates(self.name, [parsed(self.ca)])
        for one in (self.root, self.ca):
            store.add_crl(Crl(one.crl(this_update=CRL_SINCE, next_update=CRL_UNTIL)), NOW)
        store.add_user(self.name, "alice")
        store.register(self.name, "alice", parsed(self.alice), now=NOW)

    def claims(self, user: str = "alice") -> dict[str, object]:
        """What a token says."""
        return {"iss": "https://i", "aud": self.name, "sub": user, "exp": NOW.timestamp() + 86_400}

    def ask(self, *, user: str = "alice", certificate: bytes = b"", host: str = "") -> bytes:
        """A request as the proxy makes it, the payload verified there."""
        payload = urlsafe_b64encode(json.dumps(self.claims(user)).encode()).rstrip(b"=")
        value = certificate or present(self.alice.der, [self.ca.der])
        return octets(host or self.host, x_forwarded_client_cert=value, x_authz_payload=payload)


def parsed(one: Minted) -> Certificate:
    """A minted certificate, read."""
    return Certificate.parse(one.der)


def octets(host: str, **headers: bytes) -> bytes:
    """A request."""
    lines = b"".join(name.replace("_", "-").encode() + b": " + value + b"\r\n" for name, value in headers.items())
    return b"GET /v1/check/ HTTP/1.1\r\nhost: " + host.encode() + b"\r\n" + lines + b"\r\n"


def floods(evil: Tenant, leaves: list[bytes]) -> dict[str, tuple[str, Callable[[int], bytes]]]:
    """The neighbour's requests by what varies in them: the socket they go to, and the one of each number."""
    small = octets(evil.host)
    fat = evil.ask(certificate=present(evil.alice.der, [evil.ca.der] * 120)[:145_000])
    ordinary = evil.ask()
    header = {"kid": "x", "alg": "ES256"}

    def token(number: int) -> bytes:
        head = urlsafe_b64encode(json.dumps({**header, "kid": f"k{number}"}).encode()).rstrip(b"=")
        body = urlsafe_b64encode(json.dumps(evil.claims()).encode()).rstrip(b"=")
        return octets(evil.host, authorization=b"Bearer " + head + b"." + body + b"." + b"A" * 86)

    return {
        "ordinary requests": ("payload", lambda _: ordinary),
        "145 KB chains, tiny ones behind": ("payload", lambda number: small if number % 10 else fat),
        "random hosts": ("payload", lambda number: evil.ask(host=f"h{number}.example.test")),
        "random users": ("payload", lambda number: evil.ask(user=f"u{number}")),
        "random key ids": ("token", token),
        NEW_LEAVES: ("payload", lambda number: evil.ask(certificate=leaves[number % len(leaves)])),
    }


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
    return int(head[9:12])


async def _flood(path: str, numbers: range, least: int, make: Callable[[int], bytes]) -> Counter[int]:
    """Ask as fast as one connection lets it, for a while and `least` times at least; how often with which status."""
    reader, writer = await asyncio.open_unix_connection(path, limit=2**20)
    until, asked = time.monotonic() + SECONDS, Counter[int]()
    for number in numbers:
        if time.monotonic() >= until and asked.total() >= least:
            break
        asked[await _ask(reader, writer, make(number))] += 1
    writer.close()
    return asked


def _neighbour(
    path: str,
    connections: int,
    first: int,
    least: int,
    make: Callable[[int], bytes],
    pipe: multiprocessing.connection.Connection,
) -> None:
    async def run() -> Counter[int]:
        shares = (range(first + number, sys.maxsize, connections) for number in range(connections))
        counts = await asyncio.gather(*(_flood(path, share, least // connections, make) for share in shares))
        return sum(counts, Counter())

    started = time.monotonic()
    asked = uvloop.run(run())
    pipe.send((asked, asked.total() / (time.monotonic() - started)))


def lasting(seconds: float) -> Callable[[], bool]:
    """Whether the time is not over."""
    until = time.monotonic() + seconds
    return lambda: time.monotonic() < until


async def _victim(path: str, request: bytes, going: Callable[[], bool]) -> list[float]:
    """The latencies of a known check, in milliseconds, asked every 4 ms."""
    reader, writer = await asyncio.open_unix_connection(path)
    found = []
    while going():
        started = time.perf_counter()
        status = await _ask(reader, writer, request)
        found.append((time.perf_counter() - started) * 1e3)
        if status != 200:
            raise RuntimeError(f"the victim got {status}")
        await asyncio.sleep(0.004)
    writer.close()
    return found


def memory(supervisor: int) -> float:
    """Resident memory of its worker, in MB: the larger of its children."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text(encoding="ascii").split()
    pages = (int(Path(f"/proc/{child}/statm").read_text(encoding="ascii").split()[1]) for child in children)
    return max(pages) * 4096 / 1e6


def quantiles(found: list[float]) -> str:
    """Median, 99th percentile and the most."""
    cuts = statistics.quantiles(found, n=100)
    return f"p50 {cuts[49]:6.2f} ms  p99 {cuts[98]:6.2f} ms  most {max(found):6.1f} ms"


def service(folder: Path, tenants: list[Tenant]) -> ServiceProcess:
    """The service over a directory with the tenants, a listener for payloads and one for tokens."""
    keys = folder / "keys.json"
    keys.write_text(json.dumps({"keys": [{**json.loads(ECAlgorithm.to_jwk(KEY.public_key())), "kid": "known"}]}))
    store = new_store(f"sqlite:///{folder / 'authz.db'}")
    for one in tenants:
        one.fill(store, keys)
    store.close()
    listeners = "".join(
        f"""
[[listener]]
name = "{name}"
address = "unix:{folder / name}"
client_cert_indicator = {{form = "none"}}
identity = [{{kind = "{name}"}}]
"""
        for name in ("payload", "token")
    )
    return ServiceProcess(
        folder, f'database = "sqlite:///{folder / "authz.db"}"\n{listeners}\n[ops]\naddress = "127.0.0.1:0"\n'
    )


def rows(folder: Path) -> Iterator[str]:
    """A line for each flood."""
    acme, evil = Tenant("acme"), Tenant("evil")
    key, many = evil.alice.key, len(CONNECTIONS) * LEAVES
    leaves = [present(evil.ca.leaf(f"n{n}", key=key, **LIFE).der, [evil.ca.der]) for n in range(many)]
    running = service(folder, [acme, evil])
    running.start()
    assert running.process is not None
    process = running.process.pid
    victim, path = acme.ask(), str(folder / "payload")
    try:
        # The first requests read what all others find at hand.
        uvloop.run(_victim(path, victim, lasting(1)))
        quiet = quantiles(uvloop.run(_victim(path, victim, lasting(SECONDS))))
        yield f"{'quiet':36} {quiet}  {memory(process):5.0f} MB"
        for (name, (listener, make)), connections in itertools.product(floods(evil, leaves).items(), CONNECTIONS):
            here, there = multiprocessing.Pipe()
            least = LEAVES if name == NEW_LEAVES else 0
            # Leaves of the round before are known.
            first = CONNECTIONS.index(connections) * LEAVES
            arguments = (str(folder / listener), connections, first, least, make, there)
            flood = multiprocessing.get_context("fork").Process(target=_neighbour, args=arguments)
            flood.start()
            # The neighbour tells when it has done; a neighbour that dies closes the pipe.
            there.close()
            found = uvloop.run(_victim(path, victim, lambda: not here.poll()))  # noqa: B023 - called at once
            asked, rate = here.recv()
            flood.join()
            shown = f"{connections:2} x {name}"
            refused = f", {asked[503]} with 503" if asked[503] else ""
            yield f"{shown:36} {quantiles(found)}  {memory(process):5.0f} MB  {rate:6.0f} a second{refused}"
    finally:
        running.stop()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        for line in rows(Path(temporary)):
            print(line, flush=True)
