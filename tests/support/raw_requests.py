"""Requests as bytes, for tests of how they are read: by their paths, bodies, and what makes them unreadable."""

from __future__ import annotations

import random

PATHS = [
    ("/v1/check", ""),
    ("/v1/check/", "/"),
    ("/v1/check/a%2Fb/..%2fc//d?q=a%20b", "/a%2Fb/..%2fc//d?q=a%20b"),
    ("/v1/verify", ""),
    ("/v1/auth", ""),
]
"""Paths of endpoints, and the targets that they stand for."""

BODIES = [
    *(f"content-encoding: {coding}\r\ncontent-length: 4\r\n\r\nabcd" for coding in ("zstd", "br", "gzip", "x")),
    "content-length: none\r\n\r\n",
    "content-length: 4\r\ncontent-length: 5\r\n\r\nabcd",
    "content-length: 99999999999999999999999999\r\n\r\n",
    "transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "transfer-encoding: chunked\r\n\r\nno chunk\r\n",
    "transfer-encoding: odd\r\ncontent-length: 3\r\n\r\n",
    "content-type: a\r\ncontent-type: b\r\nuser-agent: a\r\nuser-agent: b\r\n\r\n",
    "sec-websocket-key1: 1\r\n\r\n",
    "connection: upgrade\r\nupgrade: websocket\r\n\r\n",
    "expect: 100-continue\r\ncontent-length: 1000\r\n\r\n",
]
"""Header fields that announce a body, or could mean something to an HTTP library, and what follows."""

UNREADABLE = [
    b"GET /v1/check/ HTTP/1.1\r\nhost: a\r\nx-secret: " + b"S3CRET" * 60_000 + b"\r\n\r\n",
    b"GET /v1/check/ HTTP/1.1\r\nhost: a\r\nS3CRET\x00: x\r\n\r\n",
    b"GET /v1/check/ HTTP/1.1\r\nhost: a\r\nx : S3CRET\r\n\r\n",
    b"GET /S3CRET\x00 HTTP/1.1\r\n\r\n",
    b"S3CRET\r\n\r\n",
    b"\x16\x03\x01S3CRET\r\n\r\n",
    b"CCM_POST /v1/check/ HTTP/1.1\r\nhost: a\r\n x: S3CRET\r\n\r\n",
    b"CCM_POST /v1/check/ HTTP/1.1\r\nhost: a\nx: S3CRET\r\n\r\n",
    b"CCM_POST /v1/check/ HTTP/1.1\r\nhost: a\r\nx-secret: " + b"S3CRET" * 60_000 + b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03S3CRET",
    b"\r\n\r\n\0\r\nQUIT\nS3CRET",
    b"PRI * HTTP/2.0\r\n\r\nS3CRET\r\n\r\n",
    b"".join([b"GET /v1/check/ HTTP/1.1\r\n", *(b"h%d: S3CRET\r\n" % n for n in range(400)), b"\r\n"]),
]
"""What is refused without being understood; none of S3CRET may be repeated."""

PIECES = (
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b" ", b"\t", b":", b"GET ", b"host: b\r\n", b"\xff", b"\x01",
    b"transfer-encoding: chunked\r\n", b"content-length: 5\r\n", b"connection: upgrade\r\nupgrade: websocket\r\n",
)  # fmt: skip


def mutated(chance: random.Random) -> bytes:
    """A head with up to four changes."""
    method = chance.choice([b"GET", b"CCM_POST", b"head"])
    head = bytearray(
        method + b" /v1/check/a?b HTTP/1.1\r\nhost: acme\r\ncontent-length: 0\r\nx-authz-peer: sha256=ab\r\n\r\n"
    )
    for _ in range(chance.randint(0, 4)):
        at = chance.randrange(len(head))
        head[at : at + chance.randint(0, 3)] = chance.choice([*PIECES, b""])
    return bytes(head)
