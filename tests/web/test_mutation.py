"""Mutated headers, tokens and payloads on the wire: a refusal with a reason, or the genuine user; never a 5xx.

10,000 of each in CI, a million by `make fuzz`. The whole service answers: server, gates, identity, log and history.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from pathlib import Path

import jwt
import pytest
from jwt.algorithms import ECAlgorithm
from support.certificates import NOW, new_key
from support.decision_world import ACME, ALICE, CA, MemoryView, request, standard_view
from support.directory import new_store

from authz.directory import History, HistoryLimits
from authz.identity.keys import JwksCache
from authz.identity.payload import PayloadHeader
from authz.identity.token import BearerToken
from authz.identity.verification_budget import VerificationBudget
from authz.model import CertificateForm, HeaderRules, IndicatorForm, TokenSettings
from authz.reasons import Reason
from authz.service import Service
from authz.telemetry import Telemetry
from authz.view import Listener
from authz.web.checks import Checks, Endpoints
from authz.web.server import Server

pytestmark = pytest.mark.fuzz

ROUNDS = 10_000 * int(os.environ.get("FUZZ", "1"))
KEY = new_key("p256")
CLAIMS = {"iss": "i", "aud": "a", "sub": "alice", "exp": int(NOW.timestamp()) + 60}
TOKEN = jwt.encode(CLAIMS, KEY, algorithm="ES256", headers={"kid": "k"}).encode()
PAYLOAD = urlsafe_b64encode(json.dumps(CLAIMS).encode()).rstrip(b"=")
TEXT = request(ALICE, CA).headers[0][1]
# A header value is one line: the JSON is as compact as Envoy writes it.
JSON = json.dumps(
    [{"hash": ALICE.sha256.hex(), "cert": ALICE.pem, "chain": [ALICE.pem, CA.pem]}], separators=(",", ":")
).encode()
SPICE = (
    b"",
    b",",
    b";",
    b'"',
    b"\\",
    b"=",
    b"%",
    b"%0A",
    b"Cert=",
    b"[",
    b"{",
    b"\x00",
    b"\xff",
    b".",
    b" ",
    b"\\ud800",
)
PEER = b"sha256=" + ALICE.sha256.hex().encode()


class Clock:
    """A moment that stays."""

    def now(self) -> datetime:
        """Then."""
        return NOW

    def monotonic(self) -> float:
        """Likewise."""
        return 0.0


class Held:
    """A directory that has everything at hand."""

    def __init__(self, view: MemoryView) -> None:
        self._view = view

    def view(self) -> MemoryView:
        """See `authz.ports.Directory`."""
        return self._view

    async def load(self, _key: object) -> bool:
        """See `authz.ports.Source`."""
        return False


class Whole:
    """The service behind a socket for each listener, its log and its history."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        keys = folder / "jwks.json"
        public = json.loads(ECAlgorithm.to_jwk(KEY.public_key()))  # type: ignore[arg-type]
        keys.write_text(json.dumps({"keys": [{**public, "kid": "k"}]}))
        view = standard_view()
        settings = TokenSettings(issuer="i", audience="a", keys=str(keys))
        view.organizations = {"acme.example.test": replace(ACME, token=settings)}
        ring = JwksCache(monotonic=lambda: 0.0, warn=pytest.fail)
        ring.budget = VerificationBudget(itertools.count().__next__)  # new tokens are not what is tried here
        url = f"sqlite:///{folder / 'a.db'}"
        new_store(url).close()
        self.output = BytesIO()
        self.telemetry = Telemetry(self.output)
        self.history = History(url, Clock(), HistoryLimits(), lost=lambda _: None, warn=pytest.fail)
        self.service = Service(Held(view), Clock(), self.telemetry, self.history, sources=(ring,))
        stated = HeaderRules(indicator_header="x-authz-peer", indicator=IndicatorForm.ENVOY_FINGERPRINT)
        self.listeners = (
            Listener("xfcc", (PayloadHeader("x-payload"),), stated),
            Listener("json", (BearerToken(ring),), replace(stated, form=CertificateForm.XFCC_JSON)),
        )

    def server(self, listener: Listener) -> Server:
        """A listener's."""
        service = self.service
        handler = Checks(
            service.check, listener, Endpoints(), refuse=service.refuse, check_at_once=service.check_at_once
        )
        return Server(handler, handler.unread, handler.at_once)

    def reported(self) -> list[dict[str, str]]:
        """The lines logged since this was asked last."""
        lines = self.output.getvalue().splitlines()
        self.output.seek(0)
        self.output.truncate()
        return [json.loads(line) for line in lines]


@pytest.fixture
async def whole(tmp_path: Path) -> AsyncIterator[Whole]:
    """The service, listening."""
    made = Whole(tmp_path)
    listening = []
    for listener in made.listeners:
        server = made.server(listener)
        path = str(tmp_path / listener.name)
        listening.append((await asyncio.get_running_loop().create_unix_server(server, path), server))
    yield made
    for one, server in listening:
        one.close()
        await server.shutdown(1)
    await made.history.close()


class Client:
    """One kept connection, opened again when the server ends it."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, *lines: bytes) -> tuple[int, bytes]:
        """Status and head of the answer."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_unix_connection(self._path, limit=2**20)
        octets = b"\r\n".join((b"GET /v1/check/ HTTP/1.1", b"host: acme.example.test", *lines, b"", b""))
        self._writer.write(octets)
        head = await self._reader.readuntil(b"\r\n\r\n")
        await self._reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
        if b"connection: close" in head.lower() or head.startswith(b"HTTP/1.0"):
            self.close()
        return int(head[9:12]), head

    def close(self) -> None:
        """End it."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None


def mutated(drawn: random.Random, value: bytes) -> bytes:
    """Up to three times: an octet changed, something put in, a stretch cut out or said twice. It stays one line."""
    for _ in range(drawn.randint(0, 3)):
        start, end = sorted(drawn.randrange(len(value) + 1) for _ in range(2))
        value = drawn.choice(
            (
                value[:start] + bytes([drawn.randrange(256)]) + value[start + 1 :],
                value[:start] + drawn.choice(SPICE) + value[start:],
                value[:start] + value[end:],
                value[:end] + value[start:],
            )
        )
    return value.replace(b"\r", b"").replace(b"\n", b"")


Lines = tuple[bytes, ...]
KINDS: dict[str, tuple[str, int, Callable[[random.Random], Lines], Reason]] = {
    "headers in text": (
        "xfcc",
        ROUNDS // 2,
        lambda drawn: (b"x-payload: " + PAYLOAD, b"x-forwarded-client-cert: " + mutated(drawn, TEXT)),
        Reason.HEADER_MALFORMED,
    ),
    "headers in JSON": (
        "json",
        ROUNDS // 2,
        lambda drawn: (b"authorization: Bearer " + TOKEN, b"x-forwarded-client-cert: " + mutated(drawn, JSON)),
        Reason.HEADER_MALFORMED,
    ),
    "tokens": (
        "json",
        ROUNDS,
        lambda drawn: (b"authorization: Bearer " + mutated(drawn, TOKEN), b"x-forwarded-client-cert: " + JSON),
        Reason.TOKEN_SIGNATURE_INVALID,
    ),
    "payloads": (
        "xfcc",
        ROUNDS,
        lambda drawn: (b"x-payload: " + mutated(drawn, PAYLOAD), b"x-forwarded-client-cert: " + TEXT),
        Reason.IDENTITY_MALFORMED,
    ),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_mutated_request_is_refused_with_a_reason_or_the_genuine_users(whole: Whole, kind: str) -> None:
    """Whatever is in it, it is answered, reported in the log, and kept; nothing fails inside."""
    listener, rounds, make, usual = KINDS[kind]
    drawn, client = random.Random(11), Client(whole.folder / listener)
    seen: set[str] = set()
    for _ in range(rounds // BATCH):
        statuses = [await answered(client, make(drawn)) for _ in range(BATCH)]
        seen |= reasons_reported(whole.reported(), statuses)
        await whole.history.flush()
    client.close()
    assert {"", usual.value} <= seen


BATCH = 1_000
"""Requests after which the log is read: a million would fill the memory."""


async def answered(client: Client, lines: Lines) -> int:
    """The status; who is allowed is alice, with her certificate."""
    status, head = await client.ask(b"x-authz-peer: " + PEER, *lines)
    assert status in {200, 401, 403}
    assert status != 200 or (b"x-authz-user: alice\r\n" in head and ALICE.sha256.hex().encode() in head)
    return status


def reasons_reported(lines: list[dict[str, str]], statuses: list[int]) -> set[str]:
    """The reasons in the log, empty for an allowed request: one line a request, in order, and no error."""
    seen = set()
    for line, status in zip(lines, statuses, strict=True):
        assert line["event"] == "decision", line
        reason = line.get("reason", "")
        assert status == (Reason(reason).status if reason else 200)
        seen.add(reason)
    return seen
